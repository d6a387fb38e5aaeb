// Which instruction sets this processor has.
#include <cstring>

#include "kernels.h"
#include "recurrence.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace charloom {

#define CHARLOOM_DECLARE(isa)                   \
    namespace isa {                             \
    extern const Kernels kernels;               \
    extern const TrainingKernels training_kernels; \
    }

CHARLOOM_DECLARE(portable)
#if defined(CHARLOOM_X86)
CHARLOOM_DECLARE(avx2)
CHARLOOM_DECLARE(avx512)
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

const TrainingKernels* training_kernels_named([[maybe_unused]] const char* isa) {
#if defined(CHARLOOM_TRAINING)
    const auto is = [isa](const char* name) { return std::strcmp(isa, name) == 0; };
#if defined(CHARLOOM_X86)
    if (is("avx512")) return &avx512::training_kernels;
    if (is("avx2")) return &avx2::training_kernels;
#elif defined(CHARLOOM_ARM)
    if (is("neon")) return &neon::training_kernels;
#endif
    if (is("portable")) return &portable::training_kernels;
#endif
    return nullptr;
}

}  // namespace charloom
