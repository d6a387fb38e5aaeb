// The functions that define the engine's results: float32 additions, multiplications, divisions and roundings in
// exactly this order, so that every processor gives the same bits (docs/reference/engine.md; int8_reference.py has the
// same functions in NumPy). Compile with -ffp-contract=off. Everything here has internal linkage: each instruction set
// has its own copy. F is float, or a vector of floats (an extension of GCC and clang).
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace charloom {
namespace {

template <class F>
inline F bounded(F x, float low, float high) {
    const F minimum = F{} + low, maximum = F{} + high;
    x = x < minimum ? minimum : x;
    return x > maximum ? maximum : x;
}

// Round to the nearest integer, ties to even; |x| < 2^22.
template <class F>
inline F rounded(F x) {
    return (x + 12582912.0f) - 12582912.0f;
}

// 2^n for whole n in [-126, 127].
template <class F>
inline F whole_power_of_two(F n) {
#if defined(__GNUC__)
    if constexpr (!std::is_same_v<F, float>) {
        using Whole = decltype(n < n);  // comparing vectors of floats gives vectors of integers of that size
        return std::bit_cast<F>((__builtin_convertvector(n, Whole) + 127) << 23);
    } else
#endif
        return std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

// 2^x for x in [-126, 126], exact where x is whole, within 3e-7 of the true value relative to it elsewhere:
// 2^round(x) times Taylor's polynomial of e^(f ln 2), |f| <= 1/2.
template <class F>
inline F power_of_two(F x) {
    const F n = rounded(x);
    const F f = x - n;
    F p = f * 1.54035304e-4f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    return p * whole_power_of_two(n);
}

template <class F>
inline F sigmoid(F x) {
    return 1.0f / (1.0f + power_of_two(bounded(x, -80.0f, 80.0f) * -1.44269504f));
}

// Within 1.5e-7 of the true value, absolutely.
template <class F>
inline F hyperbolic_tangent(F x) {
    return 1.0f - 2.0f / (power_of_two(bounded(x, -40.0f, 40.0f) * 2.88539008f) + 1.0f);
}

}  // namespace
}  // namespace charloom
