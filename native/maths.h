// The functions that the engine is defined by: float32 additions, multiplications, divisions and roundings in this
// order and no other, so that every processor gives the same bits (docs/engine.md; numpy_maths.py says the same).
// Compile with -ffp-contract=off. Everything here is static: each instruction set has a copy of its own.
#pragma once

#include <bit>
#include <cstdint>

namespace charloom {
namespace {

inline float bounded(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

// To the nearest whole number, of two equally near to the even one; |x| < 2^22.
inline float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

// 2^x for x in [-126, 126], exact where x is whole, within 3e-7 of the true value relative to it elsewhere:
// 2^round(x) times Taylor's polynomial of e^(f ln 2), |f| <= 1/2.
inline float power_of_two(float x) {
    const float n = rounded(x);
    const float f = x - n;
    float p = 1.54035304e-4f;
    p = p * f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + power_of_two(bounded(x, -80.0f, 80.0f) * -1.44269504f)); }

// Within 1.5e-7 of the true value, absolutely.
inline float hyperbolic_tangent(float x) {
    return 1.0f - 2.0f / (power_of_two(bounded(x, -40.0f, 40.0f) * 2.88539008f) + 1.0f);
}

}  // namespace
}  // namespace charloom
