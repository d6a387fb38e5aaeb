// Elementwise maths. Plain loops, which the compiler vectorizes; every instruction set gives the same bits, because
// nothing here may be reordered or contracted.
#include "common/maths.h"
#include "engine/isa.h"

namespace charloom::CHARLOOM_ISA {

void quantize(Vector& vector, int length) {
    const float* __restrict x = vector.floats;
    int8_t* __restrict bytes = vector.bytes;
    int32_t largest = 0;  // non-negative floats are ordered like their bits
    for (int i = 0; i < length; ++i) {
        const int32_t size = std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF;
        largest = size > largest ? size : largest;
    }
    const auto highest = std::bit_cast<float>(largest);
    const float factor = highest > 1e-30f ? 127.0f / highest : 0.0f;
    for (int i = 0; i < length; ++i) {
        const auto whole = static_cast<int32_t>(rounded(x[i] * factor));
        bytes[i] = static_cast<int8_t>(whole + kByteOffset);
    }
    vector.scale = highest / 127.0f;
}

void add(float* __restrict y, const float* __restrict bias, int length) {
    for (int i = 0; i < length; ++i) y[i] = y[i] + bias[i];
}

template <bool kSaveGates>
static void gru_step(const float* __restrict input, const float* __restrict product, const float* __restrict bias,
                     float* __restrict h, float* __restrict gates, int hidden) {
    for (int j = 0; j < hidden; ++j) {
        const float r = sigmoid(input[j] + product[j]);
        const float z = sigmoid(input[hidden + j] + product[hidden + j]);
        const float n = hyperbolic_tangent(input[2 * hidden + j] + r * (product[2 * hidden + j] + bias[j]));
        h[j] = n + z * (h[j] - n);
        if (kSaveGates) gates[j] = r, gates[hidden + j] = z, gates[2 * hidden + j] = n;
    }
}

void gru(const float* input, const float* product, const float* bias, float* h, float* gates, int hidden) {
    gates ? gru_step<true>(input, product, bias, h, gates, hidden)
          : gru_step<false>(input, product, bias, h, nullptr, hidden);
}

void gru_reset(const float* __restrict input, const float* __restrict product, const float* __restrict h,
               float* __restrict z, float* __restrict rh, float* __restrict gates, int hidden) {
    for (int j = 0; j < hidden; ++j) {
        const float r = sigmoid(input[j] + product[j]);
        z[j] = sigmoid(input[hidden + j] + product[hidden + j]);
        rh[j] = r * h[j];
        if (gates) gates[j] = r, gates[hidden + j] = z[j];
    }
}

void gru_candidate(const float* __restrict input, const float* __restrict product, const float* __restrict z,
                   float* __restrict h, float* __restrict gates, int hidden) {
    for (int j = 0; j < hidden; ++j) {
        const float n = hyperbolic_tangent(input[2 * hidden + j] + product[j]);
        h[j] = n + z[j] * (h[j] - n);
        if (gates) gates[2 * hidden + j] = n;
    }
}

template <bool kSaveGates>
static void lstm_step(const float* __restrict input, const float* __restrict product, float* __restrict h,
                      float* __restrict c, float* __restrict gates, int hidden) {
    for (int j = 0; j < hidden; ++j) {
        const float i = sigmoid(input[j] + product[j]);
        const float f = sigmoid(input[hidden + j] + product[hidden + j]);
        const float g = hyperbolic_tangent(input[2 * hidden + j] + product[2 * hidden + j]);
        const float o = sigmoid(input[3 * hidden + j] + product[3 * hidden + j]);
        const float retained = f * c[j];
        const float added = i * g;
        c[j] = retained + added;
        h[j] = o * hyperbolic_tangent(c[j]);
        if (kSaveGates) gates[j] = i, gates[hidden + j] = f, gates[2 * hidden + j] = g, gates[3 * hidden + j] = o;
    }
}

void lstm(const float* input, const float* product, float* h, float* c, float* gates, int hidden) {
    gates ? lstm_step<true>(input, product, h, c, gates, hidden)
          : lstm_step<false>(input, product, h, c, nullptr, hidden);
}

void powers(const float* __restrict logits, float highest, float inverse_temperature, float* __restrict y, int length) {
    for (int i = 0; i < length; ++i) {
        const float x = (logits[i] - highest) * inverse_temperature;
        y[i] = power_of_two(x < -126.0f ? -126.0f : x);
    }
}

extern const Kernels kernels;
const Kernels kernels = {CHARLOOM_ISA_NAME, product_int8, product_float32, quantize, add, gru, gru_reset,
                         gru_candidate,     lstm,         powers};

}  // namespace charloom::CHARLOOM_ISA
