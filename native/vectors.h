// Vectors of floats as wide as the registers of an instruction set (an extension of GCC and clang).
#pragma once

#include <cstdint>
#include <cstring>

#include "isa.h"

namespace charloom::CHARLOOM_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int WIDTH = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int WIDTH = 4, REGISTERS = 32;
#else
constexpr int WIDTH = 4, REGISTERS = 16;
#endif

typedef float Floats __attribute__((vector_size(WIDTH * sizeof(float))));

// The first `count` numbers of a vector, or all of them; the others are 0.
inline Floats load(const float* from, int count = WIDTH) {
    Floats vector{};
    if (count >= WIDTH)
        std::memcpy(&vector, from, sizeof(vector));
    else
        for (int i = 0; i < count; ++i) vector[i] = from[i];
    return vector;
}

inline void store(float* to, Floats vector, int count = WIDTH) {
    if (count >= WIDTH)
        std::memcpy(to, &vector, sizeof(vector));
    else
        for (int i = 0; i < count; ++i) to[i] = vector[i];
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
