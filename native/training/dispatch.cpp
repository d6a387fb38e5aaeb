// The training kernels for each instruction set.
#include <cstring>

#include "training/recurrence.h"

namespace charloom {

#define CHARLOOM_DECLARE(isa)                              \
    namespace isa {                                        \
    extern const WindowKernels<float> float32_windows;     \
    extern const WindowKernels<Bfloat16> bfloat16_windows; \
    }

CHARLOOM_DECLARE(portable)
#if defined(CHARLOOM_X86)
CHARLOOM_DECLARE(avx2)
CHARLOOM_DECLARE(avx512)
CHARLOOM_DECLARE(avx512bf16)
#elif defined(CHARLOOM_ARM)
CHARLOOM_DECLARE(neon)
#endif

bool multiplies_bfloat16() {
#if defined(CHARLOOM_X86)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

#if defined(CHARLOOM_TRAINING)
#define CHARLOOM_TRAINING_KERNELS(isa) {&isa::float32_windows, &isa::bfloat16_windows}

const TrainingKernels* training_kernels_named(const char* isa) {
    const auto is = [isa](const char* name) { return std::strcmp(isa, name) == 0; };
#if defined(CHARLOOM_X86)
    static const TrainingKernels avx512_kernels = [] {
        TrainingKernels kernels = CHARLOOM_TRAINING_KERNELS(avx512);
        if (multiplies_bfloat16()) kernels.bfloat16 = &avx512bf16::bfloat16_windows;
        return kernels;
    }();
    static const TrainingKernels avx2_kernels = CHARLOOM_TRAINING_KERNELS(avx2);
    if (is("avx512")) return &avx512_kernels;
    if (is("avx2")) return &avx2_kernels;
#elif defined(CHARLOOM_ARM)
    static const TrainingKernels neon_kernels = CHARLOOM_TRAINING_KERNELS(neon);
    if (is("neon")) return &neon_kernels;
#endif
    static const TrainingKernels portable_kernels = CHARLOOM_TRAINING_KERNELS(portable);
    return is("portable") ? &portable_kernels : nullptr;
}
#else
const TrainingKernels* training_kernels_named(const char*) { return nullptr; }
#endif

}  // namespace charloom
