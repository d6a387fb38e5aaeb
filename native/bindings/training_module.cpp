// Python bindings for training. Every array is checked here; the kernels trust their arguments.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/team.h"
#include "training/recurrence.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace charloom {
namespace {

template <class T, int N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

template <class A>
void require_shape(const A& array, std::initializer_list<int64_t> shape, const char* what) {
    require(array.ndim() == shape.size() && std::equal(shape.begin(), shape.end(), array.shape_ptr()), what);
}

template <class A>
auto data_of(const std::optional<A>& array) -> decltype(array->data()) {
    return array ? array->data() : nullptr;
}

const TrainingKernels& training_kernels(const std::string& isa) {
    const TrainingKernels* kernels = training_kernels_named(isa.c_str());
    require(kernels, "the training kernels are not compiled for this instruction set");
    return *kernels;
}

// NumPy has no bfloat16: Python passes the bits as int16.
using Bits = int16_t;

Bfloat16* as_real(Bits* bits) { return reinterpret_cast<Bfloat16*>(bits); }
const Bfloat16* as_real(const Bits* bits) { return reinterpret_cast<const Bfloat16*>(bits); }
float* as_real(float* numbers) { return numbers; }
const float* as_real(const float* numbers) { return numbers; }

const WindowKernels<float>& window_kernels(const TrainingKernels& kernels, float) { return *kernels.float32; }
const WindowKernels<Bfloat16>& window_kernels(const TrainingKernels& kernels, Bits) { return *kernels.bfloat16; }

// N is the element type that Python passes, float or Bits; Real is the type that the kernels use for it.
template <class N>
class Recurrence {
    using Real = std::remove_pointer_t<decltype(as_real(static_cast<N*>(nullptr)))>;
    template <int kDimensions>
    using Out = std::optional<Array<N, kDimensions>>;
    using State = std::optional<Array<float, 2>>;

public:
    Recurrence(const std::string& cell, int hidden, const std::string& isa)
        : kernels_(window_kernels(training_kernels(isa), N())) {
        require(cell == "gru" || cell == "lstm", "unknown cell");
        require(hidden > 0, "hidden must be greater than 0");
        require(sizeof(N) == sizeof(float) || hidden % 2 == 0, "hidden must be even for bfloat16");
        weights_.lstm = cell == "lstm";
        weights_.hidden = hidden;
        kernels_.allocate(weights_);
    }

    void pack(Array<const float, 2> weight_hh, int threads) {
        require_shape(weight_hh, {int64_t{weights_.gates()} * weights_.hidden, weights_.hidden},
                      "weight_hh has the wrong shape");
        nb::gil_scoped_release unlocked;
        in_team(threads, [&](int part, int parts) { kernels_.pack(weights_, weight_hh.data(), part, parts); });
    }

    void forward(Array<const N, 2> input, std::optional<Array<const int64_t, 2>> index,
                 std::optional<Array<const float, 1>> bias, Array<float, 2> hidden, State cell, Array<N, 3> hidden_seq,
                 Out<3> cell_seq, Out<3> saved_gates, std::optional<Array<const float, 2>> mask, Out<3> out,
                 int threads) const {
        TrainingWindow<Real> w = window(hidden_seq, cell_seq, saved_gates, mask);
        const int64_t T = w.steps, B = w.streams, H = weights_.hidden, rows = int64_t(input.shape(0));
        require_shape(input, {rows, weights_.gates() * H}, "input has the wrong shape");
        if (index) {
            require_shape(*index, {T, B}, "index has the wrong shape");
            for (size_t i = 0; i < index->size(); ++i)
                require(index->data()[i] >= 0 && index->data()[i] < rows, "index out of range");
        } else {
            require(rows == T * B, "input has the wrong length");
        }
        require(bias.has_value() != weights_.lstm, "bias is required for a GRU and not allowed for an LSTM");
        if (bias) require_shape(*bias, {H}, "bias has the wrong shape");
        require_shape(hidden, {B, H}, "hidden has the wrong shape");
        require(cell.has_value() == weights_.lstm, "cell is required for an LSTM and not allowed for a GRU");
        if (cell) require_shape(*cell, {B, H}, "cell has the wrong shape");
        require(out.has_value() == mask.has_value(), "out and mask must be passed together");
        if (out) require_shape(*out, {T, B, H}, "out has the wrong shape");
        w.input = as_real(input.data());
        w.index = data_of(index);
        w.bias = data_of(bias);
        w.hidden = hidden.data();
        w.cell = data_of(cell);
        w.out = as_real(data_of(out));
        nb::gil_scoped_release unlocked;
        in_steps(threads, w.steps,
                 [&](int step, int part, int parts) { kernels_.forward(weights_, w, step, part, parts); });
    }

    void backward(Array<const N, 3> gradient, std::optional<Array<const float, 2>> mask, Array<N, 3> hidden_seq,
                  Out<3> cell_seq, Array<N, 3> saved_gates, std::optional<Array<const float, 2>> last,
                  Array<float, 2> grad_state, int threads) const {
        TrainingWindow<Real> w = window(hidden_seq, cell_seq, std::optional(saved_gates), mask);
        const int64_t T = w.steps, B = w.streams, H = weights_.hidden;
        require(cell_seq.has_value() == weights_.lstm, "cell_seq is required for an LSTM and not allowed for a GRU");
        require_shape(gradient, {T, B, H}, "gradient has the wrong shape");
        require_shape(grad_state, {B, H}, "grad_state has the wrong shape");
        if (last) require_shape(*last, {B, H}, "last has the wrong shape");
        w.grad_out = as_real(gradient.data());
        w.grad_last_hidden = data_of(last);
        w.grad_state = grad_state.data();
        nb::gil_scoped_release unlocked;
        in_steps(threads, w.steps,
                 [&](int t, int part, int parts) { kernels_.backward(weights_, w, w.steps - 1 - t, part, parts); });
    }

private:
    TrainingWindow<Real> window(const Array<N, 3>& hidden_seq, const Out<3>& cell_seq, const Out<3>& saved_gates,
                                const std::optional<Array<const float, 2>>& mask) const {
        const int64_t T = int64_t(hidden_seq.shape(0)) - 1, B = int64_t(hidden_seq.shape(1)), H = weights_.hidden;
        if (saved_gates) {
            require(int64_t(saved_gates->shape(2)) >= 4 * H, "saved_gates must have at least 4 * hidden columns");
            require_shape(*saved_gates, {T, B, int64_t(saved_gates->shape(2))}, "saved_gates has the wrong shape");
        }
        require_shape(hidden_seq, {T + 1, B, H}, "hidden_seq has the wrong shape");
        if (cell_seq) require_shape(*cell_seq, {T + 1, B, H}, "cell_seq has the wrong shape");
        if (mask) require_shape(*mask, {B, H}, "mask has the wrong shape");
        TrainingWindow<Real> w;
        w.steps = int(T);
        w.streams = int(B);
        w.hidden_seq = as_real(hidden_seq.data());
        w.cell_seq = as_real(data_of(cell_seq));
        w.saved_gates = as_real(data_of(saved_gates));
        w.saved_width = saved_gates ? int64_t(saved_gates->shape(2)) : 0;
        w.mask = data_of(mask);
        return w;
    }

    const WindowKernels<Real>& kernels_;
    PackedWeights<Real> weights_;
};

template <class N>
double cross_entropy(Array<N, 2> logits, Array<const float, 1> bias, Array<const int64_t, 1> targets, double scale,
                     Array<float, 2> grad_bias, const std::string& isa, int threads) {
    const auto length = int(logits.shape(1));
    require(targets.shape(0) == logits.shape(0), "targets have the wrong length");
    require_shape(bias, {length}, "bias has the wrong length");
    require_shape(grad_bias, {std::max(threads, 1), length}, "grad_bias has the wrong shape");
    for (size_t i = 0; i < targets.size(); ++i)
        require(targets.data()[i] >= 0 && targets.data()[i] < length, "target out of range");
    const auto& kernels = window_kernels(training_kernels(isa), N());
    std::vector<double> losses(std::max(threads, 1));
    nb::gil_scoped_release unlocked;
    in_team(threads, [&](int part, int parts) {
        const auto count = int64_t(logits.shape(0));
        losses[part] = kernels.cross_entropy(as_real(logits.data()), bias.data(), targets.data(),
                                             int(count * part / parts), int(count * (part + 1) / parts), length,
                                             float(scale), grad_bias.data() + int64_t{part} * length);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
}

template <class N>
void add_rows(nb::ndarray<const N, nb::ndim<2>, nb::device::cpu> rows, Array<const int64_t, 1> ids,
              Array<float, 2> table, const std::string& isa, int threads) {
    require(rows.shape(0) == ids.shape(0) && rows.shape(1) == table.shape(1) && rows.stride(1) == 1,
            "rows has the wrong shape");
    for (size_t i = 0; i < ids.size(); ++i)
        require(ids.data()[i] >= 0 && ids.data()[i] < int64_t(table.shape(0)), "id out of range");
    const auto& kernels = window_kernels(training_kernels(isa), N());
    nb::gil_scoped_release unlocked;
    in_team(threads, [&](int part, int parts) {
        const auto width = int64_t(table.shape(1));
        kernels.add_rows(as_real(rows.data()), rows.stride(0), ids.data(), int64_t(ids.shape(0)), table.data(),
                         int(width), int(width * part / parts), int(width * (part + 1) / parts));
    });
}

}  // namespace

// An argument that nanobind must not convert: results written to a converted copy would be lost.
auto array_arg(const char* name) { return nb::arg(name).noconvert(); }

template <class N>
void bind_windows(nb::module_& m, const char* name) {
    using R = Recurrence<N>;
    nb::class_<R>(m, name)
        .def(nb::init<const std::string&, int, const std::string&>(), "cell"_a, "hidden"_a, "isa"_a)
        .def("pack", &R::pack, array_arg("weight_hh"), "threads"_a)
        .def("forward", &R::forward, array_arg("input"), array_arg("index").none(), array_arg("bias").none(),
             array_arg("hidden"), array_arg("cell").none(), array_arg("hidden_seq"), array_arg("cell_seq").none(),
             array_arg("saved_gates").none(), array_arg("mask").none(), array_arg("out").none(), "threads"_a)
        .def("backward", &R::backward, array_arg("gradient"), array_arg("mask").none(), array_arg("hidden_seq"),
             array_arg("cell_seq").none(), array_arg("saved_gates"), array_arg("last").none(), array_arg("grad_state"),
             "threads"_a);
    m.def("add_rows", &add_rows<N>, array_arg("rows"), array_arg("ids"), array_arg("table"), "isa"_a, "threads"_a,
          "Compute table[ids[i]] += rows[i].");
    m.def(
        "cross_entropy", &cross_entropy<N>, array_arg("logits"), array_arg("bias"), array_arg("targets"), "scale"_a,
        array_arg("grad_bias"), "isa"_a, "threads"_a,
        "Return the sum of -log softmax(logits + bias)[target]. Overwrites logits with the gradient times scale; each "
        "thread adds the sum of its rows to its row of grad_bias.");
}

void bind(nb::module_& m) {
    // MSVC cannot compile the training kernels; Python detects this by the missing class
    if (!training_kernels_named("portable")) return;
    bind_windows<float>(m, "Recurrence");
    bind_windows<Bits>(m, "RecurrenceBfloat16");
    m.def("multiplies_bfloat16", multiplies_bfloat16,
          "Return whether the processor has instructions for bfloat16 products.");
    m.def(
        "share_threads", [](const std::string& library) { return share_threads(library.c_str()); }, "library"_a,
        "Use the threads of this OpenMP library if it is already loaded; return whether it could be used.");
}

}  // namespace charloom

void bind_training(nb::module_& m) { charloom::bind(m); }
