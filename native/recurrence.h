// A recurrent layer over a window of characters while it is trained: forwards, and its gradients backwards.
// charloom/model/cells.py has the equations to read. A GRU's reset gate acts after the product here.
#pragma once

#include <cstdint>

#include "buffer.h"

namespace charloom {

// Shapes: T steps, B streams, H units, G gates: 3 in a GRU (r, z, n), 4 in an LSTM (i, f, g, o).
struct Window {
    int steps = 0, streams = 0;
    const float* input = nullptr;    // (R, G*H): what the input says to the gates, with all biases that only add
    const int64_t* index = nullptr;  // (T, B): the row of it for each step and stream; null: row t*B + b
    const float* bias = nullptr;     // (H): of a GRU's n, within the reach of r
    const float* mask = nullptr;     // (B, H): what hidden vectors are multiplied with on their way up, or null
    float* hiddens = nullptr;        // (T+1, B, H)
    float* cells = nullptr;          // (T+1, B, H), of an LSTM
    float* active = nullptr;         // (T, B, 4, H): r, z, n and what the state says to n; or i, f, g, o. Backwards
                                     // they become the gradients of what is added up before those functions. Null if
                                     // nothing goes backwards
    float* out = nullptr;            // (T, B, H): hidden vectors times the mask, where there is one
    const float* gradient = nullptr; // (T, B, H), backwards: of the hidden vectors (times the mask, if there is one)
    const float* last = nullptr;     // (B, H), backwards: what else the last hidden vectors are told, or null
    float* carried = nullptr;        // (B, H), backwards: the gradient that a state has directly, not through a product:
                                     // at first of an LSTM's last cell, or zeros; in the end of the state before all
};

// `weight_hh` (G*H, H) in the two orders in which windows read it; packed for one instruction set.
struct Recurrent {
    bool lstm = false;
    int hidden = 0;
    Buffer<float> forward, backward;

    int gates() const { return lstm ? 4 : 3; }
};

struct TrainingKernels {
    void (*allocate)(Recurrent& recurrent);
    // Fill a part of both orders.
    void (*pack)(Recurrent& recurrent, const float* weight_hh, int part, int parts);
    // One part of the units, at one step, of all streams; all parts of the step before must be done. So each thread
    // multiplies with weights of its own, which its cache may hold.
    void (*forward)(const Recurrent& recurrent, const Window& window, int step, int part, int parts);
    void (*backward)(const Recurrent& recurrent, const Window& window, int step, int part, int parts);
    // logits (N, V), rows from <= i < to, become gradients of the loss times `scale`; returns the sum of the losses
    // of those rows, -log softmax(logits)[target].
    double (*cross_entropy)(float* logits, const int64_t* targets, int from, int to, int length, float scale);
    // table[ids[i]] += rows[i] for all i < count, columns from <= j < to. Both have `width` columns; rows lie
    // `stride` apart.
    void (*add_rows)(const float* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width,
                     int from, int to);
};

// Of the instruction sets that this processor has, or null.
const TrainingKernels* training_kernels_named(const char* isa);

}  // namespace charloom
