// The training kernels for bfloat16. Without bfloat16 instructions they give the same numbers, as fast as float32's.
#include "training/windows.h"

namespace charloom::CHARLOOM_ISA {

extern const WindowKernels<Bfloat16> bfloat16_windows;
const WindowKernels<Bfloat16> bfloat16_windows = kWindowKernels<Bfloat16>;

}  // namespace charloom::CHARLOOM_ISA
