// Numbers too small to matter are taken as zero while this lives: products of such denormal numbers are slow.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace charloom {
namespace {

class FlushedDenormals {
public:
#if defined(__SSE2__)
    FlushedDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // what comes out, and what goes in
    ~FlushedDenormals() { _mm_setcsr(before_); }
#elif defined(__aarch64__)
    FlushedDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (1 << 24)));
    }
    ~FlushedDenormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }
#else
    FlushedDenormals() = default;
#endif
    FlushedDenormals(const FlushedDenormals&) = delete;
    FlushedDenormals& operator=(const FlushedDenormals&) = delete;

private:
#if defined(__aarch64__)
    uint64_t before_ = 0;
#elif defined(__SSE2__)
    unsigned before_;
#endif
};

}  // namespace
}  // namespace charloom
