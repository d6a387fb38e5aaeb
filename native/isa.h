// For the files that are compiled once for every instruction set, each time with another CHARLOOM_ISA (a name in
// the code, and the namespace that keeps the copies apart).
#pragma once

#include "kernels.h"

#define CHARLOOM_QUOTED(name) #name
#define CHARLOOM_EXPANDED(name) CHARLOOM_QUOTED(name)
#define CHARLOOM_ISA_NAME CHARLOOM_EXPANDED(CHARLOOM_ISA)

namespace charloom::CHARLOOM_ISA {

#if defined(__AVX512VNNI__)
constexpr int BYTE_OFFSET = 128;  // its product takes unsigned bytes on one side; the rows' sums put that right
#else
constexpr int BYTE_OFFSET = 0;
#endif

void product_int8(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
void product_float32(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);

// Multiply in tiles of some blocks of a group and some vectors. The groups are the outer loop, so that weights come
// from memory once for all vectors.
template <class Tile, int BLOCKS, int STREAMS>
static void multiply_group(const Matrix& m, int block, int width, const Vector* x, float* y, int64_t stride) {
    for (int b = 0; b < width; b += BLOCKS)
        Tile::template run<BLOCKS, STREAMS>(m, block, width, b, x, y + (block + b) * ROWS, stride);
}

template <class Tile>
static void multiply(const Matrix& m, const Vector* x, int streams, float* y, int64_t stride, bool backwards) {
    const int last = (m.blocks - 1) / GROUP * GROUP;
    for (int i = 0; i <= last; i += GROUP) {
        const int block = backwards ? last - i : i;
        const int width = m.blocks - block < GROUP ? m.blocks - block : GROUP;
        int s = 0;
        for (; s + Tile::STREAMS <= streams; s += Tile::STREAMS) {
            if (width == GROUP)
                multiply_group<Tile, Tile::BLOCKS, Tile::STREAMS>(m, block, width, x + s, y + s * stride, stride);
            else
                multiply_group<Tile, 1, Tile::STREAMS>(m, block, width, x + s, y + s * stride, stride);
        }
        for (; s < streams; ++s) {
            if (width == GROUP)
                multiply_group<Tile, Tile::BLOCKS_OF_ONE, 1>(m, block, width, x + s, y + s * stride, stride);
            else
                multiply_group<Tile, 1, 1>(m, block, width, x + s, y + s * stride, stride);
        }
    }
}

}  // namespace charloom::CHARLOOM_ISA
