// Products of float32 weights with float32 vectors. A row's sum runs over the columns in order, in one accumulator,
// whatever the tile: so a vector's product does not depend on the vectors beside it. Contraction to FMA is allowed
// here alone: instruction sets differ by rounding.
#include "isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace charloom::CHARLOOM_ISA {
namespace {

// Sums of LANES rows; `add` multiplies a column of them.
#if defined(__AVX512F__)

constexpr int LANES = 16, TILE_BLOCKS = 4, TILE_STREAMS = 4, TILE_OF_ONE = 4;
using Sums = __m512;
Sums zero() { return _mm512_setzero_ps(); }
Sums add(Sums sums, const float* weights, float x) {
    return _mm512_fmadd_ps(_mm512_load_ps(weights), _mm512_set1_ps(x), sums);
}
void store(Sums sums, float* y) { _mm512_storeu_ps(y, sums); }

#elif defined(__AVX2__)

constexpr int LANES = 8, TILE_BLOCKS = 2, TILE_STREAMS = 2, TILE_OF_ONE = 4;
using Sums = __m256;
Sums zero() { return _mm256_setzero_ps(); }
Sums add(Sums sums, const float* weights, float x) {
    return _mm256_fmadd_ps(_mm256_load_ps(weights), _mm256_set1_ps(x), sums);
}
void store(Sums sums, float* y) { _mm256_storeu_ps(y, sums); }

#else

constexpr int LANES = 4, TILE_BLOCKS = 1, TILE_STREAMS = 2, TILE_OF_ONE = 2;
struct Sums {
    float rows[LANES];
};
Sums zero() { return {}; }
Sums add(Sums sums, const float* weights, float x) {
    for (int row = 0; row < LANES; ++row) sums.rows[row] += weights[row] * x;
    return sums;
}
void store(const Sums& sums, float* y) {
    for (int row = 0; row < LANES; ++row) y[row] = sums.rows[row];
}

#endif

struct Float32Tile {
    static constexpr int BLOCKS = TILE_BLOCKS, STREAMS = TILE_STREAMS, BLOCKS_OF_ONE = TILE_OF_ONE;

    // Blocks `first` and following of the group of `width` blocks that begins at `block`.
    template <int BLOCK_COUNT, int STREAM_COUNT>
    static void run(const Matrix& m, int block, int width, int first, const Vector* x, float* y, int64_t stride) {
        constexpr int VECTORS = BLOCK_COUNT * ROWS / LANES;
        const float* weights = m.floats + (int64_t{block} * m.depth + first) * ROWS;
        const float* inputs[STREAM_COUNT];
        for (int s = 0; s < STREAM_COUNT; ++s) inputs[s] = x[s].floats;
        Sums sums[STREAM_COUNT][VECTORS];
        for (int s = 0; s < STREAM_COUNT; ++s)
            for (int v = 0; v < VECTORS; ++v) sums[s][v] = zero();
        for (int k = 0; k < m.depth; ++k, weights += width * ROWS)
            for (int s = 0; s < STREAM_COUNT; ++s)
                for (int v = 0; v < VECTORS; ++v) sums[s][v] = add(sums[s][v], weights + v * LANES, inputs[s][k]);
        for (int s = 0; s < STREAM_COUNT; ++s)
            for (int v = 0; v < VECTORS; ++v) store(sums[s][v], y + s * stride + v * LANES);
    }
};

}  // namespace

void product_float32(const Matrix& m, const Vector* x, int streams, float* y, int64_t stride, bool backwards) {
    multiply<Float32Tile>(m, x, streams, y, stride, backwards);
}

}  // namespace charloom::CHARLOOM_ISA
