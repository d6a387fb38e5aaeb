// The interface of the training kernels: a recurrent layer's forward and backward pass over a window of characters.
// charloom/model/reference.py has the equations. Only the GRU whose reset gate acts after the product is supported.
#pragma once

#include <cstdint>

#include "common/buffer.h"

namespace charloom {

// The upper half of a float's bits.
struct Bfloat16 {
    uint16_t bits;
};

// One layer's buffers for a window. Real is float or Bfloat16. With Bfloat16, products multiply bfloat16 numbers and
// saved values are rounded to it, gates to 16-bit fixed point; sums, states and the maths are float32.
// Shapes: T steps, B streams, H units, G gates: 3 in a GRU (r, z, n), 4 in an LSTM (i, f, g, o).
//
// The gate values that forward saves for backward, W >= 4*H numbers for each step and stream:
//     GRU   r, z, n, and W_hn h + b_hn, the recurrent part of n before the reset gate scales it
//     LSTM  i, f, g, o
// Backward overwrites them with the gradients of the gates' pre-activations (GRU: of r, z, n, and of W_hn h + b_hn),
// so it can run only once.
template <class Real>
struct TrainingWindow {
    int steps = 0, streams = 0;
    const Real* input = nullptr;     // (R, G*H): input projections x @ W_ih.T, with all biases but `bias`
    const int64_t* index = nullptr;  // (T, B): the row of `input` for each step and stream; null: row t*B + b
    const float* bias = nullptr;     // (H), GRU: b_hn, the candidate's recurrent bias, scaled by the reset gate
    const float* mask = nullptr;     // (B, H): dropout mask for the layer's output, or null
    float* hidden = nullptr;         // (B, H): the hidden state, updated in place
    float* cell = nullptr;           // (B, H), LSTM: the cell state, updated in place
    Real* hidden_seq = nullptr;      // (T+1, B, H): hidden states; row 0 is the state before the window
    Real* cell_seq = nullptr;        // (T+1, B, H), LSTM: cell states, likewise; null without a backward pass
    Real* saved_gates = nullptr;     // (T, B, W): see above; null without a backward pass
    int64_t saved_width = 0;         // W
    Real* out = nullptr;             // (T, B, H): hidden states times the mask; null without a mask
    const Real* grad_out = nullptr;  // (T, B, H), backward: gradient w.r.t. the layer's output
    const float* grad_last_hidden = nullptr;  // (B, H), backward: extra gradient w.r.t. the final hidden state, or null
    float* grad_state = nullptr;  // (B, H), backward: the gradient that reaches the previous state directly,
                                  // not through a product. Initially: of an LSTM's final cell state, or zeros;
                                  // finally: of the state before the window
};

// `weight_hh` (G*H, H) in the two orders in which forward and backward read it, packed for one instruction set. For
// Bfloat16, H must be even: numbers are multiplied in pairs.
template <class Real>
struct PackedWeights {
    bool lstm = false;
    int hidden = 0;
    Buffer<Real> forward, backward;

    int gates() const { return lstm ? 4 : 3; }
};

template <class Real>
struct WindowKernels {
    void (*allocate)(PackedWeights<Real>& weights);
    // Fill one part of both orders.
    void (*pack)(PackedWeights<Real>& weights, const float* weight_hh, int part, int parts);
    // Compute one step for one part of the units, all streams; all parts of the previous step must be complete. Each
    // thread multiplies with its own part of the weights, which its cache may hold.
    void (*forward)(const PackedWeights<Real>& weights, const TrainingWindow<Real>& window, int step, int part,
                    int parts);
    void (*backward)(const PackedWeights<Real>& weights, const TrainingWindow<Real>& window, int step, int part,
                     int parts);
    // table[ids[i]] += rows[i] for all i < count, columns from <= j < to. Both have `width` columns; rows lie
    // `stride` apart.
    void (*add_rows)(const Real* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width,
                     int from, int to);
    // Replace rows from <= i < to of logits (N, V), which lack their bias (V), by the gradient of the loss times
    // `scale`, and add the rows' sum to `grad_bias` (V). Return the sum of those rows' losses, -log softmax(logits +
    // bias)[target].
    double (*cross_entropy)(Real* logits, const float* bias, const int64_t* targets, int from, int to, int length,
                            float scale, float* grad_bias);
};

struct TrainingKernels {
    const WindowKernels<float>* float32;
    const WindowKernels<Bfloat16>* bfloat16;
};

// Whether this processor has instructions for bfloat16 products.
bool multiplies_bfloat16();

// The kernels for an instruction set that this processor has, or null.
const TrainingKernels* training_kernels_named(const char* isa);

}  // namespace charloom
