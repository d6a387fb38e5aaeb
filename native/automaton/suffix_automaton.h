// All substrings of a text, as a graph with at most twice as many states as characters, and the overlap of other texts
// with it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace charloom {

// Built symbol by symbol. inference/suffix_automaton.py has the readable version of the same algorithm.
class SuffixAutomaton {
public:
    SuffixAutomaton(const uint32_t* symbols, int64_t count);

    // Match more of another text, continuing where the last call ended.
    void read(const uint32_t* symbols, int64_t count);

    // Begin a new text: matches do not continue across the boundary.
    void restart() { state_ = run_ = 0; }

    // For each symbol of the indexed text: the length of the longest substring ending there that also occurs in what
    // was read.
    void lengths(int32_t* result) const;

    int64_t size() const { return int64_t(ends_.size()); }

private:
    struct Edge {  // an entry in the list of a state's edges
        uint32_t symbol;
        int32_t next;  // the next edge of the state, or -1
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
