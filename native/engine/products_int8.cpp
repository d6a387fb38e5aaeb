// Products of int8 weights with int8 vectors. Sums are integers, so their order does not matter.
#include <cstring>

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#include "engine/isa.h"

namespace charloom::CHARLOOM_ISA {
namespace {

// Sums of kLanes rows. `spread` takes 4 columns of a vector; `add` multiplies them with 4 columns of kLanes rows;
// `store` scales the sums of rows `row` and following to floats.
[[maybe_unused]] int32_t four_bytes(const int8_t* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, 4);
    return four;
}

#if defined(__AVX512VNNI__)

constexpr int kLanes = 16, kTileBlocks = 4, kTileStreams = 4, kTileBlocksOfOneStream = 4;
using Sums = __m512i;
Sums zero() { return _mm512_setzero_si512(); }
__m512i spread(const int8_t* x) { return _mm512_set1_epi32(four_bytes(x)); }
Sums add(Sums sums, const int8_t* weights, __m512i x) {
    return _mm512_dpbusd_epi32(sums, x, _mm512_load_si512(weights));
}
void store(Sums sums, const Matrix& m, int row, float scale, float* y) {
    const __m512i excess = _mm512_slli_epi32(_mm512_loadu_si512(m.sums + row), 7);  // 128 times the row's sum
    const __m512 product = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, excess));
    _mm512_storeu_ps(y, _mm512_mul_ps(product, _mm512_mul_ps(_mm512_loadu_ps(m.scales + row), _mm512_set1_ps(scale))));
}

#elif defined(__AVX2__)

constexpr int kLanes = 8, kTileBlocks = 2, kTileStreams = 2, kTileBlocksOfOneStream = 4;
using Sums = __m256i;
struct Input {
    __m256i values, sizes;
};
Sums zero() { return _mm256_setzero_si256(); }
Input spread(const int8_t* x) {
    const __m256i values = _mm256_set1_epi32(four_bytes(x));
    return {values, _mm256_abs_epi8(values)};
}
Sums add(Sums sums, const int8_t* weights, Input x) {
    const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights));
    // |x| times w with the sign of x: at most 2 * 127 * 127 in 16 bits, which is never saturated
    const __m256i pairs = _mm256_maddubs_epi16(x.sizes, _mm256_sign_epi8(w, x.values));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
void store(Sums sums, const Matrix& m, int row, float scale, float* y) {
    const __m256 scales = _mm256_mul_ps(_mm256_loadu_ps(m.scales + row), _mm256_set1_ps(scale));
    _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales));
}

#elif defined(__ARM_FEATURE_DOTPROD)

constexpr int kLanes = 4, kTileBlocks = 2, kTileStreams = 2, kTileBlocksOfOneStream = 4;
using Sums = int32x4_t;
Sums zero() { return vdupq_n_s32(0); }
int8x16_t spread(const int8_t* x) { return vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(x))); }
Sums add(Sums sums, const int8_t* weights, int8x16_t x) { return vdotq_s32(sums, vld1q_s8(weights), x); }
void store(Sums sums, const Matrix& m, int row, float scale, float* y) {
    vst1q_f32(y, vmulq_f32(vcvtq_f32_s32(sums), vmulq_n_f32(vld1q_f32(m.scales + row), scale)));
}

#elif defined(__SSE2__)

constexpr int kLanes = 4, kTileBlocks = 1, kTileStreams = 1, kTileBlocksOfOneStream = 1;
struct Sums {
    __m128i low, high;  // two sums for each of two rows
};
Sums zero() { return {_mm_setzero_si128(), _mm_setzero_si128()}; }
__m128i spread(const int8_t* x) {
    const __m128i four = _mm_set1_epi32(four_bytes(x));
    return _mm_srai_epi16(_mm_unpacklo_epi8(four, four), 8);  // as 16 bits, twice
}
Sums add(Sums sums, const int8_t* weights, __m128i x) {
    const __m128i w = _mm_load_si128(reinterpret_cast<const __m128i*>(weights));
    const __m128i low = _mm_srai_epi16(_mm_unpacklo_epi8(w, w), 8), high = _mm_srai_epi16(_mm_unpackhi_epi8(w, w), 8);
    return {_mm_add_epi32(sums.low, _mm_madd_epi16(low, x)), _mm_add_epi32(sums.high, _mm_madd_epi16(high, x))};
}
void store(const Sums& sums, const Matrix& m, int row, float scale, float* y) {
    const __m128 low = _mm_castsi128_ps(sums.low), high = _mm_castsi128_ps(sums.high);
    const __m128i total = _mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0))),
                                        _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1))));
    const __m128 scales = _mm_mul_ps(_mm_loadu_ps(m.scales + row), _mm_set1_ps(scale));
    _mm_storeu_ps(y, _mm_mul_ps(_mm_cvtepi32_ps(total), scales));
}

#elif defined(__wasm_simd128__)

constexpr int kLanes = 4, kTileBlocks = 1, kTileStreams = 1, kTileBlocksOfOneStream = 1;
struct Sums {
    v128_t low, high;  // two sums for each of two rows
};
Sums zero() { return {wasm_i32x4_const_splat(0), wasm_i32x4_const_splat(0)}; }
v128_t spread(const int8_t* x) { return wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(x)); }
Sums add(const Sums& sums, const int8_t* weights, v128_t x) {
    const v128_t low = wasm_i16x8_load8x8(weights), high = wasm_i16x8_load8x8(weights + 8);
    return {wasm_i32x4_add(sums.low, wasm_i32x4_dot_i16x8(low, x)),
            wasm_i32x4_add(sums.high, wasm_i32x4_dot_i16x8(high, x))};
}
void store(const Sums& sums, const Matrix& m, int row, float scale, float* y) {
    const v128_t total = wasm_i32x4_add(wasm_i32x4_shuffle(sums.low, sums.high, 0, 2, 4, 6),
                                        wasm_i32x4_shuffle(sums.low, sums.high, 1, 3, 5, 7));
    const v128_t scales = wasm_f32x4_mul(wasm_v128_load(m.scales + row), wasm_f32x4_splat(scale));
    wasm_v128_store(y, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(total), scales));
}

#else

constexpr int kLanes = 4, kTileBlocks = 1, kTileStreams = 1, kTileBlocksOfOneStream = 1;
struct Sums {
    int32_t rows[kLanes];
};
Sums zero() { return {}; }
const int8_t* spread(const int8_t* x) { return x; }
Sums add(Sums sums, const int8_t* weights, const int8_t* x) {
    for (int row = 0; row < kLanes; ++row)
        for (int k = 0; k < 4; ++k) sums.rows[row] += weights[4 * row + k] * x[k];
    return sums;
}
void store(const Sums& sums, const Matrix& m, int row, float scale, float* y) {
    for (int i = 0; i < kLanes; ++i) y[i] = static_cast<float>(sums.rows[i]) * (m.scales[row + i] * scale);
}

#endif

struct Int8Tile {
    static constexpr int kBlocks = kTileBlocks, kStreams = kTileStreams, kBlocksOfOneStream = kTileBlocksOfOneStream;

    // Blocks `first` and following of the group of `width` blocks that begins at `block`.
    template <int kBlockCount, int kStreamCount>
    static void run(const Matrix& m, int block, int width, int first, const Vector* x, float* y, int64_t stride) {
        constexpr int kVectors = kBlockCount * kRows / kLanes;
        const int8_t* weights = m.bytes + (int64_t{block} * m.quads + first) * kRows * 4;
        const int8_t* inputs[kStreamCount];
        for (int s = 0; s < kStreamCount; ++s) inputs[s] = x[s].bytes;
        Sums sums[kStreamCount][kVectors];
        for (int s = 0; s < kStreamCount; ++s)
            for (int v = 0; v < kVectors; ++v) sums[s][v] = zero();
        for (int quad = 0; quad < m.quads; ++quad, weights += width * kRows * 4)
            for (int s = 0; s < kStreamCount; ++s) {
                const auto four = spread(inputs[s] + 4 * quad);
                for (int v = 0; v < kVectors; ++v) sums[s][v] = add(sums[s][v], weights + v * kLanes * 4, four);
            }
        for (int s = 0; s < kStreamCount; ++s)
            for (int v = 0; v < kVectors; ++v)
                store(sums[s][v], m, (block + first) * kRows + v * kLanes, x[s].scale, y + s * stride + v * kLanes);
    }
};

}  // namespace

void product_int8(const Matrix& m, const Vector* x, int streams, float* y, int64_t stride, bool backwards) {
    multiply<Int8Tile>(m, x, streams, y, stride, backwards);
}

}  // namespace charloom::CHARLOOM_ISA
