"""Recognize that memory ran out."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory did not suffice, which PyTorch and others tell by a ``RuntimeError``."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))
