// The loss and its gradient, row by row: a row is in the first-level cache from its logits to its gradient.
#pragma once

#include <cmath>

#include "buffer.h"
#include "flush.h"
#include "maths.h"
#include "recurrence.h"
#include "vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// What `row` holds behind its end, up to a whole vector: neither the largest nor anything in a sum of powers.
constexpr float NOTHING = -3e38f;

inline int whole_vectors(int length) { return (length + WIDTH - 1) / WIDTH * WIDTH; }

inline float largest(Floats lanes) {
    float found = lanes[0];
    for (int lane = 1; lane < WIDTH; ++lane) found = lanes[lane] > found ? lanes[lane] : found;
    return found;
}

// row = logits + bias; returns the largest.
template <class Real>
float add_bias(const Real* logits, const float* bias, float* row, int length) {
    Floats most = Floats{} + NOTHING;
    for (int i = 0; i < length; i += WIDTH) {
        store(row + i, load(logits + i, length - i) + load(bias + i, length - i), length - i);
        const Floats next = load(row + i);  // with what stands behind the end
        most = next > most ? next : most;
    }
    return largest(most);
}

// Replace every x by e^(x - highest) and return their sum.
inline float exponentials(float* row, float highest, int length) {
    Floats lanes{};
    for (int i = 0; i < length; i += WIDTH) {
        const Floats power = power_of_two(bounded((load(row + i) - highest) * 1.44269504f, -126.0f, 0.0f));
        store(row + i, power, length - i);
        lanes += power;
    }
    float sum = 0.0f;
    for (int lane = 0; lane < WIDTH; ++lane) sum += lanes[lane];
    return sum;
}

template <class Real>
double cross_entropy(Real* logits, const float* bias, const int64_t* targets, int from, int to, int length,
                     float scale, float* grad_bias) {
    const FlushedDenormals flushed;
    Buffer<float> row(whole_vectors(length));
    for (int i = length; i < whole_vectors(length); ++i) row[i] = NOTHING;
    double loss = 0.0;
    for (int i = from; i < to; ++i) {
        Real* x = logits + int64_t{i} * length;
        const float highest = add_bias(x, bias, row.data(), length), target = row[targets[i]];
        const float sum = exponentials(row.data(), highest, length);
        loss += std::log(static_cast<double>(sum)) + highest - target;
        row[targets[i]] -= sum;
        for (int j = 0; j < length; j += WIDTH) {
            const Floats gradient = load(row.data() + j) * (scale / sum);
            store(x + j, gradient, length - j);
            store(grad_bias + j, load(grad_bias + j, length - j) + gradient, length - j);
        }
    }
    return loss;
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
