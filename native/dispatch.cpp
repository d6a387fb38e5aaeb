// Which instruction sets this processor has.
#include <cstring>

#include "kernels.h"
#include "recurrence.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace charloom {

#define CHARLOOM_DECLARE(isa)                                                                                        \
    namespace isa {                                                                                                  \
    extern const Kernels kernels;                                                                                    \
    extern const WindowKernels<float> float32_windows;                                                               \
    extern const WindowKernels<Bfloat16> bfloat16_windows;                                                           \
    }

CHARLOOM_DECLARE(portable)
#if defined(CHARLOOM_X86)
CHARLOOM_DECLARE(avx2)
CHARLOOM_DECLARE(avx512)
CHARLOOM_DECLARE(avx512bf16)
#elif defined(CHARLOOM_ARM)
CHARLOOM_DECLARE(neon)
#endif

int available_kernels(const Kernels* found[4]) {
    int count = 0;
#if defined(CHARLOOM_X86)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found[count++] = &avx512::kernels;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &avx2::kernels;
#elif defined(CHARLOOM_ARM) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) found[count++] = &neon::kernels;
#elif defined(CHARLOOM_ARM) && defined(__APPLE__)
    found[count++] = &neon::kernels;  // every Apple processor with aarch64 macOS has the dot product
#endif
    found[count++] = &portable::kernels;
    return count;
}

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
        TrainingKernels made = CHARLOOM_TRAINING_KERNELS(avx512);
        if (multiplies_bfloat16()) made.bfloat16 = &avx512bf16::bfloat16_windows;
        return made;
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
