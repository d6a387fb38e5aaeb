"""Access to the compiled module from PyTorch: on PyTorch's threads, and on the memory of its tensors."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.native import chosen_isa, engine


def can_train() -> bool:
    """Return whether the compiled module is installed and has the functions for training."""
    return hasattr(engine, "Recurrence")


@cache
def compiled_module() -> Any:
    """Return the compiled module, configured to use PyTorch's OpenMP threads.

    PyTorch's threads busy-wait after their work and would compete with separate threads of the module. A step of the
    default recipe took 39 ms with separate threads and 27 ms with PyTorch's.
    """
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        engine.share_threads(str(library))  # type: ignore[union-attr]
    return engine


def isa_and_threads() -> tuple[str, int]:
    """Return the instruction set and the number of threads, the last arguments of the compiled functions."""
    return chosen_isa(), torch.get_num_threads()


def as_array(tensor: Tensor | None) -> NDArray[Any] | None:
    """Return a NumPy view of a tensor. NumPy has no bfloat16; the view of such a tensor is int16."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
