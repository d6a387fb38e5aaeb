// Which instruction sets this processor has.
#include "kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace charloom {

namespace portable { extern const Kernels kernels; }
#if defined(CHARLOOM_X86)
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#elif defined(CHARLOOM_ARM)
namespace neon { extern const Kernels kernels; }
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

}  // namespace charloom
