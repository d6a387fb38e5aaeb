// Vectors of floats as wide as the registers of an instruction set (an extension of GCC and clang).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "common/maths.h"
#include "training/recurrence.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace charloom::CHARLOOM_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kWidth = 4, kRegisters = 32;
#else
constexpr int kWidth = 4, kRegisters = 16;
#endif

typedef float Floats __attribute__((vector_size(kWidth * sizeof(float))));
typedef uint32_t Words __attribute__((vector_size(kWidth * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(kWidth * sizeof(uint16_t))));

#if defined(__AVX512F__)
// A caller that loads two vectors at a time may pass a negative count for the second.
inline __mmask16 first(int count) { return count > 0 ? __mmask16((1u << count) - 1) : __mmask16(0); }
#endif

// Load the first `count` elements of a vector, or all of them; the rest are 0.
inline Floats load(const float* from, int count = kWidth) {
    Floats vector{};
#if defined(__AVX512F__)
    if (count < kWidth) return std::bit_cast<Floats>(_mm512_maskz_loadu_ps(first(count), from));
#endif
    if (count >= kWidth)
        std::memcpy(&vector, from, sizeof(vector));
    else
        for (int i = 0; i < count; ++i) vector[i] = from[i];
    return vector;
}

inline void store(float* to, Floats vector, int count = kWidth) {
#if defined(__AVX512F__)
    if (count < kWidth) return _mm512_mask_storeu_ps(to, first(count), std::bit_cast<__m512>(vector));
#endif
    if (count >= kWidth)
        std::memcpy(to, &vector, sizeof(vector));
    else
        for (int i = 0; i < count; ++i) to[i] = vector[i];
}

inline Floats load(const Bfloat16* from, int count = kWidth) {
#if defined(__AVX512F__)  // GCC 12 compiles the conversion below to five instructions, and an odd count to a call
    const __m256i halves = count < kWidth ? _mm256_maskz_loadu_epi16(first(count), from)
                                          : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return std::bit_cast<Floats>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
#else
    Halves halves{};
    if (count >= kWidth)
        std::memcpy(&halves, from, sizeof(halves));
    else
        for (int i = 0; i < count; ++i) halves[i] = from[i].bits;
    return std::bit_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
#endif
}

// Round to nearest, ties to even; NaN stays NaN.
inline Halves halves_of(Floats vector) {
#if defined(__AVX512BF16__)
    return std::bit_cast<Halves>(_mm512_cvtneps_pbh(std::bit_cast<__m512>(vector)));
#else
    const Words bits = std::bit_cast<Words>(vector);
    const Words nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector(vector == vector ? nearest : nearest * 0 + 0x7fc0, Halves);
#endif
}

inline void store(Bfloat16* to, Floats vector, int count = kWidth) {
    const Halves halves = halves_of(vector);
#if defined(__AVX512F__)
    if (count < kWidth) return _mm256_mask_storeu_epi16(to, first(count), std::bit_cast<__m256i>(halves));
#endif
    if (count >= kWidth)
        std::memcpy(to, &halves, sizeof(halves));
    else
        for (int i = 0; i < count; ++i) to[i].bits = halves[i];
}

// A gate, in [-1, 1], stored in the space of a Real. For bfloat16 that is 16-bit fixed point, in units of 1/32767:
// bfloat16 itself would lose almost all of 1 - gate for a gate near 1, a factor of its gradient.
constexpr float kGateScale = 32767.0f;
typedef int16_t Shorts __attribute__((vector_size(kWidth * sizeof(int16_t))));
typedef int32_t Longs __attribute__((vector_size(kWidth * sizeof(int32_t))));

inline Floats load_gate(const float* from, int count) { return load(from, count); }
inline void store_gate(float* to, Floats gate, int count) { store(to, gate, count); }

inline Floats load_gate(const Bfloat16* from, int count) {
#if defined(__AVX512F__)
    const __m256i shorts = count < kWidth ? _mm256_maskz_loadu_epi16(first(count), from)
                                          : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return std::bit_cast<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(shorts))) * (1.0f / kGateScale);
#else
    Shorts shorts{};
    if (count >= kWidth)
        std::memcpy(&shorts, from, sizeof(shorts));
    else
        for (int i = 0; i < count; ++i) shorts[i] = static_cast<int16_t>(from[i].bits);
    return __builtin_convertvector(__builtin_convertvector(shorts, Longs), Floats) * (1.0f / kGateScale);
#endif
}

inline void store_gate(Bfloat16* to, Floats gate, int count) {
#if defined(__AVX512F__)
    const __m256i shorts = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(std::bit_cast<__m512>(gate * kGateScale)));
    if (count < kWidth) return _mm256_mask_storeu_epi16(to, first(count), shorts);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), shorts);
#else
    const Shorts shorts = __builtin_convertvector(__builtin_convertvector(rounded(gate * kGateScale), Longs), Shorts);
    if (count >= kWidth)
        std::memcpy(to, &shorts, sizeof(shorts));
    else
        for (int i = 0; i < count; ++i) to[i].bits = static_cast<uint16_t>(shorts[i]);
#endif
}

}  // namespace
}  // namespace charloom::CHARLOOM_ISA
