// All substrings of a text in a graph of at most twice its length, and how much of it another text has, too.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace charloom {

// Built symbol by symbol; see inference/suffix_automaton.py, which is the same to read.
class SuffixAutomaton {
public:
    SuffixAutomaton(const uint32_t* symbols, int64_t count);

    // Follow another text, from where the last call left it.
    void read(const uint32_t* symbols, int64_t count);

    // Begin another text: what comes does not go on from what was.
    void restart() { state_ = run_ = 0; }

    // For each symbol: how many up to it, it among them, stand together in what was read.
    void lengths(int32_t* found) const;

    int64_t size() const { return int64_t(ends_.size()); }

private:
    struct Edge {  // from the state it is listed under
        uint32_t symbol;
        int32_t next;  // in the list, or -1
    };
    struct Slot {
        uint64_t key;  // state and symbol
        int32_t target;
    };

    int32_t target(int32_t state, uint32_t symbol) const;
    void set_target(int32_t state, uint32_t symbol, int32_t target);
    size_t slot_of(uint64_t key) const;
    void grow();
    int32_t add_state(int32_t length);
    int32_t copy_of(int32_t state, int32_t length);
    int32_t extend(int32_t last, uint32_t symbol);

    std::vector<int32_t> length_, link_, first_edge_, matched_, ends_;
    std::vector<Edge> edges_;
    std::vector<Slot> slots_;
    int32_t state_ = 0, run_ = 0;
};

}  // namespace charloom
