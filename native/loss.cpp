// The loss and its gradient.
#include <cmath>

#include "flush.h"
#include "maths.h"
#include "recurrence.h"
#include "vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

float highest_of(const float* x, int length) {
    float highest = x[0];
    int i = 0;
    if (length >= WIDTH) {
        Floats lanes = load(x);
        for (; i + WIDTH <= length; i += WIDTH) {
            const Floats next = load(x + i);
            lanes = next > lanes ? next : lanes;
        }
        for (int lane = 0; lane < WIDTH; ++lane) highest = lanes[lane] > highest ? lanes[lane] : highest;
    }
    for (; i < length; ++i) highest = x[i] > highest ? x[i] : highest;
    return highest;
}

// Replace every x by e^(x - highest) and return their sum.
float exponentials(float* x, float highest, int length) {
    Floats lanes{};
    for (int i = 0; i < length; i += WIDTH) {
        const int count = length - i;
        const Floats power = power_of_two(bounded((load(x + i, count) - highest) * 1.44269504f, -126.0f, 0.0f));
        store(x + i, power, count);
        lanes += load(x + i, count);  // without what stands beyond the end
    }
    float sum = 0.0f;
    for (int lane = 0; lane < WIDTH; ++lane) sum += lanes[lane];
    return sum;
}

}  // namespace

double cross_entropy(float* logits, const int64_t* targets, int from, int to, int length, float scale) {
    const FlushedDenormals flushed;
    double loss = 0.0;
    for (int row = from; row < to; ++row) {
        float* x = logits + int64_t{row} * length;
        const float highest = highest_of(x, length), target = x[targets[row]];
        const float sum = exponentials(x, highest, length);
        loss += std::log(static_cast<double>(sum)) + highest - target;
        const float share = scale / sum;
        for (int i = 0; i < length; ++i) x[i] *= share;
        x[targets[row]] -= scale;
    }
    return loss;
}

}  // namespace charloom::CHARLOOM_ISA
