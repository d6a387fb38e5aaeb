// For the tests: trains on made-up numbers in memory of exactly the right size, on two threads, so that a sanitizer can
// watch, and prints sums of what comes out, which hardly depend on the instruction set.
//
//     golden_training [ISA]
#include <bit>
#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels.h"
#include "recurrence.h"
#include "team.h"

using namespace charloom;

static std::vector<float> numbers(size_t count, float seed, float spread) {
    std::vector<float> made(count);
    for (size_t i = 0; i < count; ++i) made[i] = spread * std::sin(seed + 1.7f * float(i));
    return made;
}

static double sum_of(const std::vector<float>& values) {
    double sum = 0.0;
    for (const float value : values) sum += std::fabs(value);
    return sum;
}

// The same as floats, or their upper halves.
static std::vector<float> reals(std::vector<float> values, float) { return values; }
static std::vector<Bfloat16> reals(const std::vector<float>& values, Bfloat16) {
    std::vector<Bfloat16> halves;
    for (const float value : values) halves.push_back({uint16_t(std::bit_cast<uint32_t>(value) >> 16)});
    return halves;
}

static double sum_of(const std::vector<Bfloat16>& values) {
    double sum = 0.0;
    for (const Bfloat16 value : values) sum += std::fabs(std::bit_cast<float>(uint32_t{value.bits} << 16));
    return sum;
}

template <class Real>
static void window(const WindowKernels<Real>& kernels, bool lstm, int hidden, bool looked_up, bool masked) {
    const int T = 3, B = 11, G = lstm ? 4 : 3, V = 5;
    const size_t H = hidden, state = size_t(B) * H;
    const auto weights = numbers(G * H * H, 1.0f, 0.5f), bias = numbers(H, 2.0f, 0.5f);
    const auto mask = numbers(state, 3.0f, 1.0f), last = numbers(state, 6.0f, 1.0f);
    const auto input = reals(numbers((looked_up ? V : T * B) * G * H, 4.0f, 1.0f), Real());
    const auto gradient = reals(numbers(T * state, 5.0f, 1.0f), Real());
    std::vector<int64_t> index(T * B);
    for (int i = 0; i < T * B; ++i) index[i] = i % V;
    auto h = numbers(state, 7.0f, 1.0f), c = numbers(lstm ? state : 0, 8.0f, 1.0f);
    auto hiddens = reals(h, Real()), cells = reals(c, Real());
    hiddens.resize((T + 1) * state), cells.resize(lstm ? (T + 1) * state : 0);
    const int width = 4 * hidden + 3;
    std::vector<Real> active(size_t(T) * B * width), out(masked ? T * state : 0);
    std::vector<float> carried(state), table(V * G * H);
    Recurrent<Real> recurrent;
    recurrent.lstm = lstm;
    recurrent.hidden = hidden;
    kernels.allocate(recurrent);
    in_team(2, [&](int part, int parts) { kernels.pack(recurrent, weights.data(), part, parts); });
    Window<Real> w;
    w.steps = T, w.streams = B, w.input = input.data(), w.index = looked_up ? index.data() : nullptr;
    w.bias = bias.data(), w.mask = masked ? mask.data() : nullptr, w.hidden = h.data();
    w.cell = lstm ? c.data() : nullptr, w.hiddens = hiddens.data(), w.cells = lstm ? cells.data() : nullptr;
    w.active = active.data(), w.width = width, w.out = masked ? out.data() : nullptr;
    w.gradient = gradient.data(), w.last = last.data(), w.carried = carried.data();
    in_steps(2, T, [&](int t, int part, int parts) { kernels.forward(recurrent, w, t, part, parts); });
    in_steps(2, T, [&](int t, int part, int parts) { kernels.backward(recurrent, w, T - 1 - t, part, parts); });
    in_team(2, [&](int part, int parts) {
        kernels.add_rows(active.data(), width, index.data(), T * B, table.data(), G * hidden,
                         G * hidden * part / parts, G * hidden * (part + 1) / parts);
    });
    std::printf("%.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", sum_of(h), sum_of(hiddens), sum_of(cells), sum_of(active),
                sum_of(out), sum_of(carried), sum_of(table));
}

template <class Real>
static void loss(const WindowKernels<Real>& kernels, int known) {
    auto logits = reals(numbers(7 * size_t(known), 1.0f, 3.0f), Real());
    const auto bias = numbers(known, 9.0f, 0.5f);
    std::vector<float> grad_bias(known);
    const std::vector<int64_t> targets(7, known - 1);
    const double sum =
        kernels.cross_entropy(logits.data(), bias.data(), targets.data(), 0, 7, known, 0.5f, grad_bias.data());
    std::printf("%.9g %.9g %.9g\n", sum, sum_of(logits), sum_of(grad_bias));
}

int main(int argc, char** argv) {
    const Kernels* found[4];
    available_kernels(found);
    const TrainingKernels* kernels = training_kernels_named(argc > 1 ? argv[1] : found[0]->name);
    if (!kernels) return 2;
    for (const bool lstm : {false, true})
        for (const int hidden : {1, 4, 16, 45, 64})
            for (const bool looked_up : {false, true})
                for (const bool masked : {false, true}) window(*kernels->float32, lstm, hidden, looked_up, masked);
    for (const int known : {1, 15, 16, 70}) loss(*kernels->float32, known);
    for (const bool lstm : {false, true})  // last: they depend a little more on the instruction set
        for (const int hidden : {2, 16, 46, 64})
            for (const bool looked_up : {false, true})
                for (const bool masked : {false, true}) window(*kernels->bfloat16, lstm, hidden, looked_up, masked);
    for (const int known : {1, 15, 16, 70}) loss(*kernels->bfloat16, known);
}
