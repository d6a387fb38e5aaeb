// The training kernels for float32.
#include "training/windows.h"

namespace charloom::CHARLOOM_ISA {

extern const WindowKernels<float> float32_windows;
const WindowKernels<float> float32_windows = kWindowKernels<float>;

}  // namespace charloom::CHARLOOM_ISA
