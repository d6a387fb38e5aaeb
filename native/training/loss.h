// Cross-entropy and its gradient, row by row: a row stays in the first-level cache from its logits to its gradient.
#pragma once

#include <cmath>

#include "common/buffer.h"
#include "common/denormals.h"
#include "common/maths.h"
#include "training/recurrence.h"
#include "training/vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// Pads `row` to whole vectors: it is never the largest element, and its exponential is 0.
constexpr float kPadding = -3e38f;

inline int whole_vectors(int length) { return (length + kWidth - 1) / kWidth * kWidth; }

inline float largest(Floats lanes) {
    float result = lanes[0];
    for (int lane = 1; lane < kWidth; ++lane) result = lanes[lane] > result ? lanes[lane] : result;
    return result;
}

// row = logits + bias; returns the largest element.
template <class Real>
float add_bias(const Real* logits, const float* bias, float* row, int length) {
    Floats highest = Floats{} + kPadding;
    for (int i = 0; i < length; i += kWidth) {
        store(row + i, load(logits + i, length - i) + load(bias + i, length - i), length - i);
        const Floats next = load(row + i);  // including the padding
        highest = next > highest ? next : highest;
    }
    return largest(highest);
}

// Replace every x by e^(x - highest) and return their sum.
inline float exponentials(float* row, float highest, int length) {
    Floats lanes{};
    for (int i = 0; i < length; i += kWidth) {
        const Floats power = power_of_two(bounded((load(row + i) - highest) * 1.44269504f, -126.0f, 0.0f));
        store(row + i, power, length - i);
        lanes += power;
    }
    float sum = 0.0f;
    for (int lane = 0; lane < kWidth; ++lane) sum += lanes[lane];
    return sum;
}

template <class Real>
double cross_entropy(Real* logits, const float* bias, const int64_t* targets, int from, int to, int length, float scale,
                     float* grad_bias) {
    const FlushDenormals flush;
    Buffer<float> row(whole_vectors(length));
    for (int i = length; i < whole_vectors(length); ++i) row[i] = kPadding;
    double loss = 0.0;
    for (int i = from; i < to; ++i) {
        Real* x = logits + int64_t{i} * length;
        const float highest = add_bias(x, bias, row.data(), length), target = row[targets[i]];
        const float sum = exponentials(row.data(), highest, length);
        loss += std::log(static_cast<double>(sum)) + highest - target;
        row[targets[i]] -= sum;
        for (int j = 0; j < length; j += kWidth) {
            const Floats gradient = load(row.data() + j) * (scale / sum);
            store(x + j, gradient, length - j);
            store(grad_bias + j, load(grad_bias + j, length - j) + gradient, length - j);
        }
    }
    return loss;
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
