// The interface of the kernels that are compiled once for every instruction set: products and elementwise maths.
#pragma once

#include <cstdint>

namespace charloom {

constexpr int kRows = 16;  // rows of a block, adjacent in memory
constexpr int kGroup = 4;  // blocks whose columns are interleaved, so that a product reads memory as one stream

// A matrix in the order in which a product reads it. Rows are padded with zeros to a multiple of kRows, int8 columns to
// a multiple of 4. The last group has the remaining blocks.
struct Matrix {
    int rows = 0, depth = 0;        // without padding
    int blocks = 0, quads = 0;      // of kRows rows; of 4 columns (int8 only)
    const int8_t* bytes = nullptr;  // (groups, quads, kGroup, kRows, 4), or null for float32
    const float* floats = nullptr;  // (groups, depth, kGroup, kRows), or null for int8
    const float* scales = nullptr;  // one per row, int8 only
    const int32_t* sums = nullptr;  // one per row: the sum of its int8 weights
};

// The vector of a product: its floats, and for int8 products its bytes: floats / scale, rounded.
struct Vector {
    float* floats = nullptr;
    int8_t* bytes = nullptr;
    float scale = 0.0f;
};

struct Kernels {
    const char* name;
    // y[s * stride + row] = sum over k of weight[row, k] * x[s][k], for all of matrix.blocks * kRows rows. Callers
    // alternate `backwards`: of a matrix larger than the cache, the end is still cached from the previous product.
    void (*product_int8)(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
    void (*product_float32)(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
    // Compute the vector's bytes and scale from its floats.
    void (*quantize)(Vector&, int length);
    // Compute y += bias.
    void (*add)(float* y, const float* bias, int length);
    // GRU, reset after the product: h from `input` (3H, biases included), `product` (3H) and the candidate's bias (H).
    // gates (3H) may be null.
    void (*gru)(const float* input, const float* product, const float* bias, float* h, float* gates, int hidden);
    // GRU, reset before the product: first z and r * h, then h.
    void (*gru_reset)(const float* input, const float* product, const float* h, float* z, float* rh, float* gates,
                      int hidden);
    void (*gru_candidate)(const float* input, const float* product, const float* z, float* h, float* gates, int hidden);
    // LSTM: c and h from `input` (4H, biases included) and `product` (4H).
    void (*lstm)(const float* input, const float* product, float* h, float* c, float* gates, int hidden);
    // Compute y = 2^((logit - highest) * inverse_temperature), at least 2^-126.
    void (*powers)(const float* logits, float highest, float inverse_temperature, float* y, int length);
};

// Store the kernels that are compiled into this library and that this processor can run, the fastest first; return
// their number.
int available_kernels(const Kernels* kernels[4]);

}  // namespace charloom
