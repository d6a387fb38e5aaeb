"""The compiled module, as training uses it: on PyTorch's threads and in its tensors' memory."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.native import chosen_isa, engine


def can_train(tensor: Tensor) -> bool:
    """Return whether the compiled module is there and computes with tensors like this one."""
    return hasattr(engine, "Recurrence") and tensor.device.type == "cpu" and tensor.dtype == torch.float32


@cache
def module() -> Any:
    """Return the compiled module, made to use the threads that PyTorch has started.

    After their work those threads wait for more without sleeping, so that threads beside them would get half of each
    core: a step of the default recipe took 39 ms with threads of its own and 27 ms with PyTorch's.
    """
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        engine.share_threads(str(library))  # type: ignore[union-attr]
    return engine


def division() -> tuple[str, int]:
    """Return the last arguments of the compiled functions: the instruction set and the number of threads."""
    return chosen_isa(), torch.get_num_threads()


def array(tensor: Tensor | None) -> NDArray[Any] | None:
    """Return a tensor's own memory as an array; NumPy has no bfloat16, so that the array is of their bits."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
