"""A text's ids in the memory of a GPU: batches are cut there, so that only the places to read are sent to it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.training.batches.base import IdSource

_ID_BYTES = 4
_MAX_BYTES = 1 << 31  # a longer text stays in the memory of the processor, and its batches are sent one by one


class DeviceIds:
    """Ids in a device's memory, indexed like the array they were made of; the result is a tensor on the device.

    Args:
        ids: Ids of a text, (N,).
        device: The device's name.
    """

    def __init__(self, ids: Ids, device: str) -> None:
        values = np.asarray(ids[:])
        self._ids = torch.from_numpy(values.astype(np.uint8 if values.itemsize == 1 else np.int32)).to(device)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, places: slice | NDArray[np.intp]) -> Tensor:
        if isinstance(places, slice):
            return self._ids[places]
        return self._ids[torch.from_numpy(places).to(self._ids.device)]


def place_ids(ids: Ids | LineIds, device: str) -> IdSource | LineIds:
    """Return the ids of a training text in the memory from which batches are cut fastest.

    Args:
        ids: Ids of a text, (N,), or of lines, which stay where they are.
        device: Name of the device that the batches are for.
    """
    if device == "cpu" or isinstance(ids, LineIds) or len(ids) * _ID_BYTES > _MAX_BYTES:
        return ids
    return DeviceIds(ids, device)


def on_device(ids: Any, device: str) -> Tensor:
    """Return a batch's ids, an array or a tensor, as int64 on a device."""
    tensor = ids if isinstance(ids, Tensor) else torch.from_numpy(ids.astype(np.int64))
    return tensor.to(device, torch.int64)
