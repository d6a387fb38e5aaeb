"""Read Keras files: the weights of each layer in order, and the configuration.

Supported are ``.keras`` (a zip archive with a configuration and HDF5 weights), ``.h5`` whole models of Keras 1, 2 and
3, ``.weights.h5`` and older weight files (no configuration), and TensorFlow checkpoints. A configuration is treated as
data: classes and functions that it names are never imported or run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.extras import require_extra
from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.errors import ModelFileError

WEIGHTS, ERROR = "weights.safetensors", "error.json"
"""The files that the worker process writes: the tensors, or a description of the error."""

METADATA = "metadata"
"""Key in the metadata of ``WEIGHTS`` under which the worker stores everything else that it read, as JSON."""

_MAX_SECONDS = 300  # enough for 4 GB from a slow disk
_MAX_DEPTH = 40  # maximum nesting of a configuration
_CELL = re.compile(r"/(cell|vars)(/|$)")
_BOTH_WAYS = re.compile(r"/(forward|backward)_layer/")
_ROLES = ("embeddings", "kernel", "recurrent_kernel", "bias")  # in the order in which Keras lists a layer's weights


@dataclass(frozen=True)
class LayerWeights:
    """One layer's weights.

    Attributes:
        name: Name of the layer.
        arrays: The weights in Keras' order.
    """

    name: str
    arrays: tuple[NDArray[np.float32], ...] = field(repr=False)


@dataclass(frozen=True)
class KerasFile:
    """The contents of a Keras file.

    Attributes:
        format: The kind of file, for messages.
        layers: The layers with weights, in the model's order if the file records it, otherwise sorted by name.
        config: The model's configuration; None if the file has none.
        version: The version of Keras that wrote the file, if recorded.
        description: The metadata that charloom stores in the files it writes; None for other files.
    """

    format: str
    layers: tuple[LayerWeights, ...]
    config: dict[str, Any] | None = None
    version: str | None = None
    description: dict[str, Any] | None = None


def read_keras_file(path: Path) -> KerasFile:
    """Read a Keras file or a TensorFlow checkpoint.

    Args:
        path: A ``.keras``, ``.h5`` or ``.weights.h5`` file, or a checkpoint's prefix, index file or folder.

    Raises:
        MissingExtraError: If h5py is not installed.
        ModelFileError: If the file does not exist or cannot be read.
    """
    _check_path(path)
    try:
        tensors, metadata = _read_in_worker(path)
        return _interpret(tensors, metadata)
    except ModelFileError as error:
        raise error.prefixed(f"Cannot import {path}: ") from None


def _check_path(path: Path) -> None:
    require_extra("Reading Keras files", "keras", "h5py")
    if not path.exists() and not Path(f"{path}.index").is_file():
        raise ModelFileError(
            f"{path} does not exist. Pass a .keras, .h5 or .weights.h5 file, or a TensorFlow checkpoint.",
            code="model_not_found",
            path=str(path),
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ModelFileError(
            f"Cannot import {path}: it is not a regular file but a pipe or a device.",
            code="not_a_regular_file",
            path=str(path),
        )
    if (path / "saved_model.pb").is_file():
        raise ModelFileError(
            f"Cannot import {path}: it is a SavedModel, which contains code. Load it in Keras and save it with "
            "model.save('model.keras').",
            code="unsupported_saved_model",
            path=str(path),
        )


def _read_in_worker(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read the file in a separate process, which a damaged file may crash; see ``hdf5_worker``."""
    with TemporaryDirectory(prefix="charloom-") as folder:
        source = str(path.with_suffix("") if path.suffix == ".index" else path)
        # -P keeps Python from importing modules from the current folder, which may contain untrusted files.
        # PYTHONPATH makes the worker use the same charloom and libraries as this process.
        command = [sys.executable, "-P", "-m", "charloom.interop.keras.hdf5_worker", source, folder]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                timeout=_MAX_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelFileError(
                f"The file is damaged: reading it took more than {_MAX_SECONDS} seconds.",
                code="damaged_keras_file",
                seconds=_MAX_SECONDS,
            ) from None
        if (description := Path(folder) / ERROR).is_file():
            error = json.loads(description.read_text(encoding="utf-8"))
            raise ModelFileError(error.pop("message"), **error)
        if done.returncode or not (Path(folder) / WEIGHTS).is_file():
            raise ModelFileError("The file is damaged: the process that read it crashed.", code="damaged_keras_file")
        return _load_result(Path(folder) / WEIGHTS)


def _load_result(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return the tensors that the worker wrote, and the file's metadata."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is not a dict
        return tensors, json.loads(file.metadata()[METADATA])


def _interpret(tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, Any]) -> KerasFile:
    attributes, members = metadata.get("attributes", {}), metadata.get("members", {})
    version = _object(members.get("metadata.json")).get("keras_version")
    config, description = _object(members.get("config.json")), _object(members.get("charloom.json"))
    for place in ("", "model_weights"):
        top = attributes.get(place, {})
        version = version or top.get("keras_version")
        config = config or _object(top.get("model_config"))
        if "layer_names" in top:
            layers = _as_listed(place, attributes, tensors)
            break
    else:
        layers = _as_nested(attributes, tensors)
    if not layers:
        raise ModelFileError(
            "The file contains no layers with weights. Save the model with model.save('model.keras').",
            code="no_keras_weights",
        )
    return KerasFile(
        str(metadata["format"]),
        layers,
        config or None,
        version if isinstance(version, str) else None,
        description or None,
    )


def _object(text: str | None) -> dict[str, Any]:
    value = {} if text is None else strict_json(text, "The Keras configuration", _MAX_DEPTH)
    if not isinstance(value, dict):
        raise ModelFileError("The Keras configuration is not a JSON object.", code="invalid_keras_config")
    return value


def _as_listed(
    place: str, attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[LayerWeights, ...]:
    """Return the layers of older Keras files, which list layer names and, for each layer, weight names."""
    layers = []
    for name in _listed(attributes.get(place, {}), "layer_names"):
        group = f"{place}/{name}".lstrip("/")
        names = [f"{group}/{weight}" for weight in _listed(attributes.get(group, {}), "weight_names")]
        missing = [weight for weight in names if weight not in tensors and "seed_generator" not in weight]
        if missing:
            raise ModelFileError(
                f"The weights {quoted(missing[0])} of layer {quoted(name)} are missing.",
                code="damaged_keras_file",
                layer=name,
            )
        arrays = tuple(tensors[weight] for weight in names if weight in tensors)
        if arrays:
            layers.append(LayerWeights(name, arrays))
    return tuple(layers)


def _listed(attributes: Mapping[str, Any], key: str) -> list[str]:
    """Return a list attribute. Keras splits long lists into numbered attributes."""
    parts = [attributes.get(key), *(attributes.get(f"{key}{i}") for i in range(len(attributes)))]
    return [name for part in parts if isinstance(part, list) for name in part]


def _as_nested(attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]) -> tuple[LayerWeights, ...]:
    """Return the layers of Keras 3 files and TensorFlow checkpoints, which nest them: ``layers/gru_1/cell/vars/0``."""
    groups: dict[str, list[str]] = {}
    for name in sorted(tensors, key=_natural):
        if (both_ways := _BOTH_WAYS.search(name)) is not None:
            layer = _name_of(name[: both_ways.start()], attributes)
            raise ModelFileError(
                f"Unsupported layer {quoted(layer)} (Bidirectional): it also reads backward, but during generation the "
                "following text does not exist yet.",
                code="unsupported_layer",
                layer=layer,
                kind="Bidirectional",
            )
        match = _CELL.search(name)
        groups.setdefault(name[: match.start()] if match else name.rpartition("/")[0], []).append(name)
    return tuple(
        LayerWeights(_name_of(group, attributes), tuple(tensors[name] for name in sorted(names, key=_role)))
        for group, names in sorted(groups.items(), key=lambda item: _natural(item[0]))
    )


def _name_of(group: str, attributes: Mapping[str, Any]) -> str:
    """Return the name of a layer if the file records it, otherwise the last part of the group's path."""
    name = attributes.get(f"{group}/vars", {}).get("name")
    return name if isinstance(name, str) else group.rpartition("/")[2]


def _role(name: str) -> tuple[int, Iterable[Any]]:
    """Return a sort key that orders a layer's weights as Keras does, whether they are named or numbered."""
    last = name.rpartition("/")[2]
    return (_ROLES.index(last), ()) if last in _ROLES else (len(_ROLES), _natural(name))


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key for natural sorting: ``gru`` before ``gru_1``, ``gru_2`` before ``gru_10``."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
