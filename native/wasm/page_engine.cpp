// The engine of the exported web page (WebAssembly): one network that scores and generates one text. The page calls the
// functions exported here; src/charloom/web/wasm_model.py defines the layout of the model's bytes. The exported names
// are part of the committed engine.wasm: `make wasm` builds it again.
#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

#include "engine/network.h"
#include "engine/sampling.h"

#define EXPORTED(name) extern "C" [[clang::export_name(#name)]]

namespace charloom {

namespace wasm {
extern const Kernels kernels;
}

namespace {

constexpr int kRepetitionWindow = 64;    // the default of Sampling.repetition_window in Python
constexpr int kMaxCount = 4096;          // characters per call of read() or write()
constexpr uint32_t kMagic = 0x314D4C43;  // "CLM1"

// Everything that generation depends on at a position in a text. The network's state (L, S, 1, H) follows in memory.
struct TextPosition {
    uint64_t seed, position;            // in the stream of random numbers
    int32_t recent[kRepetitionWindow];  // the last ids, oldest first; -1 before the beginning of the text
};

// Reads the parts of a model's bytes in order, each padded to whole words.
class PartReader {
public:
    PartReader(const uint8_t* at, size_t length) : at_(at), remaining_(length) {}

    const void* next(size_t length) {
        length = (length + 3) / 4 * 4;
        if (length > remaining_) return ok_ = false, nullptr;
        remaining_ -= length;
        return std::exchange(at_, at_ + length);
    }
    template <class T>
    const T* array(size_t count) {
        return static_cast<const T*>(next(count * sizeof(T)));
    }
    bool complete() const { return ok_ && remaining_ == 0; }

private:
    const uint8_t* at_;
    size_t remaining_;
    bool ok_ = true;
};

Buffer<float> floats(PartReader& parts, int count) {
    const auto* values = parts.array<float>(count);
    return values ? Buffer<float>(values, count) : Buffer<float>(count);
}

// Int8 values (rows, depth), and one scale per row.
struct QuantizedRows {
    const float* scales;
    const int8_t* values;
};

QuantizedRows quantized_rows(PartReader& parts, int rows, int depth) {
    const auto* scales = parts.array<float>(rows);
    return {scales, parts.array<int8_t>(size_t(rows) * depth)};
}

PackedMatrix matrix(PartReader& parts, int rows, int depth) {
    const QuantizedRows r = quantized_rows(parts, rows, depth);
    return r.values ? PackedMatrix(r.values, r.scales, rows, depth) : PackedMatrix();
}

struct Sizes {
    uint32_t magic;
    int32_t cell, vocabulary, embedding, hidden, layers, newline, start_id;
};

class Engine {
public:
    // Load a model; return false unless the bytes are exactly one model.
    bool load(const uint8_t* bytes, size_t length);
    void begin();
    void step(int32_t id);
    void read(const int32_t* ids, int count);
    void write(int count, const Sampling& sampling);
    float* probabilities();
    float inverse_probability(int32_t id);
    void position_changed();  // called after the page has overwritten the position

    const Network& network() const { return network_; }
    int start_id() const { return start_id_; }
    size_t position_size() const { return sizeof(TextPosition) + state_size() * sizeof(float); }
    TextPosition& position() { return *reinterpret_cast<TextPosition*>(position_.data()); }
    float* state() { return reinterpret_cast<float*>(position_.data() + sizeof(TextPosition)); }

    int32_t ids[kMaxCount];
    float inverse_probabilities[kMaxCount];

private:
    size_t state_size() const { return network_.layers.size() * network_.state_parts() * network_.hidden; }
    void make_table(PartReader& parts, int embedding);
    void make_layers(PartReader& parts, int count);
    double compute_powers();

    Network network_{};
    int newline_ = -1, start_id_ = 0;
    Buffer<uint8_t> position_;
    Buffer<float> powers_;
    std::optional<Streams> streams_;
    std::optional<Sampler> sampler_;
};

bool Engine::load(const uint8_t* bytes, size_t length) {
    PartReader parts(bytes, length);
    const auto* sizes = parts.array<Sizes>(1);
    if (!sizes || sizes->magic != kMagic) return false;
    network_ = {Cell(sizes->cell), sizes->vocabulary, sizes->hidden, true, {}, {}, {}, {}, &wasm::kernels};
    newline_ = sizes->newline;
    start_id_ = sizes->start_id;
    make_table(parts, sizes->embedding);
    make_layers(parts, sizes->layers);
    network_.output = matrix(parts, network_.vocabulary, network_.hidden);
    network_.output_bias = floats(parts, network_.vocabulary);
    if (!parts.complete()) return false;
    position_ = Buffer<uint8_t>(position_size());
    powers_ = Buffer<float>(network_.vocabulary);
    streams_.emplace(network_, state(), 1, 0, 1);
    sampler_.emplace(wasm::kernels, network_.vocabulary);
    begin();
    return true;
}

// Compute the first layer's input projection for every character: the product of its int8 embedding with the layer's
// input weights, plus the bias.
void Engine::make_table(PartReader& parts, int embedding) {
    const int vocabulary = network_.vocabulary, width = network_.gates() * network_.hidden;
    const QuantizedRows characters = quantized_rows(parts, vocabulary, embedding);
    const PackedMatrix weights = matrix(parts, width, embedding);
    const Buffer<float> bias = floats(parts, width);
    if (!characters.values || !weights.view().bytes) return;
    network_.table = Buffer<float>(size_t(vocabulary) * width);
    Buffer<int8_t> padded(size_t(embedding + 3) / 4 * 4);
    Buffer<float> row(size_t(weights.view().blocks) * kRows);
    for (int id = 0; id < vocabulary; ++id) {
        std::copy_n(characters.values + size_t(id) * embedding, embedding, padded.data());
        const Vector character{nullptr, padded.data(), characters.scales[id]};
        wasm::kernels.product_int8(weights.view(), &character, 1, row.data(), 0, false);
        wasm::kernels.add(row.data(), bias.data(), width);
        std::copy_n(row.data(), width, network_.table.data() + size_t(id) * width);
    }
}

void Engine::make_layers(PartReader& parts, int count) {
    const int hidden = network_.hidden, width = network_.gates() * hidden;
    for (int i = 0; i < count; ++i) {
        Layer layer;
        if (i) {
            layer.input = matrix(parts, width, hidden);
            layer.input_bias = floats(parts, width);
        }
        const bool before = network_.cell == Cell::gru_reset_before;
        layer.state = matrix(parts, before ? 2 * hidden : width, hidden);
        if (before) layer.candidate = matrix(parts, hidden, hidden);
        if (network_.cell == Cell::gru) layer.candidate_bias = floats(parts, hidden);
        network_.layers.push_back(std::move(layer));
    }
}

// Start a text. A line model starts after a line feed, which is not part of the text.
void Engine::begin() {
    std::fill_n(state(), state_size(), 0.0f);
    streams_->state_changed();
    if (newline_ >= 0) streams_->step(&newline_);
    streams_->predict();
    std::fill_n(position().recent, kRepetitionWindow, -1);
}

void Engine::step(int32_t id) {
    if (id == newline_) {
        std::fill_n(state(), state_size(), 0.0f);
        streams_->state_changed();
    }
    streams_->step(&id);
    auto& recent = position().recent;
    std::copy(recent + 1, recent + kRepetitionWindow, recent);
    recent[kRepetitionWindow - 1] = id;
}

// Read ids, and store each id's inverse probability given all previous ids in `inverse_probabilities`.
void Engine::read(const int32_t* input_ids, int count) {
    for (int i = 0; i < count; ++i) {
        inverse_probabilities[i] = inverse_probability(input_ids[i]);
        step(input_ids[i]);
        streams_->predict();
    }
}

// Sample ids, feeding each back, and store them with their inverse probabilities.
void Engine::write(int count, const Sampling& sampling) {
    for (int i = 0; i < count; ++i) {
        const SamplingHistory history{position().recent, nullptr};
        const uint64_t word = random_word(position().seed, position().position++);
        ids[i] = sampler_->draw(streams_->logits(0), sampling, history, word);
        inverse_probabilities[i] = inverse_probability(ids[i]);
        step(ids[i]);
        streams_->predict();
    }
}

// Compute e^(logit - highest logit) for all characters; return the sum.
double Engine::compute_powers() {
    constexpr float kLog2E = 1.44269504f;
    const float* logits = streams_->logits(0);
    const float highest = *std::max_element(logits, logits + network_.vocabulary);
    wasm::kernels.powers(logits, highest, kLog2E, powers_.data(), network_.vocabulary);
    double total = 0.0;
    for (int id = 0; id < network_.vocabulary; ++id) total += powers_[id];
    return total;
}

// The probability of each character as the next one.
float* Engine::probabilities() {
    const double total = compute_powers();
    for (int id = 0; id < network_.vocabulary; ++id) powers_[id] = float(powers_[id] / total);
    return powers_.data();
}

// The inverse of a character's probability. The page computes the surprisal, its base-2 logarithm.
float Engine::inverse_probability(int32_t id) {
    const double total = compute_powers();
    return float(total / powers_[id]);
}

void Engine::position_changed() {
    streams_->state_changed();
    streams_->predict();
}

Engine* engine() {
    static Engine* const instance = new Engine;  // never destroyed
    return instance;
}

}  // namespace

EXPORTED(allocate) void* allocate(size_t size) { return ::operator new(size); }
EXPORTED(load) bool load(const uint8_t* bytes, size_t length) { return engine()->load(bytes, length); }
EXPORTED(size) int size() { return engine()->network().vocabulary; }
EXPORTED(start_id) int start_id() { return engine()->start_id(); }
EXPORTED(max_count) int max_count() { return kMaxCount; }
EXPORTED(ids) int32_t* ids() { return engine()->ids; }
EXPORTED(inverse_probabilities) float* inverse_probabilities() { return engine()->inverse_probabilities; }
EXPORTED(position) TextPosition* position() { return &engine()->position(); }
EXPORTED(position_size) size_t position_size() { return engine()->position_size(); }
EXPORTED(probabilities) float* probabilities() { return engine()->probabilities(); }
EXPORTED(begin) void begin() { engine()->begin(); }
EXPORTED(position_changed) void position_changed() { engine()->position_changed(); }
EXPORTED(read) void read(int count) { engine()->read(engine()->ids, count); }
EXPORTED(seed) void seed(uint64_t seed) {
    engine()->position().seed = seed;
    engine()->position().position = 0;
}
EXPORTED(write)
void write(int count, float inverse_temperature, int top_k, double top_p, double min_p, float repetition_penalty) {
    const Sampling sampling{inverse_temperature, top_k, top_p, min_p,  repetition_penalty,
                            kRepetitionWindow,   0.0f,  0.0f,  nullptr};
    engine()->write(count, sampling);
}

}  // namespace charloom

// The parts of the C++ runtime that this file needs. Defining them here avoids linking the standard library's.

extern "C" unsigned char __heap_base;  // the start of free memory, defined by the linker

// Memory is never freed: nearly all of it is allocated when a model is loaded, and lives as long as the page.
static void* bump_allocate(size_t size) {
    constexpr uintptr_t kLine = 64, kPage = 65536;
    static uintptr_t free = reinterpret_cast<uintptr_t>(&__heap_base);
    const uintptr_t at = (free + kLine - 1) / kLine * kLine, have = __builtin_wasm_memory_size(0) * kPage;
    if (size > UINTPTR_MAX - kPage - at) __builtin_trap();
    free = at + size;
    if (free > have && __builtin_wasm_memory_grow(0, (free - have + kPage - 1) / kPage) == SIZE_MAX) __builtin_trap();
    return reinterpret_cast<void*>(at);
}

void* operator new(size_t size) { return bump_allocate(size); }
// No type needs a larger alignment than kLine, which every allocation has.
void* operator new(size_t size, std::align_val_t) { return bump_allocate(size); }
void operator delete(void*) noexcept {}
void operator delete(void*, size_t) noexcept {}
void operator delete(void*, std::align_val_t) noexcept {}

// Replaces the runtime's version, which would link code to print a message.
namespace std {
inline namespace _LIBCPP_ABI_NAMESPACE {
[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept { __builtin_trap(); }
}  // namespace _LIBCPP_ABI_NAMESPACE
}  // namespace std
