// The part of the Python module that trains. Arrays are checked here; the kernels trust their arguments.
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

#include "recurrence.h"
#include "team.h"

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

const TrainingKernels& kernels_of(const std::string& isa) {
    const TrainingKernels* kernels = training_kernels_named(isa.c_str());
    require(kernels, "this module cannot train with that instruction set");
    return *kernels;
}

// Python has no Bfloat16: it passes their bits.
using Bits = int16_t;

Bfloat16* as_reals(Bits* bits) { return reinterpret_cast<Bfloat16*>(bits); }
const Bfloat16* as_reals(const Bits* bits) { return reinterpret_cast<const Bfloat16*>(bits); }
float* as_reals(float* numbers) { return numbers; }
const float* as_reals(const float* numbers) { return numbers; }

const WindowKernels<float>& windows_of(const TrainingKernels& kernels, float) { return *kernels.float32; }
const WindowKernels<Bfloat16>& windows_of(const TrainingKernels& kernels, Bits) { return *kernels.bfloat16; }

// In Python, N is float, or Bits; Real is what they mean.
template <class N>
class Recurrence {
    using Real = std::remove_pointer_t<decltype(as_reals(static_cast<N*>(nullptr)))>;
    template <int DIMENSIONS>
    using Out = std::optional<Array<N, DIMENSIONS>>;
    using State = std::optional<Array<float, 2>>;

public:
    Recurrence(const std::string& cell, int hidden, const std::string& isa)
        : kernels_(windows_of(kernels_of(isa), N())) {
        require(cell == "gru" || cell == "lstm", "an unknown cell");
        require(hidden > 0, "hidden must be above 0");
        require(sizeof(N) == sizeof(float) || hidden % 2 == 0, "hidden must be even for bfloat16");
        recurrent_.lstm = cell == "lstm";
        recurrent_.hidden = hidden;
        kernels_.allocate(recurrent_);
    }

    void pack(Array<const float, 2> weight_hh, int threads) {
        require_shape(weight_hh, {int64_t{recurrent_.gates()} * recurrent_.hidden, recurrent_.hidden},
                      "weight_hh of a wrong shape");
        nb::gil_scoped_release unlocked;
        in_team(threads, [&](int part, int parts) { kernels_.pack(recurrent_, weight_hh.data(), part, parts); });
    }

    void forward(Array<const N, 2> input, std::optional<Array<const int64_t, 2>> index,
                 std::optional<Array<const float, 1>> bias, Array<float, 2> hidden, State cell, Array<N, 3> hiddens,
                 Out<3> cells, Out<3> active, std::optional<Array<const float, 2>> mask, Out<3> out,
                 int threads) const {
        Window<Real> w = window(hiddens, cells, active, mask);
        const int64_t T = w.steps, B = w.streams, H = recurrent_.hidden, rows = int64_t(input.shape(0));
        require_shape(input, {rows, recurrent_.gates() * H}, "input of a wrong shape");
        if (index) {
            require_shape(*index, {T, B}, "index of a wrong shape");
            for (size_t i = 0; i < index->size(); ++i)
                require(index->data()[i] >= 0 && index->data()[i] < rows, "an index out of range");
        } else {
            require(rows == T * B, "input of a wrong length");
        }
        require(bias.has_value() != recurrent_.lstm, "a GRU has a bias here, an LSTM has none");
        if (bias) require_shape(*bias, {H}, "bias of a wrong shape");
        require_shape(hidden, {B, H}, "hidden of a wrong shape");
        require(cell.has_value() == recurrent_.lstm, "an LSTM has a cell, a GRU has none");
        if (cell) require_shape(*cell, {B, H}, "cell of a wrong shape");
        require(out.has_value() == mask.has_value(), "out and mask come together");
        if (out) require_shape(*out, {T, B, H}, "out of a wrong shape");
        w.input = as_reals(input.data());
        w.index = data_of(index);
        w.bias = data_of(bias);
        w.hidden = hidden.data();
        w.cell = data_of(cell);
        w.out = as_reals(data_of(out));
        nb::gil_scoped_release unlocked;
        in_steps(threads, w.steps, [&](int step, int part, int parts) {
            kernels_.forward(recurrent_, w, step, part, parts);
        });
    }

    void backward(Array<const N, 3> gradient, std::optional<Array<const float, 2>> mask, Array<N, 3> hiddens,
                  Out<3> cells, Array<N, 3> active, std::optional<Array<const float, 2>> last,
                  Array<float, 2> carried, int threads) const {
        Window<Real> w = window(hiddens, cells, std::optional(active), mask);
        const int64_t T = w.steps, B = w.streams, H = recurrent_.hidden;
        require(cells.has_value() == recurrent_.lstm, "an LSTM has cells, a GRU has none");
        require_shape(gradient, {T, B, H}, "gradient of a wrong shape");
        require_shape(carried, {B, H}, "carried of a wrong shape");
        if (last) require_shape(*last, {B, H}, "last of a wrong shape");
        w.gradient = as_reals(gradient.data());
        w.last = data_of(last);
        w.carried = carried.data();
        nb::gil_scoped_release unlocked;
        in_steps(threads, w.steps, [&](int t, int part, int parts) {
            kernels_.backward(recurrent_, w, w.steps - 1 - t, part, parts);
        });
    }

private:
    Window<Real> window(const Array<N, 3>& hiddens, const Out<3>& cells, const Out<3>& active,
                        const std::optional<Array<const float, 2>>& mask) const {
        const int64_t T = int64_t(hiddens.shape(0)) - 1, B = int64_t(hiddens.shape(1)), H = recurrent_.hidden;
        if (active) {
            require(int64_t(active->shape(2)) >= 4 * H, "active too narrow");
            require_shape(*active, {T, B, int64_t(active->shape(2))}, "active of a wrong shape");
        }
        require_shape(hiddens, {T + 1, B, H}, "hiddens of a wrong shape");
        if (cells) require_shape(*cells, {T + 1, B, H}, "cells of a wrong shape");
        if (mask) require_shape(*mask, {B, H}, "mask of a wrong shape");
        Window<Real> w;
        w.steps = int(T);
        w.streams = int(B);
        w.hiddens = as_reals(hiddens.data());
        w.cells = as_reals(data_of(cells));
        w.active = as_reals(data_of(active));
        w.width = active ? int64_t(active->shape(2)) : 0;
        w.mask = data_of(mask);
        return w;
    }

    const WindowKernels<Real>& kernels_;
    Recurrent<Real> recurrent_;
};

template <class N>
double cross_entropy(Array<N, 2> logits, Array<const float, 1> bias, Array<const int64_t, 1> targets, double scale,
                     Array<float, 2> grad_bias, const std::string& isa, int threads) {
    const auto length = int(logits.shape(1));
    require(targets.shape(0) == logits.shape(0), "targets of a wrong length");
    require_shape(bias, {length}, "bias of a wrong length");
    require_shape(grad_bias, {std::max(threads, 1), length}, "grad_bias of a wrong shape");
    for (size_t i = 0; i < targets.size(); ++i)
        require(targets.data()[i] >= 0 && targets.data()[i] < length, "a target out of range");
    const auto& kernels = windows_of(kernels_of(isa), N());
    std::vector<double> losses(std::max(threads, 1));
    nb::gil_scoped_release unlocked;
    in_team(threads, [&](int part, int parts) {
        const auto count = int64_t(logits.shape(0));
        losses[part] = kernels.cross_entropy(as_reals(logits.data()), bias.data(), targets.data(),
                                             int(count * part / parts), int(count * (part + 1) / parts), length,
                                             float(scale), grad_bias.data() + int64_t{part} * length);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
}

template <class N>
void add_rows(nb::ndarray<const N, nb::ndim<2>, nb::device::cpu> rows, Array<const int64_t, 1> ids,
              Array<float, 2> table, const std::string& isa, int threads) {
    require(rows.shape(0) == ids.shape(0) && rows.shape(1) == table.shape(1) && rows.stride(1) == 1,
            "rows of a wrong shape");
    for (size_t i = 0; i < ids.size(); ++i)
        require(ids.data()[i] >= 0 && ids.data()[i] < int64_t(table.shape(0)), "an id out of range");
    const auto& kernels = windows_of(kernels_of(isa), N());
    nb::gil_scoped_release unlocked;
    in_team(threads, [&](int part, int parts) {
        const auto width = int64_t(table.shape(1));
        kernels.add_rows(as_reals(rows.data()), rows.stride(0), ids.data(), int64_t(ids.shape(0)), table.data(), int(width),
                         int(width * part / parts), int(width * (part + 1) / parts));
    });
}

}  // namespace

// An array that must be as it is: converted, it would be a copy that is written to in vain.
auto given(const char* name) { return nb::arg(name).noconvert(); }

template <class N>
void bind_windows(nb::module_& m, const char* name) {
    using R = Recurrence<N>;
    nb::class_<R>(m, name)
        .def(nb::init<const std::string&, int, const std::string&>(), "cell"_a, "hidden"_a, "isa"_a)
        .def("pack", &R::pack, given("weight_hh"), "threads"_a)
        .def("forward", &R::forward, given("input"), given("index").none(), given("bias").none(), given("hidden"),
             given("cell").none(), given("hiddens"), given("cells").none(), given("active").none(),
             given("mask").none(), given("out").none(), "threads"_a)
        .def("backward", &R::backward, given("gradient"), given("mask").none(), given("hiddens"),
             given("cells").none(), given("active"), given("last").none(), given("carried"), "threads"_a);
    m.def("add_rows", &add_rows<N>, given("rows"), given("ids"), given("table"), "isa"_a, "threads"_a,
          "table[ids[i]] += rows[i].");
    m.def("cross_entropy", &cross_entropy<N>, given("logits"), given("bias"), given("targets"), "scale"_a,
          given("grad_bias"), "isa"_a, "threads"_a,
          "Return the sum of -log softmax(logits + bias)[target]; logits become its gradient times scale, whose sums "
          "each thread adds to its row of grad_bias.");
}

void bind(nb::module_& m) {
    if (!training_kernels_named("portable")) return;  // not compiled here: Python sees that the class is missing
    bind_windows<float>(m, "Recurrence");
    bind_windows<Bits>(m, "RecurrenceBfloat16");
    m.def("multiplies_bfloat16", multiplies_bfloat16, "Whether the processor has instructions for it.");
    m.def(
        "share_threads", [](const std::string& library) { return share_threads(library.c_str()); }, "library"_a,
        "Use the threads of this OpenMP library, if it is loaded.");
}

}  // namespace charloom

void bind_training(nb::module_& m) { charloom::bind(m); }
