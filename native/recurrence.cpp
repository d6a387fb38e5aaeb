// Windows of a recurrent layer. The product of a tile of streams with the weights of some units stays in registers,
// and the maths of those units is done with it there: no product is ever written to memory.
#include "recurrence.h"

#include <algorithm>
#include <array>
#include <utility>

#include "flush.h"
#include "maths.h"
#include "vectors.h"

namespace charloom::CHARLOOM_ISA {
namespace {

constexpr int BACK = 2;  // vectors of units that a tile has backwards; forwards it has one for each gate
constexpr int UNITS = BACK * WIDTH;

// So many streams that all sums of a tile, its weights and one input fit into the registers.
constexpr int tile_streams(int vectors) { return (REGISTERS - vectors - 1) / vectors; }

int panels(int hidden, int units) { return (hidden + units - 1) / units; }

// sums[i][v] += for all k < depth: a[i * stride + k] * panel[k][v].
template <int STREAMS, int VECTORS>
inline void multiply(const float* panel, const float* a, int64_t stride, int depth, Floats (&sums)[STREAMS][VECTORS]) {
    for (int k = 0; k < depth; ++k, panel += VECTORS * WIDTH) {
        Floats weights[VECTORS];
        for (int v = 0; v < VECTORS; ++v) weights[v] = load(panel + v * WIDTH);
        for (int i = 0; i < STREAMS; ++i) {
            const Floats x = a[i * stride + k] - Floats{};  // in all lanes: x - 0 is x, so that this is but a load
            for (int v = 0; v < VECTORS; ++v) sums[i][v] += x * weights[v];
        }
    }
}

// Where a tile lies: its step, its first stream, its first unit.
struct Place {
    int step, stream, unit;

    int64_t row(const Window& w, int i) const { return int64_t{step} * w.streams + stream + i; }
};

// Ask for what a tile will read and write when its product is done: meanwhile it comes.
inline void ask_for(const float* vector, int64_t stride, int count) {
    for (int i = 0; i < count; ++i) __builtin_prefetch(vector + i * stride, 1);
}

template <int STREAMS, int GATES>
void ask_forward(const Recurrent& r, const Window& w, Place p) {
    const int H = r.hidden;
    for (int i = 0; i < STREAMS; ++i) {
        const int64_t row = p.row(w, i);
        ask_for(w.input + (w.index ? w.index[row] : row) * GATES * H + p.unit, H, GATES);
        if (w.active) ask_for(w.active + row * 4 * H + p.unit, H, 4);
        ask_for(w.hiddens + (row + w.streams) * H + p.unit, H, 1);
    }
}

template <int STREAMS>
void ask_backward(const Recurrent& r, const Window& w, Place p) {
    const int H = r.hidden;
    for (int v = 0; v < BACK; ++v)
        for (int i = 0; i < STREAMS; ++i) {
            const int64_t at = p.row(w, i) * H + p.unit + v * WIDTH;
            ask_for(w.active + p.row(w, i) * 4 * H + p.unit + v * WIDTH, H, 4);
            ask_for(w.hiddens + at, H, 1);
            ask_for(w.gradient + at, H, 1);
        }
}

// Remember what goes backwards needs.
inline void keep(const Window& w, int64_t row, int H, int unit, const Floats (&parts)[4]) {
    if (w.active)
        for (int part = 0; part < 4; ++part) store(w.active + (row * 4 + part) * H + unit, parts[part], H - unit);
}

// What was kept, or the gradients that took its place.
inline std::array<Floats, 4> kept(const Window& w, int64_t row, int H, int unit) {
    std::array<Floats, 4> parts;
    for (int part = 0; part < 4; ++part) parts[part] = load(w.active + (row * 4 + part) * H + unit, H - unit);
    return parts;
}

template <int STREAMS>
void gru_tile(const Recurrent& r, const Window& w, const float* panel, Place p) {
    const int H = r.hidden, count = H - p.unit;
    ask_forward<STREAMS, 3>(r, w, p);
    const float* before = w.hiddens + p.row(w, 0) * H;
    Floats sums[STREAMS][3] = {};
    multiply<STREAMS, 3>(panel, before, H, H, sums);
    const Floats bias = load(w.bias + p.unit, count);
    for (int i = 0; i < STREAMS; ++i) {
        const int64_t row = p.row(w, i);
        const float* x = w.input + (w.index ? w.index[row] : row) * 3 * H + p.unit;
        const Floats reset = sigmoid(load(x, count) + sums[i][0]);
        const Floats update = sigmoid(load(x + H, count) + sums[i][1]);
        const Floats said = sums[i][2] + bias;
        const Floats candidate = hyperbolic_tangent(load(x + 2 * H, count) + reset * said);
        const Floats hidden = candidate + update * (load(before + int64_t{i} * H + p.unit, count) - candidate);
        keep(w, row, H, p.unit, {reset, update, candidate, said});
        store(w.hiddens + (row + w.streams) * H + p.unit, hidden, count);
        if (w.mask)
            store(w.out + row * H + p.unit, hidden * load(w.mask + int64_t{p.stream + i} * H + p.unit, count), count);
    }
}

template <int STREAMS>
void lstm_tile(const Recurrent& r, const Window& w, const float* panel, Place p) {
    const int H = r.hidden, count = H - p.unit;
    ask_forward<STREAMS, 4>(r, w, p);
    Floats sums[STREAMS][4] = {};
    multiply<STREAMS, 4>(panel, w.hiddens + p.row(w, 0) * H, H, H, sums);
    for (int s = 0; s < STREAMS; ++s) {
        const int64_t row = p.row(w, s);
        const float* x = w.input + (w.index ? w.index[row] : row) * 4 * H + p.unit;
        const Floats i = sigmoid(load(x, count) + sums[s][0]);
        const Floats f = sigmoid(load(x + H, count) + sums[s][1]);
        const Floats g = hyperbolic_tangent(load(x + 2 * H, count) + sums[s][2]);
        const Floats o = sigmoid(load(x + 3 * H, count) + sums[s][3]);
        const Floats cell = f * load(w.cells + row * H + p.unit, count) + i * g;
        const Floats hidden = o * hyperbolic_tangent(cell);
        keep(w, row, H, p.unit, {i, f, g, o});
        store(w.cells + (row + w.streams) * H + p.unit, cell, count);
        store(w.hiddens + (row + w.streams) * H + p.unit, hidden, count);
        if (w.mask)
            store(w.out + row * H + p.unit, hidden * load(w.mask + int64_t{p.stream + s} * H + p.unit, count), count);
    }
}

// The gradient of a hidden vector after a step: from above, and what the gates of the next step were told.
inline Floats arriving(const Window& w, int64_t row, int stream, int H, int unit, int count, Floats product) {
    Floats above = load(w.gradient + row * H + unit, count);
    if (w.mask) above = above * load(w.mask + int64_t{stream} * H + unit, count);
    return above + product;
}

inline void gru_gradients(const Window& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* carried = w.carried + int64_t{stream} * H + unit;
    const auto [r, z, n, said] = kept(w, row, H, unit);
    const Floats before = load(w.hiddens + row * H + unit, count);
    const Floats dh = arriving(w, row, stream, H, unit, count, product) + load(carried, count);
    const Floats dn = dh * (1.0f - z) * (1.0f - n * n);
    keep(w, row, H, unit, {dn * said * r * (1.0f - r), dh * (before - n) * z * (1.0f - z), dn, dn * r});
    store(carried, dh * z, count);
}

inline void lstm_gradients(const Window& w, int64_t row, int stream, int H, int unit, Floats product) {
    const int count = H - unit;
    float* carried = w.carried + int64_t{stream} * H + unit;
    const auto [i, f, g, o] = kept(w, row, H, unit);
    const Floats before = load(w.cells + row * H + unit, count);
    const Floats t = hyperbolic_tangent(load(w.cells + (row + w.streams) * H + unit, count));
    const Floats dh = arriving(w, row, stream, H, unit, count, product);
    const Floats dc = load(carried, count) + dh * o * (1.0f - t * t);
    keep(w, row, H, unit,
         {dc * g * i * (1.0f - i), dc * before * f * (1.0f - f), dc * i * (1.0f - g * g), dh * t * o * (1.0f - o)});
    store(carried, dc * f, count);
}

template <int STREAMS>
void backward_tile(const Recurrent& r, const Window& w, const float* panel, Place p) {
    const int H = r.hidden;
    ask_backward<STREAMS>(r, w, p);
    Floats sums[STREAMS][BACK] = {};
    if (p.step + 1 == w.steps) {
        for (int v = 0; w.last && v < BACK && p.unit + v * WIDTH < H; ++v)
            for (int i = 0; i < STREAMS; ++i) {
                const int unit = p.unit + v * WIDTH;
                sums[i][v] = load(w.last + int64_t{p.stream + i} * H + unit, H - unit);
            }
    } else {
        const float* gates = w.active + (p.row(w, 0) + w.streams) * 4 * H;  // of the next step: gradients by now
        if (r.lstm) {
            multiply<STREAMS, BACK>(panel, gates, 4 * H, 4 * H, sums);
        } else {  // r, z, and behind n what the state says to n
            multiply<STREAMS, BACK>(panel, gates, 4 * H, 2 * H, sums);
            multiply<STREAMS, BACK>(panel + int64_t{2} * H * BACK * WIDTH, gates + 3 * H, 4 * H, H, sums);
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

using Tile = void (*)(const Recurrent&, const Window&, const float*, Place);

// Tiles of 1, 2, ... streams.
template <int... STREAMS>
constexpr std::array<Tile, sizeof...(STREAMS)> gru_tiles(std::integer_sequence<int, STREAMS...>) {
    return {gru_tile<STREAMS + 1>...};
}
template <int... STREAMS>
constexpr std::array<Tile, sizeof...(STREAMS)> lstm_tiles(std::integer_sequence<int, STREAMS...>) {
    return {lstm_tile<STREAMS + 1>...};
}
template <int... STREAMS>
constexpr std::array<Tile, sizeof...(STREAMS)> backward_tiles(std::integer_sequence<int, STREAMS...>) {
    return {backward_tile<STREAMS + 1>...};
}
constexpr auto GRU = gru_tiles(std::make_integer_sequence<int, tile_streams(3)>{});
constexpr auto LSTM = lstm_tiles(std::make_integer_sequence<int, tile_streams(4)>{});
constexpr auto BACKWARD = backward_tiles(std::make_integer_sequence<int, tile_streams(BACK)>{});

// All streams, in as few tiles as can be, of nearly equal sizes.
template <size_t MOST>
void all_tiles(const std::array<Tile, MOST>& tiles, const Recurrent& r, const Window& w, const float* panel, Place p) {
    for (int left = (w.streams + int(MOST) - 1) / int(MOST); left > 0; --left) {
        const int streams = (w.streams - p.stream + left - 1) / left;
        tiles[streams - 1](r, w, panel, p);
        p.stream += streams;
    }
}

// A part of `count` panels; every other time from the last to the first, so that what the cache still holds of them is
// used before it is thrown out.
template <class Step>
void some_panels(int count, int part, int parts, bool reversed, const Step& step) {
    const int from = int(int64_t{count} * part / parts), to = int(int64_t{count} * (part + 1) / parts);
    for (int i = from; i < to; ++i) step(reversed ? from + to - 1 - i : i);
}

}  // namespace

void allocate(Recurrent& r) {
    const size_t width = size_t(r.gates()) * r.hidden;
    r.forward = Buffer<float>(panels(r.hidden, WIDTH) * WIDTH * width);
    r.backward = Buffer<float>(panels(r.hidden, UNITS) * UNITS * width);
}

void pack(Recurrent& r, const float* weight_hh, int part, int parts) {
    const int H = r.hidden, G = r.gates();
    some_panels(panels(H, WIDTH), part, parts, false, [&](int i) {
        const int unit = i * WIDTH, units = std::min(WIDTH, H - unit);
        float* to = r.forward.data() + int64_t{unit} * H * G;
        for (int k = 0; k < H; ++k)
            for (int g = 0; g < G; ++g, to += WIDTH)
                for (int lane = 0; lane < units; ++lane) to[lane] = weight_hh[(int64_t{g} * H + unit + lane) * H + k];
    });
    some_panels(panels(H, UNITS), part, parts, false, [&](int i) {
        const int unit = i * UNITS, units = std::min(UNITS, H - unit);
        float* to = r.backward.data() + int64_t{unit} * G * H;
        for (int k = 0; k < G * H; ++k, to += UNITS) std::copy_n(weight_hh + int64_t{k} * H + unit, units, to);
    });
}

void forward(const Recurrent& r, const Window& w, int step, int part, int parts) {
    const FlushedDenormals flushed;
    some_panels(panels(r.hidden, WIDTH), part, parts, step % 2, [&](int i) {
        const Place place{step, 0, i * WIDTH};
        const float* panel = r.forward.data() + int64_t{place.unit} * r.hidden * r.gates();
        r.lstm ? all_tiles(LSTM, r, w, panel, place) : all_tiles(GRU, r, w, panel, place);
    });
}

void backward(const Recurrent& r, const Window& w, int step, int part, int parts) {
    const FlushedDenormals flushed;
    some_panels(panels(r.hidden, UNITS), part, parts, step % 2, [&](int i) {
        const float* panel = r.backward.data() + int64_t{i} * UNITS * r.gates() * r.hidden;
        all_tiles(BACKWARD, r, w, panel, {step, 0, i * UNITS});
    });
}

// Defined in loss.cpp
double cross_entropy(float* logits, const int64_t* targets, int from, int to, int length, float scale);
void add_rows(const float* rows, int64_t stride, const int64_t* ids, int64_t count, float* table, int width, int from,
              int to);

extern const TrainingKernels training_kernels;
const TrainingKernels training_kernels = {allocate, pack, forward, backward, cross_entropy, add_rows};

}  // namespace charloom::CHARLOOM_ISA
