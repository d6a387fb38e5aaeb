"""Strict validation of a safetensors header, before any tensor is read.

Implementations of safetensors differ in what they accept, so charloom rejects everything that
``docs/reference/format.md`` does not allow: duplicate keys, NaN, deep nesting, gaps, overlaps and unknown types.
"""

import codecs
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from charloom._util.printable import quoted, shortened
from charloom._util.strict_json import strict_json
from charloom.errors import ModelFileError

MAX_HEADER = 2 << 20
"""Maximum header size in bytes.

The largest vocabulary takes 0.9 MB, and the names and checksums of the maximum number of tensors take 0.4 MB.
"""

MAX_TENSORS = 1_280
"""Maximum number of tensors; a checkpoint with 64 layers has at most 1,232."""

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
}
"""Supported tensor types by their names in safetensors."""

DESCRIPTION = "charloom"
"""Key of the only entry of a model file's metadata."""

_SEARCHED = 4096  # bytes that are searched for text if a file is no model
_METADATA = "__metadata__"


@dataclass(frozen=True)
class TensorSlot:
    """Type, shape and position of a tensor in a file.

    Attributes:
        dtype: Type of the tensor.
        shape: Shape of the tensor, with at most three dimensions.
        begin: Offset of the first byte, relative to the end of the header.
        end: Offset after the last byte, relative to the end of the header.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, size: int) -> tuple[str, dict[str, TensorSlot]]:
    """Read and validate the header of a safetensors file.

    Args:
        file: The file, at its start; afterwards it is at the first tensor.
        size: Size of the whole file in bytes.

    Returns:
        The metadata entry ``DESCRIPTION``, and the slots of the tensors in file order.

    Raises:
        ModelFileError: If the header is invalid or does not fit the size of the file.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= size - 8:
        file.seek(0)
        raise _not_safetensors_error(_is_text(file.read(_SEARCHED)))
    if length > MAX_HEADER:
        raise ModelFileError(
            f"The header is {length:,} bytes long; the maximum is {MAX_HEADER:,}.",
            code="header_too_large",
            bytes=length,
            maximum=MAX_HEADER,
        )
    data = file.read(length)
    if len(data) != length or data[:1] != b"{" or data.rstrip(b" ")[-1:] != b"}":
        raise _not_safetensors_error()
    try:
        header = strict_json(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ModelFileError("The header is not valid UTF-8.", code="header_not_utf8") from None
    metadata = header.pop(_METADATA, None)
    if not isinstance(metadata, dict) or metadata.keys() != {DESCRIPTION} or not isinstance(metadata[DESCRIPTION], str):
        raise ModelFileError(
            "The safetensors file is not a charloom model: its metadata must have exactly one entry, 'charloom'.",
            code="not_a_charloom_model",
        )
    return metadata[DESCRIPTION], _parse_slots(header, size - 8 - length)


def _parse_slots(header: dict[str, Any], length: int) -> dict[str, TensorSlot]:
    """Validate the entries of all tensors, which must fill the last ``length`` bytes without gaps or overlaps."""
    if len(header) > MAX_TENSORS:
        raise ModelFileError(
            f"The file contains {len(header):,} tensors; the maximum is {MAX_TENSORS:,}.",
            code="too_many_tensors",
            count=len(header),
            maximum=MAX_TENSORS,
        )
    slots = {name: _parse_slot(name, entry) for name, entry in header.items()}
    ordered = dict(sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)))
    end = 0
    for name, slot in ordered.items():
        if slot.begin != end:
            raise ModelFileError(
                f"The tensor {quoted(name)} does not begin where the preceding tensor ends.",
                code="tensors_not_contiguous",
                tensor=shortened(name),
            )
        end = slot.end
    if end != length:
        raise ModelFileError(
            f"The tensors occupy {end:,} bytes, but the header is followed by {length:,} bytes.",
            code="file_size_mismatch",
            expected_bytes=end,
            bytes=length,
        )
    return ordered


def _parse_slot(name: str, entry: Any) -> TensorSlot:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(
            f"The header entry of the tensor {quoted(name)} must have exactly the keys dtype, shape and data_offsets.",
            code="invalid_tensor_entry",
            tensor=shortened(name),
        )
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise ModelFileError(
            f"The tensor {quoted(name)} has the unsupported type {quoted(kind)} (supported: {', '.join(DTYPES)}).",
            code="unsupported_tensor_type",
            tensor=shortened(name),
            dtype=shortened(kind),
            accepted=list(DTYPES),
        )
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(shape) > 3 or len(offsets) != 2:
        raise ModelFileError(
            f"The tensor {quoted(name)} has an invalid shape or invalid offsets.",
            code="invalid_tensor_shape",
            tensor=shortened(name),
        )
    begin, end = offsets
    if end - begin != dtype.itemsize * math.prod(shape):
        raise ModelFileError(
            f"The tensor {quoted(name)} has offsets that do not fit its shape.",
            code="tensor_size_mismatch",
            tensor=shortened(name),
        )
    return TensorSlot(dtype, tuple(shape), begin, end)


def _not_safetensors_error(is_text: bool = False) -> ModelFileError:
    if is_text:
        return ModelFileError(
            "The file is a text, not a model. Pass a run folder or a model file of charloom.",
            code="not_safetensors",
            is_text=True,
        )
    return ModelFileError(
        "The file is not in safetensors format, or it is truncated. Pass a run folder or a model file of charloom.",
        code="not_safetensors",
        is_text=False,
    )


def _is_text(beginning: bytes) -> bool:
    """Return whether the beginning of a file is readable text in UTF-8."""
    try:
        # the last character may be incomplete; a built-in codec, so that no file causes an import
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning.removeprefix(codecs.BOM_UTF8))
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
