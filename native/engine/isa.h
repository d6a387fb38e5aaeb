// Shared by the source files that are compiled once for every instruction set. CHARLOOM_ISA is the name of the set, and
// of the namespace that separates the copies.
#pragma once

#include "engine/kernels.h"

#define CHARLOOM_QUOTED(name) #name
#define CHARLOOM_EXPANDED(name) CHARLOOM_QUOTED(name)
#define CHARLOOM_ISA_NAME CHARLOOM_EXPANDED(CHARLOOM_ISA)

namespace charloom::CHARLOOM_ISA {

#if defined(__AVX512VNNI__)
constexpr int kByteOffset = 128;  // VNNI multiplies unsigned by signed bytes; `Matrix::sums` corrects for the offset
#else
constexpr int kByteOffset = 0;
#endif

void product_int8(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);
void product_float32(const Matrix&, const Vector* x, int streams, float* y, int64_t stride, bool backwards);

// Multiply in tiles of some blocks of a group and some vectors. Groups are the outer loop, so that weights are read
// from memory once for all vectors.
template <class Tile, int kBlocks, int kStreams>
static void multiply_group(const Matrix& m, int block, int width, const Vector* x, float* y, int64_t stride) {
    for (int b = 0; b < width; b += kBlocks)
        Tile::template run<kBlocks, kStreams>(m, block, width, b, x, y + (block + b) * kRows, stride);
}

template <class Tile>
static void multiply(const Matrix& m, const Vector* x, int streams, float* y, int64_t stride, bool backwards) {
    const int last = (m.blocks - 1) / kGroup * kGroup;
    for (int i = 0; i <= last; i += kGroup) {
        const int block = backwards ? last - i : i;
        const int width = m.blocks - block < kGroup ? m.blocks - block : kGroup;
        int s = 0;
        for (; s + Tile::kStreams <= streams; s += Tile::kStreams) {
            if (width == kGroup)
                multiply_group<Tile, Tile::kBlocks, Tile::kStreams>(m, block, width, x + s, y + s * stride, stride);
            else
                multiply_group<Tile, 1, Tile::kStreams>(m, block, width, x + s, y + s * stride, stride);
        }
        for (; s < streams; ++s) {
            if (width == kGroup)
                multiply_group<Tile, Tile::kBlocksOfOneStream, 1>(m, block, width, x + s, y + s * stride, stride);
            else
                multiply_group<Tile, 1, 1>(m, block, width, x + s, y + s * stride, stride);
        }
    }
}

}  // namespace charloom::CHARLOOM_ISA
