// Forward and backward pass of a recurrent layer over a window. The product of a tile of streams with the weights of
// some units stays in registers, where the gates of those units are computed from it, so no product is written to
// memory.
#pragma once

#include <array>
#include <initializer_list>
#include <utility>

#include "common/denormals.h"
#include "common/maths.h"
#include "training/loss.h"
#include "training/panels.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// A tile's step, its first stream and its first unit.
struct TilePosition {
    int step, stream, unit;

    template <class Real>
    int64_t row(const TrainingWindow<Real>& w, int i) const {
        return int64_t{step} * w.streams + stream + i;
    }
};

// Prefetch the rows that a tile reads and writes after its product, while the product is computed.
template <class Real>
void prefetch(const Real* vector, int64_t stride, int count) {
    for (int i = 0; i < count; ++i) __builtin_prefetch(vector + i * stride, 1);
}

template <class Real, int kStreams, int kGates>
void prefetch_forward(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, TilePosition p) {
    const int H = r.hidden;
    for (int i = 0; i < kStreams; ++i) {
        const int64_t row = p.row(w, i);
        prefetch(w.input + (w.index ? w.index[row] : row) * kGates * H + p.unit, H, kGates);
        if (w.saved_gates) prefetch(w.saved_gates + row * w.saved_width + p.unit, H, 4);
        prefetch(w.hidden_seq + (row + w.streams) * H + p.unit, H, 1);
    }
}

template <class Real, int kStreams>
void prefetch_backward(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, TilePosition p) {
    const int H = r.hidden;
    for (int v = 0; v < kBackwardVectors; ++v)
        for (int i = 0; i < kStreams; ++i) {
            const int64_t at = p.row(w, i) * H + p.unit + v * kWidth;
            prefetch(w.saved_gates + p.row(w, i) * w.saved_width + p.unit + v * kWidth, H, 4);
            prefetch(w.hidden_seq + at, H, 1);
            prefetch(w.grad_out + at, H, 1);
        }
}

// Save the gates of some units at one step for the backward pass; see TrainingWindow.
template <class Real>
void store_gates(const TrainingWindow<Real>& w, int64_t row, int H, int unit, std::initializer_list<Floats> gates) {
    Real* part = w.saved_gates + row * w.saved_width + unit;
    for (const Floats gate : gates) store_gate(part, gate, H - unit), part += H;
}

template <class Real>
Floats saved_gate(const TrainingWindow<Real>& w, int64_t row, int H, int unit, int part) {
    return load_gate(w.saved_gates + row * w.saved_width + part * H + unit, H - unit);
}

// Overwrite the saved gates with the gradients of their pre-activations.
template <class Real>
void store_gate_gradients(const TrainingWindow<Real>& w, int64_t row, int H, int unit,
                          std::initializer_list<Floats> gradients) {
    Real* part = w.saved_gates + row * w.saved_width + unit;
    for (const Floats gradient : gradients) store(part, gradient, H - unit), part += H;
}

// Store the new hidden states: for the next step, and, times the mask, as the layer's output.
template <class Real>
void store_hidden(const TrainingWindow<Real>& w, int64_t row, int stream, int H, int unit, Floats hidden) {
    const int count = H - unit;
    const int64_t at = int64_t{stream} * H + unit;
    store(w.hidden + at, hidden, count);
    store(w.hidden_seq + (row + w.streams) * H + unit, hidden, count);
    if (w.mask) store(w.out + row * H + unit, hidden * load(w.mask + at, count), count);
}

template <class Real, int kStreams>
void gru_tile(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, const Real* panel, TilePosition p) {
    const int H = r.hidden, count = H - p.unit;
    prefetch_forward<Real, kStreams, 3>(r, w, p);
    Floats sums[kStreams][3] = {};
    multiply(panel, w.hidden_seq + p.row(w, 0) * H, H, H, sums);
    const Floats bias = load(w.bias + p.unit, count);
    for (int i = 0; i < kStreams; ++i) {
        const int64_t row = p.row(w, i);
        const Real* x = w.input + (w.index ? w.index[row] : row) * 3 * H + p.unit;
        const Floats previous = load(w.hidden + int64_t{p.stream + i} * H + p.unit, count);
        const Floats reset = sigmoid(load(x, count) + sums[i][0]);
        const Floats update = sigmoid(load(x + H, count) + sums[i][1]);
        const Floats recurrent_n = sums[i][2] + bias;
        const Floats candidate = hyperbolic_tangent(load(x + 2 * H, count) + reset * recurrent_n);
        if (w.saved_gates) {
            store_gates(w, row, H, p.unit, {reset, update, candidate});
            store(w.saved_gates + row * w.saved_width + 3 * H + p.unit, recurrent_n, count);
        }
        store_hidden(w, row, p.stream + i, H, p.unit, candidate + update * (previous - candidate));
    }
}

template <class Real, int kStreams>
void lstm_tile(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, const Real* panel, TilePosition p) {
    const int H = r.hidden, count = H - p.unit;
    prefetch_forward<Real, kStreams, 4>(r, w, p);
    Floats sums[kStreams][4] = {};
    multiply(panel, w.hidden_seq + p.row(w, 0) * H, H, H, sums);
    for (int s = 0; s < kStreams; ++s) {
        const int64_t row = p.row(w, s);
        const Real* x = w.input + (w.index ? w.index[row] : row) * 4 * H + p.unit;
        float* c = w.cell + int64_t{p.stream + s} * H + p.unit;
        const Floats i = sigmoid(load(x, count) + sums[s][0]);
        const Floats f = sigmoid(load(x + H, count) + sums[s][1]);
        const Floats g = hyperbolic_tangent(load(x + 2 * H, count) + sums[s][2]);
        const Floats o = sigmoid(load(x + 3 * H, count) + sums[s][3]);
        const Floats cell = f * load(c, count) + i * g;
        if (w.saved_gates) store_gates(w, row, H, p.unit, {i, f, g, o});
        store(c, cell, count);
        if (w.cell_seq) store(w.cell_seq + (row + w.streams) * H + p.unit, cell, count);
        store_hidden(w, row, p.stream + s, H, p.unit, o * hyperbolic_tangent(cell));
    }
}

// The gradient w.r.t. the hidden state after a step: from the layer's output, plus `product`, from the next step's
// gates.
template <class Real>
Floats grad_hidden(const TrainingWindow<Real>& w, int64_t row, int stream, int H, int unit, int count, Floats product) {
    Floats grad = load(w.grad_out + row * H + unit, count);
    if (w.mask) grad = grad * load(w.mask + int64_t{stream} * H + unit, count);
    return grad + product;
}

template <class Real>
void gru_gradients(const TrainingWindow<Real>& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* grad_state = w.grad_state + int64_t{stream} * H + unit;
    const Floats r = saved_gate(w, row, H, unit, 0), z = saved_gate(w, row, H, unit, 1);
    const Floats n = saved_gate(w, row, H, unit, 2),
                 recurrent_n = load(w.saved_gates + row * w.saved_width + 3 * H + unit, count);
    const Floats previous = load(w.hidden_seq + row * H + unit, count);
    const Floats dh = grad_hidden(w, row, stream, H, unit, count, product) + load(grad_state, count);
    const Floats dn = dh * (1.0f - z) * (1.0f - n * n);
    store_gate_gradients(w, row, H, unit,
                         {dn * recurrent_n * r * (1.0f - r), dh * (previous - n) * z * (1.0f - z), dn, dn * r});
    store(grad_state, dh * z, count);
}

template <class Real>
void lstm_gradients(const TrainingWindow<Real>& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* grad_state = w.grad_state + int64_t{stream} * H + unit;
    const Floats i = saved_gate(w, row, H, unit, 0), f = saved_gate(w, row, H, unit, 1);
    const Floats g = saved_gate(w, row, H, unit, 2), o = saved_gate(w, row, H, unit, 3);
    const Floats previous = load(w.cell_seq + row * H + unit, count);
    const Floats t = hyperbolic_tangent(load(w.cell_seq + (row + w.streams) * H + unit, count));
    const Floats dh = grad_hidden(w, row, stream, H, unit, count, product);
    const Floats dc = load(grad_state, count) + dh * o * (1.0f - t * t);
    const Floats di = dc * g * i * (1.0f - i), df = dc * previous * f * (1.0f - f);
    store_gate_gradients(w, row, H, unit, {di, df, dc * i * (1.0f - g * g), dh * t * o * (1.0f - o)});
    store(grad_state, dc * f, count);
}

template <class Real, int kStreams>
void backward_tile(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, const Real* panel, TilePosition p) {
    const int H = r.hidden;
    prefetch_backward<Real, kStreams>(r, w, p);
    Floats sums[kStreams][kBackwardVectors] = {};
    if (p.step + 1 == w.steps) {
        for (int v = 0; w.grad_last_hidden && v < kBackwardVectors && p.unit + v * kWidth < H; ++v)
            for (int i = 0; i < kStreams; ++i) {
                const int unit = p.unit + v * kWidth;
                sums[i][v] = load(w.grad_last_hidden + int64_t{p.stream + i} * H + unit, H - unit);
            }
    } else {
        // the next step's gates, already overwritten with their gradients
        const Real* gates = w.saved_gates + (p.row(w, 0) + w.streams) * w.saved_width;
        if (r.lstm) {
            multiply(panel, gates, w.saved_width, 4 * H, sums);
        } else {  // r and z; then the recurrent part of n, skipping n itself
            multiply(panel, gates, w.saved_width, 2 * H, sums);
            multiply(panel + int64_t{2} * H * kBackwardVectors * kWidth, gates + 3 * H, w.saved_width, H, sums);
        }
    }
    for (int v = 0; v < kBackwardVectors; ++v) {
        const int unit = p.unit + v * kWidth;
        for (int i = 0; i < kStreams && unit < H; ++i) {
            if (r.lstm)
                lstm_gradients(w, p.row(w, i), p.stream + i, H, unit, sums[i][v]);
            else
                gru_gradients(w, p.row(w, i), p.stream + i, H, unit, sums[i][v]);
        }
    }
}

template <class Real>
using Tile = void (*)(const PackedWeights<Real>&, const TrainingWindow<Real>&, const Real*, TilePosition);

// Functions for tiles of 1, 2, ... streams.
template <class Real, int... kStreams>
constexpr std::array<Tile<Real>, sizeof...(kStreams)> gru_tiles(std::integer_sequence<int, kStreams...>) {
    return {gru_tile<Real, kStreams + 1>...};
}
template <class Real, int... kStreams>
constexpr std::array<Tile<Real>, sizeof...(kStreams)> lstm_tiles(std::integer_sequence<int, kStreams...>) {
    return {lstm_tile<Real, kStreams + 1>...};
}
template <class Real, int... kStreams>
constexpr std::array<Tile<Real>, sizeof...(kStreams)> backward_tiles(std::integer_sequence<int, kStreams...>) {
    return {backward_tile<Real, kStreams + 1>...};
}
template <class Real>
constexpr auto kGruTiles = gru_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(3)>{});
template <class Real>
constexpr auto kLstmTiles = lstm_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(4)>{});
template <class Real>
constexpr auto kBackwardTiles =
    backward_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(kBackwardVectors)>{});

// Process all streams in as few tiles as possible, of nearly equal sizes.
template <class Real, size_t kMaxStreams>
void all_tiles(const std::array<Tile<Real>, kMaxStreams>& tiles, const PackedWeights<Real>& r,
               const TrainingWindow<Real>& w, const Real* panel, TilePosition p) {
    for (int remaining = (w.streams + int(kMaxStreams) - 1) / int(kMaxStreams); remaining > 0; --remaining) {
        const int streams = (w.streams - p.stream + remaining - 1) / remaining;
        tiles[streams - 1](r, w, panel, p);
        p.stream += streams;
    }
}

template <class Real>
void forward(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, int step, int part, int parts) {
    const FlushDenormals flush;
    some_panels(panels(r.hidden, kWidth), part, parts, step % 2, [&](int i) {
        const TilePosition position{step, 0, i * kWidth};
        const Real* panel = r.forward.data() + int64_t{position.unit} * r.hidden * r.gates();
        r.lstm ? all_tiles(kLstmTiles<Real>, r, w, panel, position) : all_tiles(kGruTiles<Real>, r, w, panel, position);
    });
}

template <class Real>
void backward(const PackedWeights<Real>& r, const TrainingWindow<Real>& w, int step, int part, int parts) {
    const FlushDenormals flush;
    some_panels(panels(r.hidden, kBackwardUnits), part, parts, step % 2, [&](int i) {
        const Real* panel = r.backward.data() + int64_t{i} * kBackwardUnits * r.gates() * r.hidden;
        all_tiles(kBackwardTiles<Real>, r, w, panel, {step, 0, i * kBackwardUnits});
    });
}

template <class Real>
void add_rows(const Real* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width, int from,
              int to) {
    const FlushDenormals flush;
    for (int64_t i = 0; i < count; ++i) {
        const Real* row = rows + i * stride;
        float* sum = table + ids[i] * width;
        for (int j = from; j < to; j += kWidth) store(sum + j, load(sum + j, to - j) + load(row + j, to - j), to - j);
    }
}

template <class Real>
constexpr WindowKernels<Real> kWindowKernels = {allocate<Real>, pack<Real>,     forward<Real>,
                                                backward<Real>, add_rows<Real>, cross_entropy<Real>};

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
