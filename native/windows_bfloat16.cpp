// Windows of bfloat16. Processors that do not multiply it get the same numbers, as fast as float32's.
#include "windows.h"

namespace charloom::CHARLOOM_ISA {

extern const WindowKernels<Bfloat16> bfloat16_windows;
const WindowKernels<Bfloat16> bfloat16_windows = WINDOWS<Bfloat16>;

}  // namespace charloom::CHARLOOM_ISA
