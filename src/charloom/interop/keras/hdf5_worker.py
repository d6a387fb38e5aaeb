"""The worker process that extracts weights from HDF5 and TensorFlow files in isolation.

``python -m charloom.interop.keras.hdf5_worker SOURCE FOLDER`` writes the result to FOLDER. A damaged or hostile file
can crash the library that reads it, or make it ask for any amount of memory: that ends one small process, and
``keras.reader``, which starts it, reports it. HDF5 can also point outside a file, to other files or to plug-ins that
it would load: none of that is followed.
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
from charloom.interop.keras.reader import ERROR, METADATA, WEIGHTS

MAX_BYTES = 4 << 30
"""Of all weights that are read from a file."""

_MEMBERS = {"config.json": 16 << 20, "metadata.json": 1 << 20, "charloom.json": 16 << 20}
"""What is read of a ``.keras`` file in addition to its weights, and how many bytes at most."""

_WEIGHTS_MEMBER = "model.weights.h5"
_AGAIN = "In Keras write the model with model.save('model.keras'), and import that."
_KEPT = ("name", "layer_names", "weight_names", "model_config", "keras_version")  # attributes; long lists are numbered
_MAX_ATTRIBUTE = 16 << 20  # characters
_MAX_OBJECTS = 20_000
_KNOWN_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum: built in, where others are plug-ins
_SKIPPED_GROUPS = ("optimizer", "optimizer_weights", "_optimizer", "metrics", "_metrics", "seed_generator")
"""Groups of a training's numbers, which are no part of what a model says."""

_MARGIN = 4 << 30  # bytes of address space in addition to the weights: libraries reserve much of it for every core


def extract(path: str, folder: str) -> None:
    """Write the weights of a file to ``folder``, as safetensors with all else in the metadata, or an error message."""
    try:
        tensors, metadata = _content(Path(path))
    except ModelFileError as error:
        (Path(folder) / ERROR).write_text(str(error), encoding="utf-8")
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
            raise ModelFileError(f"it is neither a .keras archive nor HDF5. {_AGAIN}")
        with path.open("rb") as file:
            return _hdf5(file)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        raise ModelFileError(f"it is damaged ({quoted(error)}). {_AGAIN}") from None
    except MemoryError:
        raise ModelFileError("it asks for more memory than its weights can need.") from None


def _limit_memory(size: int) -> None:
    """Bound this process where the system can: a few bytes of HDF5 can ask for terabytes."""
    try:
        import resource
    except ImportError:
        return
    max_bytes = _MARGIN + 3 * min(MAX_BYTES, 1100 * size)  # gzip makes at most 1,032 bytes of one
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard), hard)
    )


def _archive(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        if _WEIGHTS_MEMBER not in archive.namelist():
            raise ModelFileError(f"it is a zip archive without {_WEIGHTS_MEMBER}, which every .keras file holds.")
        texts = {
            name: _member(archive, name, max_bytes)
            for name, max_bytes in _MEMBERS.items()
            if name in archive.namelist()
        }
        tensors, metadata = _hdf5(BytesIO(_member(archive, _WEIGHTS_MEMBER, MAX_BYTES)))
    members = {name: text.decode("utf-8", "strict") for name, text in texts.items()}
    return tensors, {**metadata, "format": ".keras", "members": members}


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return what a member holds, of which its directory may lie."""
    with archive.open(name) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ModelFileError(f"its {name} is longer than {max_bytes:,} bytes.")
    return data


def _hdf5(file: Any) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    with h5py.File(file, "r") as opened:
        groups, datasets = _objects(opened)
        total = sum(dataset.size for _, dataset in datasets) * 4
        if total > MAX_BYTES:
            raise ModelFileError(f"its weights would take {total:,} bytes; at most {MAX_BYTES:,} are read.")
        tensors = {name: _values(name, dataset) for name, dataset in datasets}
        attributes = {name: dict(_attributes(group)) for name, group in groups}
    return tensors, {"format": "HDF5", "attributes": {name: kept for name, kept in attributes.items() if kept}}


def _objects(opened: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return groups and arrays that lie in the file itself: links that lead elsewhere are not followed."""
    groups, datasets, count = [("", opened)], [], 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        count += 1
        if count > _MAX_OBJECTS:
            raise ModelFileError(f"it holds more than {_MAX_OBJECTS:,} groups and arrays.")
        if set(name.split("/")) & set(_SKIPPED_GROUPS):
            return
        if isinstance(item, h5py.Dataset):
            datasets.append((name, item))
        else:
            groups.append((name, item))

    opened.visititems(visit)
    return groups, datasets


def _values(name: str, dataset: Any) -> NDArray[np.float32]:
    """Return an array as float32; not one whose numbers lie outside the file, or behind a plug-in."""
    created = dataset.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if dataset.is_virtual or dataset.external or not filters <= _KNOWN_FILTERS:
        raise ModelFileError(f"the numbers of {quoted(name)} do not lie in the file itself, or in a form of their own.")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8 or dataset.ndim > 3 or not dataset.size:
        raise ModelFileError(
            f"{quoted(name)} holds {dataset.dtype} {dataset.shape}: weights are arrays of floating-point numbers."
        )
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused by name
        return np.ascontiguousarray(dataset[()], np.float32)


def _attributes(group: Any) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what is kept of a group's attributes, as text."""
    for key in group.attrs:
        if key.rstrip("0123456789") in _KEPT:
            value = group.attrs[key]
            text = [_text(one) for one in value] if isinstance(value, np.ndarray) else _text(value)
            if sum(map(len, text)) > _MAX_ATTRIBUTE:
                raise ModelFileError(f"its {key} is longer than {_MAX_ATTRIBUTE:,} characters.")
            yield key, text


def _text(value: Any) -> str:
    return value.decode("utf-8", "strict") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    extract(*sys.argv[1:])
