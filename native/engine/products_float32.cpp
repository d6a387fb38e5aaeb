// Products of float32 weights with float32 vectors. A row's sum runs over the columns in order, in one accumulator,
// whatever the tile, so a vector's product does not depend on the other vectors of the batch. Only this file may be
// contracted to FMA: here instruction sets differ by rounding.
#include "engine/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace charloom::CHARLOOM_ISA {
namespace {

// Sums of kLanes rows; `add` multiplies a column of them.
#if defined(__AVX512F__)

constexpr int kLanes = 16, kTileBlocks = 4, kTileStreams = 4, kTileBlocksOfOneStream = 4;
using Sums = __m512;
Sums zero() { return _mm512_setzero_ps(); }
Sums add(Sums sums, const float* weights, float x) {
    return _mm512_fmadd_ps(_mm512_load_ps(weights), _mm512_set1_ps(x), sums);
}
void store(Sums sums, float* y) { _mm512_storeu_ps(y, sums); }

#elif defined(__AVX2__)

constexpr int kLanes = 8, kTileBlocks = 2, kTileStreams = 2, kTileBlocksOfOneStream = 4;
using Sums = __m256;
Sums zero() { return _mm256_setzero_ps(); }
Sums add(Sums sums, const float* weights, float x) {
    return _mm256_fmadd_ps(_mm256_load_ps(weights), _mm256_set1_ps(x), sums);
}
void store(Sums sums, float* y) { _mm256_storeu_ps(y, sums); }

#else

constexpr int kLanes = 4, kTileBlocks = 1, kTileStreams = 2, kTileBlocksOfOneStream = 2;
struct Sums {
    float rows[kLanes];
};
Sums zero() { return {}; }
Sums add(Sums sums, const float* weights, float x) {
    for (int row = 0; row < kLanes; ++row) sums.rows[row] += weights[row] * x;
    return sums;
}
void store(const Sums& sums, float* y) {
    for (int row = 0; row < kLanes; ++row) y[row] = sums.rows[row];
}

#endif

struct Float32Tile {
    static constexpr int kBlocks = kTileBlocks, kStreams = kTileStreams, kBlocksOfOneStream = kTileBlocksOfOneStream;

    // Blocks `first` and following of the group of `width` blocks that begins at `block`.
    template <int kBlockCount, int kStreamCount>
    static void run(const Matrix& m, int block, int width, int first, const Vector* x, float* y, int64_t stride) {
        constexpr int kVectors = kBlockCount * kRows / kLanes;
        const float* weights = m.floats + (int64_t{block} * m.depth + first) * kRows;
        const float* inputs[kStreamCount];
        for (int s = 0; s < kStreamCount; ++s) inputs[s] = x[s].floats;
        Sums sums[kStreamCount][kVectors];
        for (int s = 0; s < kStreamCount; ++s)
            for (int v = 0; v < kVectors; ++v) sums[s][v] = zero();
        for (int k = 0; k < m.depth; ++k, weights += width * kRows)
            for (int s = 0; s < kStreamCount; ++s)
                for (int v = 0; v < kVectors; ++v) sums[s][v] = add(sums[s][v], weights + v * kLanes, inputs[s][k]);
        for (int s = 0; s < kStreamCount; ++s)
            for (int v = 0; v < kVectors; ++v) store(sums[s][v], y + s * stride + v * kLanes);
    }
};

}  // namespace

void product_float32(const Matrix& m, const Vector* x, int streams, float* y, int64_t stride, bool backwards) {
    multiply<Float32Tile>(m, x, streams, y, stride, backwards);
}

}  // namespace charloom::CHARLOOM_ISA
