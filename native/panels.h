// Weights in panels, each of the units whose sums fill some registers, and the products with them.
#pragma once

#include <algorithm>

#include "recurrence.h"
#include "vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

constexpr int BACK = 2;  // vectors of units that a tile has backwards; forwards it has one for each gate
constexpr int UNITS = BACK * WIDTH;

// Numbers that one multiplication takes of each lane: one float, or two Bfloat16 that fill a lane together.
template <class Real>
constexpr int DEPTH = sizeof(float) / sizeof(Real);

// Registers that they need: where no instruction multiplies pairs, each is taken apart into two floats.
#if defined(__AVX512BF16__)
template <class Real>
constexpr int APART = 1;
#else
template <class Real>
constexpr int APART = DEPTH<Real>;
#endif

// So many streams that all sums of a tile, its weights and one input fit into the registers.
template <class Real>
constexpr int tile_streams(int vectors) {
    return (REGISTERS - APART<Real> * (vectors + 1)) / vectors;
}

inline int panels(int hidden, int units) { return (hidden + units - 1) / units; }

inline Floats factors(const float* weights) { return load(weights); }
inline Words factors(const Bfloat16* weights) {
    Words pairs;
    std::memcpy(&pairs, weights, sizeof(pairs));
    return pairs;
}

// The same in all lanes.
inline Floats spread(const float* x) { return *x - Floats{}; }  // x - 0 is x, so that this is but a load
inline Words spread(const Bfloat16* x) {
    uint32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    return pair + Words{};
}

inline Floats add_product(Floats sums, Floats x, Floats weights) { return sums + x * weights; }
inline Floats add_product(Floats sums, Words x, Words weights) {
#if defined(__AVX512BF16__)
    return std::bit_cast<Floats>(_mm512_dpbf16_ps(std::bit_cast<__m512>(sums), std::bit_cast<__m512bh>(x),
                                                  std::bit_cast<__m512bh>(weights)));
#else
    const auto low = [](Words pairs) { return std::bit_cast<Floats>(pairs << 16); };
    const auto high = [](Words pairs) { return std::bit_cast<Floats>(pairs & 0xffff0000); };
    return sums + low(x) * low(weights) + high(x) * high(weights);
#endif
}

// sums[i][v] += for all k < depth: a[i * stride + k] * panel[k][v].
template <int STREAMS, int VECTORS, class Real>
inline void multiply(const Real* panel, const Real* a, int64_t stride, int depth, Floats (&sums)[STREAMS][VECTORS]) {
    for (int k = 0; k < depth; k += DEPTH<Real>, panel += VECTORS * WIDTH * DEPTH<Real>) {
        decltype(factors(panel)) weights[VECTORS];
        for (int v = 0; v < VECTORS; ++v) weights[v] = factors(panel + v * WIDTH * DEPTH<Real>);
        for (int i = 0; i < STREAMS; ++i) {
            const auto x = spread(a + i * stride + k);
            for (int v = 0; v < VECTORS; ++v) sums[i][v] = add_product(sums[i][v], x, weights[v]);
        }
    }
}

// A part of `count` panels; every other time from the last to the first, so that what the cache still holds of them is
// used before it is thrown out.
template <class Step>
void some_panels(int count, int part, int parts, bool reversed, const Step& step) {
    const int from = int(int64_t{count} * part / parts), to = int(int64_t{count} * (part + 1) / parts);
    for (int i = from; i < to; ++i) step(reversed ? from + to - 1 - i : i);
}

template <class Real>
void allocate(Recurrent<Real>& r) {
    const size_t width = size_t(r.gates()) * r.hidden;
    r.forward = Buffer<Real>(panels(r.hidden, WIDTH) * WIDTH * width);
    r.backward = Buffer<Real>(panels(r.hidden, UNITS) * UNITS * width);
}

// What one multiplication takes of a lane.
template <class Real>
struct Factor {
    Real numbers[DEPTH<Real>];
};

// The weights of a panel's units from each number of the state, gate by gate: rows of `weight_hh` become columns.
template <class Real>
void pack_forward(Recurrent<Real>& r, const float* weight_hh, int unit) {
    const int H = r.hidden, G = r.gates(), units = std::min(WIDTH, H - unit);
    auto* panel = reinterpret_cast<Factor<Real>*>(r.forward.data() + int64_t{unit} * G * H);
    for (int g = 0; g < G; ++g)
        for (int k = 0; k < H; k += WIDTH * DEPTH<Real>) {
            Real block[WIDTH][WIDTH * DEPTH<Real>];
            for (int lane = 0; lane < units; ++lane)
                for (int i = 0; i < WIDTH * DEPTH<Real>; i += WIDTH)
                    store(block[lane] + i, load(weight_hh + (int64_t{g} * H + unit + lane) * H + k + i, H - k - i));
            for (int i = 0; i < WIDTH * DEPTH<Real> && k + i < H; i += DEPTH<Real>)
                for (int lane = 0; lane < units; ++lane)
                    std::memcpy(panel + ((k + i) / DEPTH<Real> * G + g) * WIDTH + lane, block[lane] + i,
                                sizeof(*panel));
        }
}

// The weights from a panel's units to each gate of each unit: parts of rows of `weight_hh`.
template <class Real>
void pack_backward(Recurrent<Real>& r, const float* weight_hh, int unit) {
    const int H = r.hidden, G = r.gates();
    auto* panel = reinterpret_cast<Factor<Real>*>(r.backward.data() + int64_t{unit} * G * H);
    for (int k = 0; k < G * H; k += DEPTH<Real>, panel += UNITS) {
        Real rows[DEPTH<Real>][UNITS];
        for (int d = 0; d < DEPTH<Real>; ++d)
            for (int i = 0; i < UNITS; i += WIDTH)
                store(rows[d] + i, load(weight_hh + int64_t{k + d} * H + unit + i, H - unit - i));
        for (int i = 0; i < UNITS; ++i)
            for (int d = 0; d < DEPTH<Real>; ++d) panel[i].numbers[d] = rows[d][i];
    }
}

template <class Real>
void pack(Recurrent<Real>& r, const float* weight_hh, int part, int parts) {
    some_panels(panels(r.hidden, WIDTH), part, parts, false, [&](int i) { pack_forward(r, weight_hh, i * WIDTH); });
    some_panels(panels(r.hidden, UNITS), part, parts, false, [&](int i) { pack_backward(r, weight_hh, i * UNITS); });
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
