"""The worker process that extracts weights from HDF5 and TensorFlow files in isolation.

``python -m charloom.interop.keras.hdf5_worker SOURCE FOLDER`` writes the result to FOLDER. A damaged or hostile file
can crash the HDF5 library or exhaust memory. That ends only this process, and ``keras.reader``, which starts it,
reports an error. HDF5 files can also refer to other files or to plug-ins; such references are never followed.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from charloom._util.printable import quoted
from charloom.errors import ModelFileError
from charloom.interop.keras.reader import ERROR, INT8, METADATA, WEIGHTS

MAX_BYTES = 4 << 30
"""Maximum size of all weights read from a file, in bytes as float32."""

_MEMBERS = {"config.json": 16 << 20, "metadata.json": 1 << 20, "charloom.json": 16 << 20}
"""Members of a ``.keras`` archive that are read in addition to the weights, with their maximum sizes in bytes."""

_WEIGHTS_MEMBER = "model.weights.h5"
_BFLOAT16 = np.dtype("V2")
"""The type of bfloat16 arrays in a file: HDF5 has no such type, so Keras stores each number as two opaque bytes."""

_HINT = "In Keras, save the model with model.save('model.keras') and import that file."
_ATTRIBUTES = ("name", "layer_names", "weight_names", "model_config", "keras_version")
"""HDF5 attributes that are read. Keras splits long lists into numbered attributes."""

_MAX_ATTRIBUTE = 16 << 20  # characters
_MAX_OBJECTS = 20_000
_KNOWN_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum: built into HDF5; all other filters are plug-ins
_SKIPPED_GROUPS = ("optimizer", "optimizer_weights", "_optimizer", "metrics", "_metrics", "seed_generator")
"""Groups with training state, which the imported model does not need."""

_MARGIN = 4 << 30  # bytes of address space beyond the weights: libraries reserve a lot of it for each core


def extract(path: str, folder: str) -> None:
    """Write the weights of a file to ``folder``, or a description of the error.

    The weights are stored as safetensors, whose metadata holds everything else that was read.
    """
    try:
        tensors, metadata = _content(Path(path))
    except ModelFileError as error:
        (Path(folder) / ERROR).write_text(json.dumps(error.to_dict()), encoding="utf-8")
        return
    from safetensors.numpy import save_file

    save_file(tensors, Path(folder) / WEIGHTS, {METADATA: json.dumps(metadata)})


def _content(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    if path.is_dir() or not path.is_file():
        from charloom.interop.keras.tensorflow_checkpoint import read_checkpoint

        return read_checkpoint(path), {"format": "TensorFlow checkpoint"}
    _limit_memory(path.stat().st_size)
    try:
        if zipfile.is_zipfile(path):
            return _archive(path)
        if not h5py.is_hdf5(path):
            raise ModelFileError(f"The file is neither a .keras archive nor HDF5. {_HINT}", code="not_a_keras_file")
        with path.open("rb") as file:
            return _hdf5(file)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        raise ModelFileError(f"The file is damaged ({quoted(error)}). {_HINT}", code="damaged_keras_file") from None
    except MemoryError:
        raise ModelFileError(
            "The file is damaged: it requests more memory than its weights need.", code="damaged_keras_file"
        ) from None


def _limit_memory(size: int) -> None:
    """Limit the memory of this process, if the system supports it: a few bytes of HDF5 can request terabytes."""
    try:
        import resource
    except ImportError:
        return
    max_bytes = _MARGIN + 3 * min(MAX_BYTES, 1100 * size)  # gzip expands a byte to at most 1,032
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard), hard)
    )


def _archive(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        if _WEIGHTS_MEMBER not in archive.namelist():
            raise ModelFileError(
                f"The file is a zip archive without {_WEIGHTS_MEMBER}, so it is not a .keras file. {_HINT}",
                code="not_a_keras_file",
            )
        texts = {
            name: _member(archive, name, max_bytes)
            for name, max_bytes in _MEMBERS.items()
            if name in archive.namelist()
        }
        tensors, metadata = _hdf5(BytesIO(_member(archive, _WEIGHTS_MEMBER, MAX_BYTES)))
    members = {name: text.decode("utf-8", "strict") for name, text in texts.items()}
    return tensors, {**metadata, "format": ".keras", "members": members}


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return the contents of a member, limited in size: the size in the archive's directory may be wrong."""
    with archive.open(name) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ModelFileError(
            f"Its member {name} is larger than {max_bytes:,} bytes.", code="keras_file_too_large", maximum=max_bytes
        )
    return data


def _hdf5(file: Any) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    with h5py.File(file, "r") as opened:
        groups, datasets = _objects(opened)
        total = sum(dataset.size for _, dataset in datasets) * 4
        if total > MAX_BYTES:
            raise ModelFileError(
                f"Its weights would take {total:,} bytes; the maximum is {MAX_BYTES:,}.",
                code="keras_file_too_large",
                maximum=MAX_BYTES,
            )
        tensors = {name: _values(name, dataset) for name, dataset in datasets}
        attributes = {name: dict(_attributes(group)) for name, group in groups}
        quantized = [name for name, dataset in datasets if dataset.dtype == np.int8]
    kept = {name: found for name, found in attributes.items() if found}
    return tensors, {"format": "HDF5", "attributes": kept, INT8: quantized}


def _objects(opened: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return the groups and arrays of the file. Links to other files are not followed."""
    groups, datasets, count = [("", opened)], [], 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        count += 1
        if count > _MAX_OBJECTS:
            raise ModelFileError(
                f"It contains more than {_MAX_OBJECTS:,} groups and arrays.",
                code="keras_file_too_large",
                maximum=_MAX_OBJECTS,
            )
        if set(name.split("/")) & set(_SKIPPED_GROUPS):
            return
        if isinstance(item, h5py.Dataset):
            datasets.append((name, item))
        else:
            groups.append((name, item))

    opened.visititems(visit)
    return groups, datasets


def _values(name: str, dataset: Any) -> NDArray[np.float32]:
    """Return an array as float32, int8 weights without their scale. Refuse arrays outside the file or with plug-ins."""
    created = dataset.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if dataset.is_virtual or dataset.external or not filters <= _KNOWN_FILTERS:
        raise ModelFileError(
            f"The array {quoted(name)} is stored outside the file, or with an HDF5 plug-in. {_HINT}",
            code="unsupported_hdf5_storage",
            array=name,
        )
    kind = dataset.dtype
    known = (kind.kind == "f" and kind.itemsize <= 8) or kind in (_BFLOAT16, np.int8)
    if not known or dataset.ndim > 3 or not dataset.size:
        raise ModelFileError(
            f"The array {quoted(name)} has the type {kind} and the shape {dataset.shape}; expected a non-empty array "
            "of floating-point numbers of at most 64 bits (int8 in quantized models), with at most 3 dimensions. "
            f"{_HINT}",
            code="invalid_keras_array",
            array=name,
            type=str(kind),
        )
    if kind == _BFLOAT16:
        # a bfloat16 is the upper half of a float32; Keras writes numbers in the byte order of the machine
        upper = np.ascontiguousarray(dataset[()]).view("<u2").astype("<u4")
        return np.ascontiguousarray((upper << 16).view("<f4"), np.float32)
    with np.errstate(over="ignore"):  # values out of range become infinite, which is reported with the layer's name
        return np.ascontiguousarray(dataset[()], np.float32)


def _attributes(group: Any) -> Iterator[tuple[str, str | list[str]]]:
    """Yield the attributes of a group that are needed, as text."""
    for key in group.attrs:
        if key.rstrip("0123456789") in _ATTRIBUTES:
            value = group.attrs[key]
            text = [_text(element) for element in value] if isinstance(value, np.ndarray) else _text(value)
            if sum(map(len, text)) > _MAX_ATTRIBUTE:
                raise ModelFileError(
                    f"Its attribute {key} is longer than {_MAX_ATTRIBUTE:,} characters.",
                    code="keras_file_too_large",
                    maximum=_MAX_ATTRIBUTE,
                )
            yield key, text


def _text(value: Any) -> str:
    return value.decode("utf-8", "strict") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    extract(*sys.argv[1:])
