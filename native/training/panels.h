// Weights packed in panels, and products with them. A panel has as many units as their sums fill registers.
#pragma once

#include <algorithm>

#include "training/recurrence.h"
#include "training/vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// Vectors of units in a tile of the backward pass. A tile of the forward pass has one for each gate.
constexpr int kBackwardVectors = 2;
constexpr int kBackwardUnits = kBackwardVectors * kWidth;

// Numbers in one lane of a multiplication: one float, or two Bfloat16.
template <class Real>
constexpr int kDepth = sizeof(float) / sizeof(Real);

// Registers that a factor occupies: without an instruction that multiplies pairs, a pair is expanded to two floats.
#if defined(__AVX512BF16__)
template <class Real>
constexpr int kFactorRegisters = 1;
#else
template <class Real>
constexpr int kFactorRegisters = kDepth<Real>;
#endif

// The number of streams for which all sums of a tile, its weights and one input fit into the registers.
template <class Real>
constexpr int tile_streams(int vectors) {
    return (kRegisters - kFactorRegisters<Real> * (vectors + 1)) / vectors;
}

inline int panels(int hidden, int units) { return (hidden + units - 1) / units; }

inline Floats factors(const float* weights) { return load(weights); }
inline Words factors(const Bfloat16* weights) {
    Words pairs;
    std::memcpy(&pairs, weights, sizeof(pairs));
    return pairs;
}

// Broadcast one factor to all lanes. x - 0 is x, so for floats this compiles to a plain broadcast load.
inline Floats spread(const float* x) { return *x - Floats{}; }
inline Words spread(const Bfloat16* x) {
    uint32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    return pair + Words{};
}

inline Floats add_product(Floats sums, Floats x, Floats weights) { return sums + x * weights; }
inline Floats add_product(Floats sums, Words x, Words weights) {
#if defined(__AVX512BF16__)
    return std::bit_cast<Floats>(
        _mm512_dpbf16_ps(std::bit_cast<__m512>(sums), std::bit_cast<__m512bh>(x), std::bit_cast<__m512bh>(weights)));
#else
    const auto low = [](Words pairs) { return std::bit_cast<Floats>(pairs << 16); };
    const auto high = [](Words pairs) { return std::bit_cast<Floats>(pairs & 0xffff0000); };
    return sums + low(x) * low(weights) + high(x) * high(weights);
#endif
}

// sums[i][v] += for all k < depth: a[i * stride + k] * panel[k][v].
template <int kStreams, int kVectors, class Real>
inline void multiply(const Real* panel, const Real* a, int64_t stride, int depth, Floats (&sums)[kStreams][kVectors]) {
    for (int k = 0; k < depth; k += kDepth<Real>, panel += kVectors * kWidth * kDepth<Real>) {
        decltype(factors(panel)) weights[kVectors];
        for (int v = 0; v < kVectors; ++v) weights[v] = factors(panel + v * kWidth * kDepth<Real>);
        for (int i = 0; i < kStreams; ++i) {
            const auto x = spread(a + i * stride + k);
            for (int v = 0; v < kVectors; ++v) sums[i][v] = add_product(sums[i][v], x, weights[v]);
        }
    }
}

// Call step(i) for one part of `count` panels. Every other call runs from the last to the first, to use the panels that
// are still in the cache before they are evicted.
template <class Step>
void some_panels(int count, int part, int parts, bool reversed, const Step& step) {
    const int from = int(int64_t{count} * part / parts), to = int(int64_t{count} * (part + 1) / parts);
    for (int i = from; i < to; ++i) step(reversed ? from + to - 1 - i : i);
}

template <class Real>
void allocate(PackedWeights<Real>& r) {
    const size_t width = size_t(r.gates()) * r.hidden;
    r.forward = Buffer<Real>(panels(r.hidden, kWidth) * kWidth * width);
    r.backward = Buffer<Real>(panels(r.hidden, kBackwardUnits) * kBackwardUnits * width);
}

// One lane of a multiplication.
template <class Real>
struct Factor {
    Real numbers[kDepth<Real>];
};

// Pack a panel of the forward pass: for each element of the state, the weights to the panel's units, gate by gate. Rows
// of `weight_hh` become columns.
template <class Real>
void pack_forward(PackedWeights<Real>& r, const float* weight_hh, int unit) {
    const int H = r.hidden, G = r.gates(), units = std::min(kWidth, H - unit);
    auto* panel = reinterpret_cast<Factor<Real>*>(r.forward.data() + int64_t{unit} * G * H);
    for (int g = 0; g < G; ++g)
        for (int k = 0; k < H; k += kWidth * kDepth<Real>) {
            Real block[kWidth][kWidth * kDepth<Real>];
            for (int lane = 0; lane < units; ++lane)
                for (int i = 0; i < kWidth * kDepth<Real>; i += kWidth)
                    store(block[lane] + i, load(weight_hh + (int64_t{g} * H + unit + lane) * H + k + i, H - k - i));
            for (int i = 0; i < kWidth * kDepth<Real> && k + i < H; i += kDepth<Real>)
                for (int lane = 0; lane < units; ++lane)
                    std::memcpy(panel + ((k + i) / kDepth<Real> * G + g) * kWidth + lane, block[lane] + i,
                                sizeof(*panel));
        }
}

// Pack a panel of the backward pass: for each gate of each unit, the weights from the panel's units, which are parts of
// rows of `weight_hh`.
template <class Real>
void pack_backward(PackedWeights<Real>& r, const float* weight_hh, int unit) {
    const int H = r.hidden, G = r.gates();
    auto* panel = reinterpret_cast<Factor<Real>*>(r.backward.data() + int64_t{unit} * G * H);
    for (int k = 0; k < G * H; k += kDepth<Real>, panel += kBackwardUnits) {
        Real rows[kDepth<Real>][kBackwardUnits];
        for (int d = 0; d < kDepth<Real>; ++d)
            for (int i = 0; i < kBackwardUnits; i += kWidth)
                store(rows[d] + i, load(weight_hh + int64_t{k + d} * H + unit + i, H - unit - i));
        for (int i = 0; i < kBackwardUnits; ++i)
            for (int d = 0; d < kDepth<Real>; ++d) panel[i].numbers[d] = rows[d][i];
    }
}

template <class Real>
void pack(PackedWeights<Real>& r, const float* weight_hh, int part, int parts) {
    some_panels(panels(r.hidden, kWidth), part, parts, false, [&](int i) { pack_forward(r, weight_hh, i * kWidth); });
    some_panels(panels(r.hidden, kBackwardUnits), part, parts, false,
                [&](int i) { pack_backward(r, weight_hh, i * kBackwardUnits); });
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
