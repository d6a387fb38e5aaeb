// The instruction sets that this processor has.
#include "engine/kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace charloom {

#define CHARLOOM_DECLARE(isa)     \
    namespace isa {               \
    extern const Kernels kernels; \
    }

CHARLOOM_DECLARE(portable)
#if defined(CHARLOOM_X86)
CHARLOOM_DECLARE(avx2)
CHARLOOM_DECLARE(avx512)
#elif defined(CHARLOOM_ARM)
CHARLOOM_DECLARE(neon)
#endif

int available_kernels(const Kernels* kernels[4]) {
    int count = 0;
#if defined(CHARLOOM_X86)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        kernels[count++] = &avx512::kernels;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels[count++] = &avx2::kernels;
#elif defined(CHARLOOM_ARM) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) kernels[count++] = &neon::kernels;
#elif defined(CHARLOOM_ARM) && defined(__APPLE__)
    kernels[count++] = &neon::kernels;  // every Apple processor with aarch64 macOS has the dot product
#endif
    kernels[count++] = &portable::kernels;
    return count;
}

}  // namespace charloom
