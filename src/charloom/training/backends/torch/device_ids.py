"""The ids of a training text in GPU memory. Batches are cut there; only the positions to read are sent to the GPU."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.training.batches.base import IdSource

_ID_BYTES = 4
_MAX_BYTES = 1 << 31  # longer texts stay in CPU memory, and their batches are sent to the GPU one by one


class DeviceIds:
    """Ids in the memory of a device. Indexing works as with an array and returns a tensor on the device.

    Args:
        ids: Ids of a text, (N,).
        device: Name of the device.
    """

    def __init__(self, ids: Ids, device: str) -> None:
        values = np.asarray(ids[:])
        self._ids = torch.from_numpy(values.astype(np.uint8 if values.itemsize == 1 else np.int32)).to(device)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, positions: slice | NDArray[np.intp]) -> Tensor:
        if isinstance(positions, slice):
            return self._ids[positions]
        return self._ids[torch.from_numpy(positions).to(self._ids.device)]


def place_ids(ids: Ids | RecordIds, device: str) -> IdSource | RecordIds:
    """Return the ids of a training text in the memory from which batches are cut fastest.

    Args:
        ids: Ids of a text, (N,), or of lines, which are returned unchanged.
        device: Name of the device on which batches are used.
    """
    if device == "cpu" or isinstance(ids, RecordIds) or len(ids) * _ID_BYTES > _MAX_BYTES:
        return ids
    return DeviceIds(ids, device)


def on_device(ids: Any, device: str) -> Tensor:
    """Convert ids, an array or a tensor, to an int64 tensor on a device."""
    tensor = ids if isinstance(ids, Tensor) else torch.from_numpy(ids.astype(np.int64))
    return tensor.to(device, torch.int64)
