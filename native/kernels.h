// What is compiled once for every instruction set: products and the maths element by element.
#pragma once

#include <cstdint>

namespace charloom {

constexpr int ROWS = 16;  // rows of a block, which lie side by side in memory
constexpr int GROUP = 4;  // blocks that lie side by side, column for column: one product reads memory in one stream

// A matrix in the order in which a product reads it. Rows are padded with zeros to a multiple of ROWS; int8
// columns to a multiple of 4. The last group has as many blocks as are left.
struct Matrix {
    int rows = 0, depth = 0;          // as given
    int blocks = 0, quads = 0;        // of ROWS rows; of 4 columns (int8 only)
    const int8_t* bytes = nullptr;    // (groups, quads, GROUP, ROWS, 4), or null for float32
    const float* floats = nullptr;    // (groups, depth, GROUP, ROWS), or null for int8
    const float* scales = nullptr;    // of each row, int8 only
    const int32_t* sums = nullptr;    // of each row's int8 weights
};

// A vector to be multiplied: its floats, and for int8 products its bytes, which are floats / scale, rounded.
struct Vector {
    float* floats = nullptr;
    int8_t* bytes = nullptr;
    float scale = 0.0f;
};

struct Kernels {
    const char* name;
    // y[s * stride + row] = sum over k of weight[row, k] * x[s][k], for all of matrix.blocks * ROWS rows. Every other
    // time `backwards`: of a matrix larger than the cache the end is still there from the last time.
    void (*product_int8)(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
    void (*product_float32)(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
    // bytes and scale from floats
    void (*quantize)(Vector&, int length);
    // y += bias
    void (*add)(float* y, const float* bias, int length);
    // GRU, reset after the product: h from `input` (3H, biases included), `product` (3H) and the candidate's bias (H).
    // gates (3H) may be null.
    void (*gru)(const float* input, const float* product, const float* bias, float* h, float* gates, int hidden);
    // GRU, reset before the product: first z and r * h, then h.
    void (*gru_reset)(const float* input, const float* product, const float* h, float* z, float* rh, float* gates,
                      int hidden);
    void (*gru_candidate)(const float* input, const float* product, const float* z, float* h, float* gates, int hidden);
    // LSTM: c and h from `input` (4H, biases included) and `product` (4H)
    void (*lstm)(const float* input, const float* product, float* h, float* c, float* gates, int hidden);
    // y = 2^(logit - highest) * inverse_temperature), at least 2^-126
    void (*powers)(const float* logits, float highest, float inverse_temperature, float* y, int length);
};

// The sets compiled into this library that this processor can run, the fastest first.
int available_kernels(const Kernels* found[4]);

}  // namespace charloom
