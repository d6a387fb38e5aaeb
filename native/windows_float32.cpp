// Windows of float32.
#include "windows.h"

namespace charloom::CHARLOOM_ISA {

extern const WindowKernels<float> float32_windows;
const WindowKernels<float> float32_windows = WINDOWS<float>;

}  // namespace charloom::CHARLOOM_ISA
