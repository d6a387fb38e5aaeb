// For the tests: reads a network and sampling options from a file that Python wrote, generates, and prints the result.
// So other processors' instructions and sanitizers can be tested without Python.
//
//     golden FILE [ISA]     prints each stream's ids, then the bits of its last logits
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/generate.h"

using namespace charloom;

template <class T>
static std::vector<T> read_values(std::FILE* file, size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, file) != count) std::exit(2);
    return values;
}

static Buffer<float> floats(std::FILE* file, size_t count) { return {read_values<float>(file, count).data(), count}; }

static PackedMatrix matrix(std::FILE* file, bool int8, int rows, int depth) {
    if (!int8) return {read_values<float>(file, size_t(rows) * depth).data(), rows, depth};
    const auto weights = read_values<int8_t>(file, size_t(rows) * depth);
    return {weights.data(), read_values<float>(file, rows).data(), rows, depth};
}

static Network network(std::FILE* file, const Kernels* kernels) {
    const auto sizes = read_values<int32_t>(file, 5);
    Network result{Cell(sizes[0]), sizes[2], sizes[3], sizes[1] != 0, {}, {}, {}, {}, kernels};
    const int hidden = result.hidden, rows = result.gates() * hidden;
    result.table = floats(file, size_t(result.vocabulary) * rows);
    for (int i = 0; i < sizes[4]; ++i) {
        Layer layer;
        if (i) {
            layer.input = matrix(file, result.int8, rows, hidden);
            layer.input_bias = floats(file, rows);
        }
        layer.state = matrix(file, result.int8, result.cell == Cell::gru_reset_before ? 2 * hidden : rows, hidden);
        if (result.cell == Cell::gru_reset_before) layer.candidate = matrix(file, result.int8, hidden, hidden);
        if (result.cell == Cell::gru) layer.candidate_bias = floats(file, hidden);
        result.layers.push_back(std::move(layer));
    }
    result.output = matrix(file, result.int8, result.vocabulary, hidden);
    result.output_bias = floats(file, result.vocabulary);
    return result;
}

int main(int argc, char** argv) {
    const Kernels* kernel_sets[4];
    const int count = available_kernels(kernel_sets);
    const Kernels* kernels = nullptr;
    for (int i = 0; i < count && !kernels; ++i)
        if (argc < 3 || std::strcmp(kernel_sets[i]->name, argv[2]) == 0) kernels = kernel_sets[i];
    std::FILE* file = argc > 1 ? std::fopen(argv[1], "rb") : nullptr;
    if (!file || !kernels) return 2;
    const Network net = network(file, kernels);
    const auto task = read_values<int32_t>(file, 4);   // streams, length, threads, top_k
    const auto numbers = read_values<float>(file, 4);  // inverse temperature, top_p, min_p, repetition penalty
    const int batch = task[0], length = task[1], window = 16;
    std::vector<float> state(net.layers.size() * net.state_parts() * batch * net.hidden);
    std::vector<float> logits(size_t(batch) * net.vocabulary);
    std::vector<int32_t> ids(size_t(batch) * length), recent(size_t(batch) * window, -1), first(batch, 0);
    std::vector<uint64_t> seeds(batch);
    for (int s = 0; s < batch; ++s) seeds[s] = 7 * s + 1;
    forward(net, {first.data(), batch, 1, state.data(), logits.data(), true, nullptr, nullptr}, task[2]);
    const std::vector<Sampling> samplings(
        batch, {numbers[0], task[3], numbers[1], numbers[2], numbers[3], window, 0.0f, 0.0f, nullptr});
    const std::vector<uint64_t> positions(batch);
    generate(net,
             {ids.data(), batch, length, state.data(), logits.data(), seeds.data(), positions.data(), recent.data(),
              window, nullptr, nullptr, samplings.data()},
             task[2]);
    for (int s = 0; s < batch; ++s) {
        for (int t = 0; t < length; ++t) std::printf("%d ", ids[size_t(s) * length + t]);
        for (int v = 0; v < net.vocabulary; ++v) {
            uint32_t bits;
            std::memcpy(&bits, &logits[size_t(s) * net.vocabulary + v], 4);
            std::printf("%08x ", bits);
        }
        std::printf("\n");
    }
    std::fclose(file);
}
