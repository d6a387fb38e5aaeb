"""The compiled module as PyTorch uses it: on PyTorch's threads and in its tensors' memory."""

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
    """Return the compiled module, made to use the threads that PyTorch has started.

    After their work those threads wait for more without sleeping, so that other threads would get half of each core: a
    step of the default recipe took 39 ms with the module's own threads and 27 ms with PyTorch's.
    """
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        engine.share_threads(str(library))  # type: ignore[union-attr]
    return engine


def isa_and_threads() -> tuple[str, int]:
    """Return the last arguments of the compiled functions: the instruction set and the number of threads."""
    return chosen_isa(), torch.get_num_threads()


def as_array(tensor: Tensor | None) -> NDArray[Any] | None:
    """Return a view of a tensor's memory; NumPy has no bfloat16, so such a tensor's bits are viewed as int16."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
