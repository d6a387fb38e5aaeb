// The Python module. Every array is checked here; the rest of the engine trusts its arguments.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "engine/generate.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace charloom {
namespace {

template <class T, class Shape>
using Array = nb::ndarray<const T, Shape, nb::c_contig, nb::device::cpu>;
template <class T, class Shape>
using Output = nb::ndarray<T, Shape, nb::c_contig, nb::device::cpu>;
using Vector1 = Array<float, nb::ndim<1>>;
using Matrix2 = Array<float, nb::ndim<2>>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

std::vector<std::string> isas() {
    const Kernels* kernels[4];
    const int count = available_kernels(kernels);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(kernels[i]->name);
    return names;
}

const Kernels* kernels_named(const std::string& name) {
    const Kernels* kernels[4];
    const int count = available_kernels(kernels);
    for (int i = 0; i < count; ++i)
        if (name.empty() || name == kernels[i]->name) return kernels[i];
    throw std::invalid_argument("this processor does not support the instruction set " + name);
}

// Pack a weight matrix (rows, depth), which for int8 comes with scales (rows).
PackedMatrix packed_matrix(nb::handle arrays, bool int8, int rows, int depth) {
    if (int8) {
        const auto [weights, scales] = nb::cast<std::pair<Array<int8_t, nb::ndim<2>>, Vector1>>(arrays);
        require(int(weights.shape(0)) == rows && int(weights.shape(1)) == depth && int(scales.shape(0)) == rows,
                "int8 weights have the wrong shape");
        return {weights.data(), scales.data(), rows, depth};
    }
    const auto weights = nb::cast<Matrix2>(arrays);
    require(int(weights.shape(0)) == rows && int(weights.shape(1)) == depth, "weights have the wrong shape");
    return {weights.data(), rows, depth};
}

Buffer<float> buffer(nb::handle array, int length) {
    const auto values = nb::cast<Vector1>(array);
    require(int(values.shape(0)) == length, "bias has the wrong shape");
    return {values.data(), size_t(length)};
}

Layer make_layer(nb::dict parts, Cell cell, bool int8, int hidden, bool first) {
    const int rows = (cell == Cell::lstm ? 4 : 3) * hidden;
    Layer layer;
    if (!first) {
        layer.input = packed_matrix(parts["input"], int8, rows, hidden);
        layer.input_bias = buffer(parts["input_bias"], rows);
    }
    layer.state = packed_matrix(parts["state"], int8, cell == Cell::gru_reset_before ? 2 * hidden : rows, hidden);
    if (cell == Cell::gru_reset_before) layer.candidate = packed_matrix(parts["candidate"], int8, hidden, hidden);
    if (cell == Cell::gru) layer.candidate_bias = buffer(parts["candidate_bias"], hidden);
    return layer;
}

Cell cell_named(const std::string& name) {
    if (name == "gru") return Cell::gru;
    if (name == "gru_reset_before") return Cell::gru_reset_before;
    require(name == "lstm", "unknown cell");
    return Cell::lstm;
}

// The sampling options of one text: inverse temperature, top_k, top_p, min_p, repetition penalty and its window,
// presence penalty, frequency penalty.
using SamplingOptions = std::tuple<float, int, double, double, float, int, float, float>;

class Engine {
public:
    Engine(const std::string& cell, bool int8, Matrix2 table, nb::list layers, nb::handle output, Vector1 output_bias,
           const std::string& isa)
        : network_{cell_named(cell), int(table.shape(0)), 0, int8, {}, {}, {}, {}, kernels_named(isa)} {
        require(table.shape(0) > 0 && table.shape(1) > 0 && table.shape(1) % network_.gates() == 0,
                "table has the wrong shape");
        network_.hidden = int(table.shape(1)) / network_.gates();
        network_.table = {table.data(), table.size()};
        for (nb::handle parts : layers)
            network_.layers.push_back(
                make_layer(nb::cast<nb::dict>(parts), network_.cell, int8, network_.hidden, network_.layers.empty()));
        require(!network_.layers.empty(), "layers must not be empty");
        network_.output = packed_matrix(output, int8, network_.vocabulary, network_.hidden);
        network_.output_bias = buffer(nb::cast(output_bias), network_.vocabulary);
    }

    std::string isa() const { return network_.kernels->name; }

    void read(Array<int32_t, nb::ndim<2>> ids, Output<float, nb::ndim<4>> state,
              std::optional<Output<float, nb::ndim<3>>> logits, std::optional<Output<float, nb::ndim<5>>> gates,
              std::optional<Output<float, nb::ndim<5>>> states, int threads) const {
        const int batch = int(ids.shape(0)), length = int(ids.shape(1));
        check_state(state, batch);
        check_ids(ids.data(), ids.size(), 0);
        const bool last = logits && logits->shape(1) == 1;
        require(!logits || (int(logits->shape(0)) == batch && (last || int(logits->shape(1)) == length) &&
                            int(logits->shape(2)) == network_.vocabulary),
                "logits have the wrong shape");
        check_trace(gates, batch, length, network_.gates());
        check_trace(states, batch, length, network_.state_parts());
        const ForwardRequest request{ids.data(),
                                     batch,
                                     length,
                                     state.data(),
                                     logits ? logits->data() : nullptr,
                                     last,
                                     gates ? gates->data() : nullptr,
                                     states ? states->data() : nullptr};
        nb::gil_scoped_release unlocked;
        charloom::forward(network_, request, threads);
    }

    void write(Output<int32_t, nb::ndim<2>> ids, Output<float, nb::ndim<4>> state, Output<float, nb::ndim<2>> logits,
               Array<uint64_t, nb::ndim<1>> seeds, Array<uint64_t, nb::ndim<1>> positions,
               Output<int32_t, nb::ndim<2>> recent, std::optional<Output<int32_t, nb::ndim<2>>> counts,
               const std::vector<SamplingOptions>& samplings, std::optional<Array<float, nb::ndim<2>>> bias,
               std::optional<Output<double, nb::ndim<2>>> log_probabilities, int threads) const {
        const int batch = int(ids.shape(0)), length = int(ids.shape(1));
        check_state(state, batch);
        require(int(logits.shape(0)) == batch && int(logits.shape(1)) == network_.vocabulary,
                "logits have the wrong shape");
        require(int(seeds.shape(0)) == batch && int(positions.shape(0)) == batch && int(recent.shape(0)) == batch,
                "seeds, positions or recent have the wrong shape");
        check_ids(recent.data(), recent.size(), -1);
        require(!counts || (int(counts->shape(0)) == batch && int(counts->shape(1)) == network_.vocabulary),
                "counts have the wrong shape");
        require(!bias || (int(bias->shape(1)) == network_.vocabulary &&
                          (bias->shape(0) == 1 || int(bias->shape(0)) == batch)),
                "bias has the wrong shape");
        require(!log_probabilities ||
                    (int(log_probabilities->shape(0)) == batch && int(log_probabilities->shape(1)) == length),
                "log_probabilities have the wrong shape");
        const std::vector<Sampling> each = samplings_of(samplings, batch, int(recent.shape(1)), bias);
        const GenerationRequest request{ids.data(),
                                        batch,
                                        length,
                                        state.data(),
                                        logits.data(),
                                        seeds.data(),
                                        positions.data(),
                                        recent.data(),
                                        int(recent.shape(1)),
                                        counts ? counts->data() : nullptr,
                                        log_probabilities ? log_probabilities->data() : nullptr,
                                        each.data()};
        nb::gil_scoped_release unlocked;
        charloom::generate(network_, request, threads);
    }

private:
    // `options` has one entry for all texts, or one for each.
    std::vector<Sampling> samplings_of(const std::vector<SamplingOptions>& options, int batch, int window,
                                       const std::optional<Array<float, nb::ndim<2>>>& bias) const {
        require(options.size() == 1 || int(options.size()) == batch,
                "samplings must have one entry, or one for each text");
        std::vector<Sampling> result;
        for (int i = 0; i < batch; ++i) {
            const auto& [temperature, top_k, top_p, min_p, repetition, recent, presence, frequency] =
                options[options.size() == 1 ? 0 : i];
            require(recent >= 0 && recent <= window, "the repetition window is wider than recent");
            const int64_t row = bias && bias->shape(0) > 1 ? i : 0;
            const float* added = bias ? bias->data() + row * network_.vocabulary : nullptr;
            result.push_back({temperature, top_k, top_p, min_p, repetition, recent, presence, frequency, added});
        }
        return result;
    }

    void check_state(const Output<float, nb::ndim<4>>& state, int batch) const {
        require(state.shape(0) == network_.layers.size() && int(state.shape(1)) == network_.state_parts() &&
                    int(state.shape(2)) == batch && int(state.shape(3)) == network_.hidden,
                "state has the wrong shape");
    }

    void check_trace(const std::optional<Output<float, nb::ndim<5>>>& trace, int batch, int length, int parts) const {
        require(!trace || (int(trace->shape(0)) == batch && int(trace->shape(1)) == length &&
                           trace->shape(2) == network_.layers.size() && int(trace->shape(3)) == parts &&
                           int(trace->shape(4)) == network_.hidden),
                "gates or states have the wrong shape");
    }

    void check_ids(const int32_t* ids, size_t count, int32_t minimum) const {
        for (size_t i = 0; i < count; ++i) require(ids[i] >= minimum && ids[i] < network_.vocabulary, "unknown id");
    }

    Network network_;
};

}  // namespace
}  // namespace charloom

void bind_training(nb::module_& m);   // training_module.cpp
void bind_automaton(nb::module_& m);  // automaton_module.cpp

NB_MODULE(_engine, m) {
    nb::set_leak_warnings(false);  // objects may live until the interpreter exits
    bind_training(m);
    bind_automaton(m);
    using charloom::Engine;
    m.doc() = "The native engine: runs a trained network over characters and generates new ones.";
    m.def("isas", &charloom::isas, "Return the instruction sets that this processor can run, the fastest first.");
    m.def("random_word", &charloom::random_word, "seed"_a, "position"_a,
          "Return the 64 random bits that select a character.");
    nb::class_<Engine>(m, "Engine")
        .def(nb::init<const std::string&, bool, charloom::Matrix2, nb::list, nb::handle, charloom::Vector1,
                      const std::string&>(),
             "cell"_a, "int8"_a, "table"_a, "layers"_a, "output"_a, "output_bias"_a, "isa"_a = "")
        .def_prop_ro("isa", &Engine::isa)
        .def("read", &Engine::read, "ids"_a, "state"_a, "logits"_a.none(), "gates"_a.none(), "states"_a.none(),
             "threads"_a = 1)
        .def("write", &Engine::write, "ids"_a, "state"_a, "logits"_a, "seeds"_a, "positions"_a, "recent"_a,
             "counts"_a.none(), "samplings"_a, "bias"_a.none(), "log_probabilities"_a.none(), "threads"_a = 1);
}
