// A recurrent layer over a window of characters while it is trained: forwards, and its gradients backwards.
// charloom/model/reference.py has the equations to read. A GRU's reset gate acts after the product here.
#pragma once

#include <cstdint>

#include "buffer.h"

namespace charloom {

// The upper half of a float.
struct Bfloat16 {
    uint16_t bits;
};

// Real is float, or Bfloat16: then products multiply those, and what is kept is rounded to them, gates to whole numbers
// of as many bits; sums, states and the maths are float. Shapes: T steps, B streams, H units, G gates: 3 in a GRU (r, z, n), 4 in an LSTM (i, f, g, o).
template <class Real>
struct Window {
    int steps = 0, streams = 0;
    const Real* input = nullptr;     // (R, G*H): what the input says to the gates, with all biases that only add
    const int64_t* index = nullptr;  // (T, B): the row of it for each step and stream; null: row t*B + b
    const float* bias = nullptr;     // (H): of a GRU's n, within the reach of r
    const float* mask = nullptr;     // (B, H): what hidden vectors are multiplied with on their way up, or null
    float* hidden = nullptr;         // (B, H): before the window, in the end after it
    float* cell = nullptr;           // (B, H), of an LSTM: likewise
    Real* hiddens = nullptr;         // (T+1, B, H); the first are before the window
    Real* cells = nullptr;           // (T+1, B, H), of an LSTM: likewise; null if nothing goes backwards
    Real* active = nullptr;          // (T, B, W): r, z, n and what the state says to n; or i, f, g, o: 4*H numbers, and
                                     // room. Backwards they become the gradients of what is added up before those
                                     // functions. Null if nothing goes backwards
    int64_t width = 0;               // W
    Real* out = nullptr;             // (T, B, H): hidden vectors times the mask, where there is one
    const Real* gradient = nullptr;  // (T, B, H), backwards: of the hidden vectors (times the mask, if there is one)
    const float* last = nullptr;     // (B, H), backwards: what else the last hidden vectors are told, or null
    float* carried = nullptr;        // (B, H), backwards: the gradient that a state has directly, not through a
                                     // product: at first of an LSTM's last cell, or zeros; in the end of the state
                                     // before all
};

// `weight_hh` (G*H, H) in the two orders in which windows read it; packed for one instruction set. For Bfloat16 H must
// be even: these are multiplied in pairs.
template <class Real>
struct Recurrent {
    bool lstm = false;
    int hidden = 0;
    Buffer<Real> forward, backward;

    int gates() const { return lstm ? 4 : 3; }
};

template <class Real>
struct WindowKernels {
    void (*allocate)(Recurrent<Real>& recurrent);
    // Fill a part of both orders.
    void (*pack)(Recurrent<Real>& recurrent, const float* weight_hh, int part, int parts);
    // One part of the units, at one step, of all streams; all parts of the step before must be done. So each thread
    // multiplies with weights of its own, which its cache may hold.
    void (*forward)(const Recurrent<Real>& recurrent, const Window<Real>& window, int step, int part, int parts);
    void (*backward)(const Recurrent<Real>& recurrent, const Window<Real>& window, int step, int part, int parts);
    // table[ids[i]] += rows[i] for all i < count, columns from <= j < to. Both have `width` columns; rows lie
    // `stride` apart.
    void (*add_rows)(const Real* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width,
                     int from, int to);
    // logits (N, V), still without their bias (V), rows from <= i < to, become gradients of the loss times `scale`, whose
    // sums are added to `grad_bias` (V); returns the sum of the losses of those rows, -log softmax(logits + bias)[target].
    double (*cross_entropy)(Real* logits, const float* bias, const int64_t* targets, int from, int to, int length,
                            float scale, float* grad_bias);
};

struct TrainingKernels {
    const WindowKernels<float>* float32;
    const WindowKernels<Bfloat16>* bfloat16;
};

// Whether this processor has instructions for products of Bfloat16.
bool multiplies_bfloat16();

// Of the instruction sets that this processor has, or null.
const TrainingKernels* training_kernels_named(const char* isa);

}  // namespace charloom
