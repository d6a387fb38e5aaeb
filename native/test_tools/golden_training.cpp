// For the tests: runs the training kernels on generated numbers in buffers of exactly the right size, on two threads,
// so that a sanitizer can check them. Prints sums of the results, which hardly depend on the instruction set.
//
//     golden_training [ISA]
#include <bit>
#include <cmath>
#include <cstdio>
#include <vector>

#include "common/team.h"
#include "engine/kernels.h"
#include "training/recurrence.h"

using namespace charloom;

static std::vector<float> numbers(size_t count, float seed, float spread) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = spread * std::sin(seed + 1.7f * float(i));
    return values;
}

static double sum_of(const std::vector<float>& values) {
    double sum = 0.0;
    for (const float value : values) sum += std::fabs(value);
    return sum;
}

// The same numbers as floats, or as bfloat16 (the upper halves of their bits).
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
static void window(const WindowKernels<Real>& kernels, bool lstm, int hidden, bool indexed, bool masked) {
    const int T = 3, B = 11, G = lstm ? 4 : 3, V = 5;
    const size_t H = hidden, state = size_t(B) * H;
    const auto weights = numbers(G * H * H, 1.0f, 0.5f), bias = numbers(H, 2.0f, 0.5f);
    const auto mask = numbers(state, 3.0f, 1.0f), last = numbers(state, 6.0f, 1.0f);
    const auto input = reals(numbers((indexed ? V : T * B) * G * H, 4.0f, 1.0f), Real());
    const auto gradient = reals(numbers(T * state, 5.0f, 1.0f), Real());
    std::vector<int64_t> index(T * B);
    for (int i = 0; i < T * B; ++i) index[i] = i % V;
    auto h = numbers(state, 7.0f, 1.0f), c = numbers(lstm ? state : 0, 8.0f, 1.0f);
    auto hidden_seq = reals(h, Real()), cell_seq = reals(c, Real());
    hidden_seq.resize((T + 1) * state), cell_seq.resize(lstm ? (T + 1) * state : 0);
    const int width = 4 * hidden + 3;
    std::vector<Real> saved_gates(size_t(T) * B * width), out(masked ? T * state : 0);
    std::vector<float> grad_state(state), table(V * G * H);
    PackedWeights<Real> packed;
    packed.lstm = lstm;
    packed.hidden = hidden;
    kernels.allocate(packed);
    in_team(2, [&](int part, int parts) { kernels.pack(packed, weights.data(), part, parts); });
    TrainingWindow<Real> w;
    w.steps = T, w.streams = B, w.input = input.data(), w.index = indexed ? index.data() : nullptr;
    w.bias = bias.data(), w.mask = masked ? mask.data() : nullptr, w.hidden = h.data();
    w.cell = lstm ? c.data() : nullptr, w.hidden_seq = hidden_seq.data(), w.cell_seq = lstm ? cell_seq.data() : nullptr;
    w.saved_gates = saved_gates.data(), w.saved_width = width, w.out = masked ? out.data() : nullptr;
    w.grad_out = gradient.data(), w.grad_last_hidden = last.data(), w.grad_state = grad_state.data();
    in_steps(2, T, [&](int t, int part, int parts) { kernels.forward(packed, w, t, part, parts); });
    in_steps(2, T, [&](int t, int part, int parts) { kernels.backward(packed, w, T - 1 - t, part, parts); });
    in_team(2, [&](int part, int parts) {
        kernels.add_rows(saved_gates.data(), width, index.data(), T * B, table.data(), G * hidden,
                         G * hidden * part / parts, G * hidden * (part + 1) / parts);
    });
    std::printf("%.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", sum_of(h), sum_of(hidden_seq), sum_of(cell_seq),
                sum_of(saved_gates), sum_of(out), sum_of(grad_state), sum_of(table));
}

template <class Real>
static void loss(const WindowKernels<Real>& kernels, int vocabulary) {
    auto logits = reals(numbers(7 * size_t(vocabulary), 1.0f, 3.0f), Real());
    const auto bias = numbers(vocabulary, 9.0f, 0.5f);
    std::vector<float> grad_bias(vocabulary);
    const std::vector<int64_t> targets(7, vocabulary - 1);
    const double sum =
        kernels.cross_entropy(logits.data(), bias.data(), targets.data(), 0, 7, vocabulary, 0.5f, grad_bias.data());
    std::printf("%.9g %.9g %.9g\n", sum, sum_of(logits), sum_of(grad_bias));
}

int main(int argc, char** argv) {
    const Kernels* kernel_sets[4];
    available_kernels(kernel_sets);
    const TrainingKernels* kernels = training_kernels_named(argc > 1 ? argv[1] : kernel_sets[0]->name);
    if (!kernels) return 2;
    for (const bool lstm : {false, true})
        for (const int hidden : {1, 4, 16, 45, 64})
            for (const bool indexed : {false, true})
                for (const bool masked : {false, true}) window(*kernels->float32, lstm, hidden, indexed, masked);
    for (const int vocabulary : {1, 15, 16, 70}) loss(*kernels->float32, vocabulary);
    for (const bool lstm : {false, true})  // last, because these depend a little more on the instruction set
        for (const int hidden : {2, 16, 46, 64})
            for (const bool indexed : {false, true})
                for (const bool masked : {false, true}) window(*kernels->bfloat16, lstm, hidden, indexed, masked);
    for (const int vocabulary : {1, 15, 16, 70}) loss(*kernels->bfloat16, vocabulary);
}
