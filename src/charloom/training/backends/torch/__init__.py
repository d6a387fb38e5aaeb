"""The PyTorch backend, for CUDA, MPS and the CPU, with or without the compiled module."""

import os

# PyTorch loads GNU's OpenMP library, which reads this variable then. Its threads wait for each other in a loop, by
# default for some milliseconds, and a step on a machine with other work takes half as long again.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")
