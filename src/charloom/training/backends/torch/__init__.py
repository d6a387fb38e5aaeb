"""The PyTorch backend, for CUDA, MPS and the CPU, with or without the compiled module."""
