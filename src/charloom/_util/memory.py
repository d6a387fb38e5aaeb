"""Recognize out-of-memory errors."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means out of memory; PyTorch reports that as a ``RuntimeError``."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))
