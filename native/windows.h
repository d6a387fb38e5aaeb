// Windows of a recurrent layer. The product of a tile of streams with the weights of some units stays in registers,
// and the maths of those units is done with it there: no product is ever written to memory.
#pragma once

#include <array>
#include <initializer_list>
#include <utility>

#include "flush.h"
#include "loss.h"
#include "maths.h"
#include "panels.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// Where a tile lies: its step, its first stream, its first unit.
struct Place {
    int step, stream, unit;

    template <class Real>
    int64_t row(const Window<Real>& w, int i) const {
        return int64_t{step} * w.streams + stream + i;
    }
};

// Ask for what a tile will read and write when its product is done: meanwhile it comes.
template <class Real>
void ask_for(const Real* vector, int64_t stride, int count) {
    for (int i = 0; i < count; ++i) __builtin_prefetch(vector + i * stride, 1);
}

template <class Real, int STREAMS, int GATES>
void ask_forward(const Recurrent<Real>& r, const Window<Real>& w, Place p) {
    const int H = r.hidden;
    for (int i = 0; i < STREAMS; ++i) {
        const int64_t row = p.row(w, i);
        ask_for(w.input + (w.index ? w.index[row] : row) * GATES * H + p.unit, H, GATES);
        if (w.active) ask_for(w.active + row * w.width + p.unit, H, 4);
        ask_for(w.hiddens + (row + w.streams) * H + p.unit, H, 1);
    }
}

template <class Real, int STREAMS>
void ask_backward(const Recurrent<Real>& r, const Window<Real>& w, Place p) {
    const int H = r.hidden;
    for (int v = 0; v < BACK; ++v)
        for (int i = 0; i < STREAMS; ++i) {
            const int64_t at = p.row(w, i) * H + p.unit + v * WIDTH;
            ask_for(w.active + p.row(w, i) * w.width + p.unit + v * WIDTH, H, 4);
            ask_for(w.hiddens + at, H, 1);
            ask_for(w.gradient + at, H, 1);
        }
}

// What goes backwards needs to know of some units at one step: its four parts, as far as they are gates.
template <class Real>
void keep_gates(const Window<Real>& w, int64_t row, int H, int unit, std::initializer_list<Floats> gates) {
    Real* part = w.active + row * w.width + unit;
    for (const Floats gate : gates) store_gate(part, gate, H - unit), part += H;
}

template <class Real>
Floats kept_gate(const Window<Real>& w, int64_t row, int H, int unit, int part) {
    return load_gate(w.active + row * w.width + part * H + unit, H - unit);
}

// The gradients that take their place.
template <class Real>
void keep_gradients(const Window<Real>& w, int64_t row, int H, int unit, std::initializer_list<Floats> gradients) {
    Real* part = w.active + row * w.width + unit;
    for (const Floats gradient : gradients) store(part, gradient, H - unit), part += H;
}

// The hidden vectors that a tile has come to: for the next step, and on their way up.
template <class Real>
void leave(const Window<Real>& w, int64_t row, int stream, int H, int unit, Floats hidden) {
    const int count = H - unit;
    const int64_t at = int64_t{stream} * H + unit;
    store(w.hidden + at, hidden, count);
    store(w.hiddens + (row + w.streams) * H + unit, hidden, count);
    if (w.mask) store(w.out + row * H + unit, hidden * load(w.mask + at, count), count);
}

template <class Real, int STREAMS>
void gru_tile(const Recurrent<Real>& r, const Window<Real>& w, const Real* panel, Place p) {
    const int H = r.hidden, count = H - p.unit;
    ask_forward<Real, STREAMS, 3>(r, w, p);
    Floats sums[STREAMS][3] = {};
    multiply(panel, w.hiddens + p.row(w, 0) * H, H, H, sums);
    const Floats bias = load(w.bias + p.unit, count);
    for (int i = 0; i < STREAMS; ++i) {
        const int64_t row = p.row(w, i);
        const Real* x = w.input + (w.index ? w.index[row] : row) * 3 * H + p.unit;
        const Floats before = load(w.hidden + int64_t{p.stream + i} * H + p.unit, count);
        const Floats reset = sigmoid(load(x, count) + sums[i][0]);
        const Floats update = sigmoid(load(x + H, count) + sums[i][1]);
        const Floats said = sums[i][2] + bias;
        const Floats candidate = hyperbolic_tangent(load(x + 2 * H, count) + reset * said);
        if (w.active) {
            keep_gates(w, row, H, p.unit, {reset, update, candidate});
            store(w.active + row * w.width + 3 * H + p.unit, said, count);
        }
        leave(w, row, p.stream + i, H, p.unit, candidate + update * (before - candidate));
    }
}

template <class Real, int STREAMS>
void lstm_tile(const Recurrent<Real>& r, const Window<Real>& w, const Real* panel, Place p) {
    const int H = r.hidden, count = H - p.unit;
    ask_forward<Real, STREAMS, 4>(r, w, p);
    Floats sums[STREAMS][4] = {};
    multiply(panel, w.hiddens + p.row(w, 0) * H, H, H, sums);
    for (int s = 0; s < STREAMS; ++s) {
        const int64_t row = p.row(w, s);
        const Real* x = w.input + (w.index ? w.index[row] : row) * 4 * H + p.unit;
        float* c = w.cell + int64_t{p.stream + s} * H + p.unit;
        const Floats i = sigmoid(load(x, count) + sums[s][0]);
        const Floats f = sigmoid(load(x + H, count) + sums[s][1]);
        const Floats g = hyperbolic_tangent(load(x + 2 * H, count) + sums[s][2]);
        const Floats o = sigmoid(load(x + 3 * H, count) + sums[s][3]);
        const Floats cell = f * load(c, count) + i * g;
        if (w.active) keep_gates(w, row, H, p.unit, {i, f, g, o});
        store(c, cell, count);
        if (w.cells) store(w.cells + (row + w.streams) * H + p.unit, cell, count);
        leave(w, row, p.stream + s, H, p.unit, o * hyperbolic_tangent(cell));
    }
}

// The gradient of a hidden vector after a step: from above, and what the gates of the next step were told.
template <class Real>
Floats arriving(const Window<Real>& w, int64_t row, int stream, int H, int unit, int count, Floats product) {
    Floats above = load(w.gradient + row * H + unit, count);
    if (w.mask) above = above * load(w.mask + int64_t{stream} * H + unit, count);
    return above + product;
}

template <class Real>
void gru_gradients(const Window<Real>& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* carried = w.carried + int64_t{stream} * H + unit;
    const Floats r = kept_gate(w, row, H, unit, 0), z = kept_gate(w, row, H, unit, 1);
    const Floats n = kept_gate(w, row, H, unit, 2), said = load(w.active + row * w.width + 3 * H + unit, count);
    const Floats before = load(w.hiddens + row * H + unit, count);
    const Floats dh = arriving(w, row, stream, H, unit, count, product) + load(carried, count);
    const Floats dn = dh * (1.0f - z) * (1.0f - n * n);
    keep_gradients(w, row, H, unit, {dn * said * r * (1.0f - r), dh * (before - n) * z * (1.0f - z), dn, dn * r});
    store(carried, dh * z, count);
}

template <class Real>
void lstm_gradients(const Window<Real>& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* carried = w.carried + int64_t{stream} * H + unit;
    const Floats i = kept_gate(w, row, H, unit, 0), f = kept_gate(w, row, H, unit, 1);
    const Floats g = kept_gate(w, row, H, unit, 2), o = kept_gate(w, row, H, unit, 3);
    const Floats before = load(w.cells + row * H + unit, count);
    const Floats t = hyperbolic_tangent(load(w.cells + (row + w.streams) * H + unit, count));
    const Floats dh = arriving(w, row, stream, H, unit, count, product);
    const Floats dc = load(carried, count) + dh * o * (1.0f - t * t);
    const Floats di = dc * g * i * (1.0f - i), df = dc * before * f * (1.0f - f);
    keep_gradients(w, row, H, unit, {di, df, dc * i * (1.0f - g * g), dh * t * o * (1.0f - o)});
    store(carried, dc * f, count);
}

template <class Real, int STREAMS>
void backward_tile(const Recurrent<Real>& r, const Window<Real>& w, const Real* panel, Place p) {
    const int H = r.hidden;
    ask_backward<Real, STREAMS>(r, w, p);
    Floats sums[STREAMS][BACK] = {};
    if (p.step + 1 == w.steps) {
        for (int v = 0; w.last && v < BACK && p.unit + v * WIDTH < H; ++v)
            for (int i = 0; i < STREAMS; ++i) {
                const int unit = p.unit + v * WIDTH;
                sums[i][v] = load(w.last + int64_t{p.stream + i} * H + unit, H - unit);
            }
    } else {
        const Real* gates = w.active + (p.row(w, 0) + w.streams) * w.width;  // of the next step: gradients by now
        if (r.lstm) {
            multiply(panel, gates, w.width, 4 * H, sums);
        } else {  // r, z, and behind n what the state says to n
            multiply(panel, gates, w.width, 2 * H, sums);
            multiply(panel + int64_t{2} * H * BACK * WIDTH, gates + 3 * H, w.width, H, sums);
        }
    }
    for (int v = 0; v < BACK; ++v) {
        const int unit = p.unit + v * WIDTH;
        for (int i = 0; i < STREAMS && unit < H; ++i) {
            if (r.lstm)
                lstm_gradients(w, p.row(w, i), p.stream + i, H, unit, sums[i][v]);
            else
                gru_gradients(w, p.row(w, i), p.stream + i, H, unit, sums[i][v]);
        }
    }
}

template <class Real>
using Tile = void (*)(const Recurrent<Real>&, const Window<Real>&, const Real*, Place);

// Tiles of 1, 2, ... streams.
template <class Real, int... STREAMS>
constexpr std::array<Tile<Real>, sizeof...(STREAMS)> gru_tiles(std::integer_sequence<int, STREAMS...>) {
    return {gru_tile<Real, STREAMS + 1>...};
}
template <class Real, int... STREAMS>
constexpr std::array<Tile<Real>, sizeof...(STREAMS)> lstm_tiles(std::integer_sequence<int, STREAMS...>) {
    return {lstm_tile<Real, STREAMS + 1>...};
}
template <class Real, int... STREAMS>
constexpr std::array<Tile<Real>, sizeof...(STREAMS)> backward_tiles(std::integer_sequence<int, STREAMS...>) {
    return {backward_tile<Real, STREAMS + 1>...};
}
template <class Real>
constexpr auto GRU = gru_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(3)>{});
template <class Real>
constexpr auto LSTM = lstm_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(4)>{});
template <class Real>
constexpr auto BACKWARD = backward_tiles<Real>(std::make_integer_sequence<int, tile_streams<Real>(BACK)>{});

// All streams, in as few tiles as can be, of nearly equal sizes.
template <class Real, size_t MOST>
void all_tiles(const std::array<Tile<Real>, MOST>& tiles, const Recurrent<Real>& r, const Window<Real>& w,
               const Real* panel, Place p) {
    for (int left = (w.streams + int(MOST) - 1) / int(MOST); left > 0; --left) {
        const int streams = (w.streams - p.stream + left - 1) / left;
        tiles[streams - 1](r, w, panel, p);
        p.stream += streams;
    }
}

template <class Real>
void forward(const Recurrent<Real>& r, const Window<Real>& w, int step, int part, int parts) {
    const FlushedDenormals flushed;
    some_panels(panels(r.hidden, WIDTH), part, parts, step % 2, [&](int i) {
        const Place place{step, 0, i * WIDTH};
        const Real* panel = r.forward.data() + int64_t{place.unit} * r.hidden * r.gates();
        r.lstm ? all_tiles(LSTM<Real>, r, w, panel, place) : all_tiles(GRU<Real>, r, w, panel, place);
    });
}

template <class Real>
void backward(const Recurrent<Real>& r, const Window<Real>& w, int step, int part, int parts) {
    const FlushedDenormals flushed;
    some_panels(panels(r.hidden, UNITS), part, parts, step % 2, [&](int i) {
        const Real* panel = r.backward.data() + int64_t{i} * UNITS * r.gates() * r.hidden;
        all_tiles(BACKWARD<Real>, r, w, panel, {step, 0, i * UNITS});
    });
}

template <class Real>
void add_rows(const Real* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width, int from,
              int to) {
    const FlushedDenormals flushed;
    for (int64_t i = 0; i < count; ++i) {
        const Real* row = rows + i * stride;
        float* sum = table + ids[i] * width;
        for (int j = from; j < to; j += WIDTH)
            store(sum + j, load(sum + j, to - j) + load(row + j, to - j), to - j);
    }
}

template <class Real>
constexpr WindowKernels<Real> WINDOWS = {allocate<Real>, pack<Real>,     forward<Real>,
                                         backward<Real>, add_rows<Real>, cross_entropy<Real>};

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
