// Source: Blumer et al. 1985, "The smallest automaton recognizing the subwords of a text".
#include "automaton/suffix_automaton.h"

#include <algorithm>
#include <numeric>

namespace charloom {
namespace {

constexpr uint64_t kEmpty = ~uint64_t{0};

uint64_t key_of(int32_t state, uint32_t symbol) { return uint64_t(uint32_t(state)) << 32 | symbol; }

}  // namespace

SuffixAutomaton::SuffixAutomaton(const uint32_t* symbols, int64_t count) : slots_(64, Slot{kEmpty, -1}) {
    add_state(0);
    int32_t last = 0;
    for (int64_t i = 0; i < count; ++i) {
        last = extend(last, symbols[i]);
        ends_.push_back(last);
    }
    matched_.assign(length_.size(), 0);
}

void SuffixAutomaton::read(const uint32_t* symbols, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        int32_t next = target(state_, symbols[i]);
        while (next < 0 && state_ > 0) {
            state_ = link_[state_];
            run_ = length_[state_];
            next = target(state_, symbols[i]);
        }
        if (next < 0) continue;  // the symbol does not occur in the text
        state_ = next;
        matched_[state_] = std::max(matched_[state_], ++run_);
    }
}

void SuffixAutomaton::lengths(int32_t* result) const {
    // a match of a state is also a match of its suffix links, which are shorter: go from the longest to the shortest
    std::vector<int32_t> order(length_.size()), longest(matched_);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [this](int32_t a, int32_t b) { return length_[a] < length_[b]; });
    for (auto state = order.rbegin(); state != order.rend(); ++state)
        if (longest[*state] > 0 && link_[*state] > 0) longest[link_[*state]] = length_[link_[*state]];
    for (int32_t state : order)
        if (longest[state] == 0 && link_[state] > 0) longest[state] = longest[link_[state]];
    for (size_t i = 0; i < ends_.size(); ++i) result[i] = longest[ends_[i]];
}

int32_t SuffixAutomaton::extend(int32_t last, uint32_t symbol) {
    const int32_t created = add_state(length_[last] + 1);
    int32_t state = last;
    for (; state >= 0 && target(state, symbol) < 0; state = link_[state]) set_target(state, symbol, created);
    if (state < 0) {
        link_[created] = 0;
        return created;
    }
    const int32_t successor = target(state, symbol);
    if (length_[successor] == length_[state] + 1) {
        link_[created] = successor;
        return created;
    }
    const int32_t copy = copy_of(successor, length_[state] + 1);
    for (; state >= 0 && target(state, symbol) == successor; state = link_[state]) set_target(state, symbol, copy);
    link_[successor] = link_[created] = copy;
    return created;
}

int32_t SuffixAutomaton::copy_of(int32_t state, int32_t length) {
    const int32_t copy = add_state(length);
    link_[copy] = link_[state];
    for (int32_t edge = first_edge_[state]; edge >= 0; edge = edges_[edge].next)
        set_target(copy, edges_[edge].symbol, target(state, edges_[edge].symbol));
    return copy;
}

int32_t SuffixAutomaton::add_state(int32_t length) {
    length_.push_back(length);
    link_.push_back(-1);
    first_edge_.push_back(-1);
    return int32_t(length_.size()) - 1;
}

int32_t SuffixAutomaton::target(int32_t state, uint32_t symbol) const {
    return slots_[slot_of(key_of(state, symbol))].target;
}

void SuffixAutomaton::set_target(int32_t state, uint32_t symbol, int32_t target) {
    if (2 * (edges_.size() + 1) > slots_.size()) grow();
    Slot& slot = slots_[slot_of(key_of(state, symbol))];
    if (slot.key == kEmpty) {
        slot.key = key_of(state, symbol);
        edges_.push_back({symbol, first_edge_[state]});
        first_edge_[state] = int32_t(edges_.size()) - 1;
    }
    slot.target = target;
}

size_t SuffixAutomaton::slot_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t mixed = key * 0x9E3779B97F4A7C15;
    size_t at = (mixed ^ mixed >> 32) & mask;
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & mask;
    return at;
}

void SuffixAutomaton::grow() {
    std::vector<Slot> old(2 * slots_.size(), Slot{kEmpty, -1});
    old.swap(slots_);
    for (const Slot& slot : old)
        if (slot.key != kEmpty) slots_[slot_of(slot.key)] = slot;
}

}  // namespace charloom
