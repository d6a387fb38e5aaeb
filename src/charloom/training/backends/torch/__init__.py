"""The PyTorch backend: CUDA, MPS, and the CPU with or without the compiled module."""
