// The engine for a page (WebAssembly): one network that reads and writes one text. The page calls what is exported
// here; src/charloom/web/wasm_model.py says how the model's bytes lie.
#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

#include "network.h"
#include "sampling.h"

#define EXPORTED(name) extern "C" [[clang::export_name(#name)]]

namespace charloom {

namespace wasm {
extern const Kernels kernels;
}

namespace {

constexpr int kWindow = 64;  // the last ids that a repetition penalty is for, as `Sampling.repetition_window` has it
constexpr int kMost = 4096;  // characters of one call
constexpr uint32_t kMark = 0x314D4C43;  // "CLM1"

// What is kept of a place in a text, beyond the state (L, S, 1, H) that lies behind it.
struct Place {
    uint64_t seed, position;  // of the stream of random numbers
    int32_t recent[kWindow];
};

// Takes the parts of a model's bytes in turn, each padded to whole words.
class Parts {
public:
    Parts(const uint8_t* at, size_t length) : at_(at), left_(length) {}

    const void* next(size_t length) {
        length = (length + 3) / 4 * 4;
        if (length > left_) return whole_ = false, nullptr;
        left_ -= length;
        return std::exchange(at_, at_ + length);
    }
    template <class T>
    const T* some(size_t count) {
        return static_cast<const T*>(next(count * sizeof(T)));
    }
    bool whole() const { return whole_ && left_ == 0; }

private:
    const uint8_t* at_;
    size_t left_;
    bool whole_ = true;
};

Buffer<float> floats(Parts& parts, int count) {
    const auto* values = parts.some<float>(count);
    return values ? Buffer<float>(values, count) : Buffer<float>(count);
}

// Whole numbers (rows, depth), and the rows' scales.
struct Rows {
    const float* scales;
    const int8_t* values;
};

Rows rows_of(Parts& parts, int rows, int depth) {
    const auto* scales = parts.some<float>(rows);
    return {scales, parts.some<int8_t>(size_t(rows) * depth)};
}

PackedMatrix matrix(Parts& parts, int rows, int depth) {
    const Rows r = rows_of(parts, rows, depth);
    return r.values ? PackedMatrix(r.values, r.scales, rows, depth) : PackedMatrix();
}

struct Sizes {
    uint32_t mark;
    int32_t cell, vocabulary, embedding, hidden, layers, newline, opening;
};

class Engine {
public:
    // Returns whether the bytes are a model, all of it.
    bool load(const uint8_t* bytes, size_t length);
    void begin();
    void step(int32_t id);
    void read(const int32_t* ids, int count);
    void write(int count, const Sampling& sampling);
    float* shares();
    float cost(int32_t id);
    void moved();  // the place was changed from outside

    const Network& network() const { return network_; }
    int opening() const { return opening_; }
    size_t place_size() const { return sizeof(Place) + state_size() * sizeof(float); }
    Place& place() { return *reinterpret_cast<Place*>(place_.data()); }
    float* state() { return reinterpret_cast<float*>(place_.data() + sizeof(Place)); }

    int32_t ids[kMost];
    float costs[kMost];

private:
    size_t state_size() const { return network_.layers.size() * network_.state_parts() * network_.hidden; }
    void make_table(Parts& parts, int embedding);
    void make_layers(Parts& parts, int count);
    double weigh();

    Network network_{};
    int newline_ = -1, opening_ = 0;
    Buffer<uint8_t> place_;
    Buffer<float> powers_;
    std::optional<Streams> streams_;
    std::optional<Sampler> sampler_;
};

bool Engine::load(const uint8_t* bytes, size_t length) {
    Parts parts(bytes, length);
    const auto* sizes = parts.some<Sizes>(1);
    if (!sizes || sizes->mark != kMark) return false;
    network_ = {Cell(sizes->cell), sizes->vocabulary, sizes->hidden, true, {}, {}, {}, {}, &wasm::kernels};
    newline_ = sizes->newline;
    opening_ = sizes->opening;
    make_table(parts, sizes->embedding);
    make_layers(parts, sizes->layers);
    network_.output = matrix(parts, network_.vocabulary, network_.hidden);
    network_.output_bias = floats(parts, network_.vocabulary);
    if (!parts.whole()) return false;
    place_ = Buffer<uint8_t>(place_size());
    powers_ = Buffer<float>(network_.vocabulary);
    streams_.emplace(network_, state(), 1, 0, 1);
    sampler_.emplace(wasm::kernels, network_.vocabulary);
    begin();
    return true;
}

// The products of all embeddings, which are rows of whole numbers already, with the first layer's input weights.
void Engine::make_table(Parts& parts, int embedding) {
    const int vocabulary = network_.vocabulary, width = network_.gates() * network_.hidden;
    const Rows characters = rows_of(parts, vocabulary, embedding);
    const PackedMatrix weights = matrix(parts, width, embedding);
    const Buffer<float> bias = floats(parts, width);
    if (!characters.values || !weights.view().bytes) return;
    network_.table = Buffer<float>(size_t(vocabulary) * width);
    Buffer<int8_t> padded(size_t(embedding + 3) / 4 * 4);
    Buffer<float> row(size_t(weights.view().blocks) * ROWS);
    for (int id = 0; id < vocabulary; ++id) {
        std::copy_n(characters.values + size_t(id) * embedding, embedding, padded.data());
        const Vector character{nullptr, padded.data(), characters.scales[id]};
        wasm::kernels.product_int8(weights.view(), &character, 1, row.data(), 0, false);
        wasm::kernels.add(row.data(), bias.data(), width);
        std::copy_n(row.data(), width, network_.table.data() + size_t(id) * width);
    }
}

void Engine::make_layers(Parts& parts, int count) {
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

// A text's beginning; a line's is behind a line feed, which is no part of it.
void Engine::begin() {
    std::fill_n(state(), state_size(), 0.0f);
    streams_->moved();
    if (newline_ >= 0) streams_->step(&newline_);
    streams_->predict();
    std::fill_n(place().recent, kWindow, -1);
}

void Engine::step(int32_t id) {
    if (id == newline_) {
        std::fill_n(state(), state_size(), 0.0f);
        streams_->moved();
    }
    streams_->step(&id);
    auto& recent = place().recent;
    std::copy(recent + 1, recent + kWindow, recent);
    recent[kWindow - 1] = id;
}

// Read ids; what each costs, given all before it, goes to `costs`.
void Engine::read(const int32_t* given, int count) {
    for (int i = 0; i < count; ++i) {
        costs[i] = cost(given[i]);
        step(given[i]);
        streams_->predict();
    }
}

void Engine::write(int count, const Sampling& sampling) {
    for (int i = 0; i < count; ++i) {
        const Past past{place().recent, nullptr};
        const uint64_t word = random_word(place().seed, place().position++);
        ids[i] = sampler_->draw(streams_->logits(0), sampling, past, word);
        costs[i] = cost(ids[i]);
        step(ids[i]);
        streams_->predict();
    }
}

// Powers of two of all logits, relative to the highest, and their sum.
double Engine::weigh() {
    constexpr float kLog2E = 1.44269504f;
    const float* logits = streams_->logits(0);
    const float highest = *std::max_element(logits, logits + network_.vocabulary);
    wasm::kernels.powers(logits, highest, kLog2E, powers_.data(), network_.vocabulary);
    double total = 0.0;
    for (int id = 0; id < network_.vocabulary; ++id) total += powers_[id];
    return total;
}

// The share of each character in what comes next.
float* Engine::shares() {
    const double total = weigh();
    for (int id = 0; id < network_.vocabulary; ++id) powers_[id] = float(powers_[id] / total);
    return powers_.data();
}

// How much less likely than all together: the page takes the logarithm.
float Engine::cost(int32_t id) {
    const double total = weigh();
    return float(total / powers_[id]);
}

void Engine::moved() {
    streams_->moved();
    streams_->predict();
}

Engine* engine() {
    static Engine* const made = new Engine;  // it is not destroyed: a page just goes
    return made;
}

}  // namespace

EXPORTED(allocate) void* allocate(size_t size) { return ::operator new(size); }
EXPORTED(load) bool load(const uint8_t* bytes, size_t length) { return engine()->load(bytes, length); }
EXPORTED(size) int size() { return engine()->network().vocabulary; }
EXPORTED(opening) int opening() { return engine()->opening(); }
EXPORTED(most) int most() { return kMost; }
EXPORTED(ids) int32_t* ids() { return engine()->ids; }
EXPORTED(costs) float* costs() { return engine()->costs; }
EXPORTED(place) Place* place() { return &engine()->place(); }
EXPORTED(place_size) size_t place_size() { return engine()->place_size(); }
EXPORTED(shares) float* shares() { return engine()->shares(); }
EXPORTED(begin) void begin() { engine()->begin(); }
EXPORTED(moved) void moved() { engine()->moved(); }
EXPORTED(read) void read(int count) { engine()->read(engine()->ids, count); }
EXPORTED(seed) void seed(uint64_t seed) {
    engine()->place().seed = seed;
    engine()->place().position = 0;
}
EXPORTED(write)
void write(int count, float inverse_temperature, int top_k, double top_p, double min_p, float repetition_penalty) {
    const Sampling sampling{inverse_temperature, top_k, top_p, min_p, repetition_penalty, kWindow, 0.0f, 0.0f, nullptr};
    engine()->write(count, sampling);
}

}  // namespace charloom

// The C++ runtime, as far as this needs it: so nothing is linked to but what is compiled here.

extern "C" unsigned char __heap_base;  // where the linker says that memory is free

// Nearly all that is made is made when a model is loaded, and lives as long as the page: nothing is given back.
static void* taken(size_t size) {
    constexpr uintptr_t kLine = 64, kPage = 65536;
    static uintptr_t free = reinterpret_cast<uintptr_t>(&__heap_base);
    const uintptr_t at = (free + kLine - 1) / kLine * kLine, have = __builtin_wasm_memory_size(0) * kPage;
    if (size > UINTPTR_MAX - kPage - at) __builtin_trap();
    free = at + size;
    if (free > have && __builtin_wasm_memory_grow(0, (free - have + kPage - 1) / kPage) == SIZE_MAX) __builtin_trap();
    return reinterpret_cast<void*>(at);
}

void* operator new(size_t size) { return taken(size); }
void* operator new(size_t size, std::align_val_t) { return taken(size); }  // at most a line's, which all have
void operator delete(void*) noexcept {}
void operator delete(void*, size_t) noexcept {}
void operator delete(void*, std::align_val_t) noexcept {}

// A page has nowhere to print to: what the runtime would say before it gives up is not said.
namespace std {
inline namespace _LIBCPP_ABI_NAMESPACE {
[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept { __builtin_trap(); }
}  // namespace _LIBCPP_ABI_NAMESPACE
}  // namespace std
