"""A text's ids in the memory of a GPU: a step then sends it which places it reads, not what stands there."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds

_ID_BYTES = 4
_LARGEST = 1 << 31  # bytes: a longer text stays where it is, and its batches are sent one by one


class ResidentIds:
    """Ids on a device. Indexed as the array they are made of, it gives a tensor there.

    Args:
        ids: A text's, (N,).
        device: Where they will lie.
    """

    def __init__(self, ids: Ids, device: str) -> None:
        values = np.asarray(ids[:])
        self._ids = torch.from_numpy(values.astype(np.uint8 if values.itemsize == 1 else np.int32)).to(device)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, places: NDArray[np.intp]) -> Tensor:
        return self._ids[torch.from_numpy(places).to(self._ids.device)]


def resident(ids: Ids | LineIds, device: str) -> Ids | LineIds:
    """Return the ids of a training text as its batches are best cut from on a device.

    Args:
        ids: A text's, (N,), or those of lines, which stay as they are.
        device: Where the batches will be wanted.
    """
    if device == "cpu" or isinstance(ids, LineIds) or len(ids) * _ID_BYTES > _LARGEST:
        return ids
    return cast(Ids, ResidentIds(ids, device))


def on_device(ids: Any, device: str) -> Tensor:
    """Return a batch's ids, an array or a tensor, as int64 on a device."""
    tensor = ids if isinstance(ids, Tensor) else torch.from_numpy(ids.astype(np.int64))
    return tensor.to(device, torch.int64)
