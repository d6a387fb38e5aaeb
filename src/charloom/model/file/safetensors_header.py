"""Strictly validate the header of a safetensors file before any tensor is read.

Readers of the format disagree about what it leaves open; a model file must not depend on that. Duplicate keys,
NaN, deep nesting, holes, overlaps and unknown types are refused, as is everything
that differs from ``docs/reference/format.md``.
"""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.errors import ModelFileError

MAX_HEADER = 2 << 20
"""Bytes. The largest vocabulary takes 0.9 MB of them, the names and checksums of the most tensors 0.4 MB."""

MAX_TENSORS = 1_280
"""A checkpoint of 64 layers has 1,232 tensors at most."""

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
}
"""The types of numbers that a model file may hold, by their names in safetensors."""

DESCRIPTION = "charloom"
"""The only entry of a model file's metadata."""

_METADATA = "__metadata__"


@dataclass(frozen=True)
class TensorSlot:
    """Type, shape and position of a tensor in a file.

    Attributes:
        dtype: Type of its numbers.
        shape: At most three sizes.
        begin: Offset of its first byte from the end of the header.
        end: Offset of the byte after its last.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, size: int) -> tuple[str, dict[str, TensorSlot]]:
    """Read the first bytes of a safetensors file and leave it where the tensors begin.

    Args:
        file: At its beginning.
        size: Of the whole file, in bytes.

    Returns:
        The metadata's entry ``DESCRIPTION``, and the tensors' slots in the order of the file.

    Raises:
        ModelFileError: If that is not exactly what the file holds.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= size - 8:
        raise ModelFileError("it is not a safetensors file, or it was cut short.")
    if length > MAX_HEADER:
        raise ModelFileError(f"its header is {length:,} bytes long; at most {MAX_HEADER:,} are read.")
    data = file.read(length)
    if len(data) != length or data[:1] != b"{" or data.rstrip(b" ")[-1:] != b"}":
        raise ModelFileError("it is not a safetensors file, or it was cut short.")
    try:
        header = strict_json(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ModelFileError("its header is not UTF-8.") from None
    metadata = header.pop(_METADATA, None)
    if not isinstance(metadata, dict) or metadata.keys() != {DESCRIPTION} or not isinstance(metadata[DESCRIPTION], str):
        raise ModelFileError("it is a safetensors file without charloom's description of a model.")
    return metadata[DESCRIPTION], _slots(header, size - 8 - length)


def _slots(header: dict[str, Any], length: int) -> dict[str, TensorSlot]:
    """Return the slots of all tensors, which must fill the file's last ``length`` bytes without gaps or overlaps."""
    if len(header) > MAX_TENSORS:
        raise ModelFileError(f"it holds {len(header):,} tensors; at most {MAX_TENSORS:,} are read.")
    slots = {name: _slot(name, entry) for name, entry in header.items()}
    ordered = dict(sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)))
    end = 0
    for name, slot in ordered.items():
        if slot.begin != end:
            raise ModelFileError(f"the tensor {quoted(name)} does not begin where the one before it ends.")
        end = slot.end
    if end != length:
        raise ModelFileError(f"its tensors need {end:,} bytes, but {length:,} follow its header.")
    return ordered


def _slot(name: str, entry: Any) -> TensorSlot:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"the tensor {quoted(name)} is not described as tensors are.")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise ModelFileError(f"the tensor {quoted(name)} is of the type {quoted(kind)}, which is not read.")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(shape) > 3 or len(offsets) != 2:
        raise ModelFileError(f"the tensor {quoted(name)} has no shape or place that can be.")
    begin, end = offsets
    if end - begin != dtype.itemsize * math.prod(shape):
        raise ModelFileError(f"the tensor {quoted(name)} has another length than its shape says.")
    return TensorSlot(dtype, tuple(shape), begin, end)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
