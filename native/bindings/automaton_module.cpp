// Python bindings for the suffix automaton.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <vector>

#include "automaton/suffix_automaton.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using charloom::SuffixAutomaton;
using Symbols = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr size_t kMaxSymbols = size_t{1} << 29;  // twice as many states must fit 31-bit numbers

void build(SuffixAutomaton* self, Symbols symbols) {
    if (symbols.size() > kMaxSymbols) throw std::invalid_argument("text is too long for a suffix automaton");
    nb::gil_scoped_release unlocked;
    new (self) SuffixAutomaton(symbols.data(), int64_t(symbols.size()));
}

void read_symbols(SuffixAutomaton& self, Symbols symbols) {
    nb::gil_scoped_release unlocked;
    self.read(symbols.data(), int64_t(symbols.size()));
}

nb::object lengths(const SuffixAutomaton& self) {
    auto* result = new std::vector<int32_t>(size_t(self.size()));
    nb::capsule owner(result, [](void* p) noexcept { delete static_cast<std::vector<int32_t>*>(p); });
    self.lengths(result->data());
    return nb::cast(nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>(result->data(), {result->size()}, owner));
}

}  // namespace

void bind_automaton(nb::module_& m) {
    nb::class_<SuffixAutomaton>(m, "SuffixAutomaton")
        .def("__init__", &build, "symbols"_a)
        .def("read", &read_symbols, "symbols"_a)
        .def("restart", &SuffixAutomaton::restart)
        .def("lengths", &lengths);
}
