"""Read Keras files: the weights of each layer in order, and the configuration.

Read are ``.keras`` (a zip archive: a configuration and weights as HDF5), ``.weights.h5`` and older weights (no
configuration), whole models as ``.h5`` (Keras 1, 2 and 3), and TensorFlow's checkpoints. No class, function or code
that a file names is looked up: configurations are data.
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

WEIGHTS, ERROR = "weights.safetensors", "error.txt"
"""The files that the worker process leaves: the tensors, or the reason why there are none."""

METADATA = "metadata"
"""The key of the metadata of ``WEIGHTS`` under which everything else is stored that was read, as JSON."""

_MAX_SECONDS = 300  # seconds: 4 GB from a slow disk
_MAX_DEPTH = 40  # of a configuration: layers within layers
_CELL = re.compile(r"/(cell|vars)(/|$)")
_BOTH_WAYS = re.compile(r"/(forward|backward)_layer/")
_ROLES = ("embeddings", "kernel", "recurrent_kernel", "bias")  # in the order in which Keras lists a layer's weights


@dataclass(frozen=True)
class LayerWeights:
    """One layer's weights.

    Attributes:
        name: Its name in its model.
        arrays: In Keras' order.
    """

    name: str
    arrays: tuple[NDArray[np.float32], ...] = field(repr=False)


@dataclass(frozen=True)
class KerasFile:
    """What a file holds.

    Attributes:
        format: What kind of file it is, for messages.
        layers: The layers that have weights; in their order where the file tells it, else by name.
        config: The model's configuration; None where the file has none.
        version: Of Keras, as the file says.
        description: What charloom put into a file that it wrote; None in others.
    """

    format: str
    layers: tuple[LayerWeights, ...]
    config: dict[str, Any] | None = None
    version: str | None = None
    description: dict[str, Any] | None = None


def read_keras_file(path: Path) -> KerasFile:
    """Read a file of Keras, or a checkpoint of TensorFlow.

    Args:
        path: A ``.keras``, ``.h5`` or ``.weights.h5`` file; a checkpoint's prefix, index, or folder.

    Raises:
        MissingExtraError: If h5py is not installed.
        ModelFileError: If there is none, or it cannot be read.
    """
    _check_path(path)
    try:
        tensors, metadata = _read_in_worker(path)
        return _interpret(tensors, metadata)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be imported: {error}") from None


def _check_path(path: Path) -> None:
    require_extra("Reading files of Keras", "keras", "h5py")
    if not path.exists() and not Path(f"{path}.index").is_file():
        raise ModelFileError(
            f"There is no file {path}. Accepted are .keras, .h5 and .weights.h5 files, and checkpoints of TensorFlow."
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ModelFileError(f"{path} cannot be imported: it is no regular file, but a pipe or a device.")
    if (path / "saved_model.pb").is_file():
        raise ModelFileError(
            f"{path} cannot be imported: it is a SavedModel, a program of TensorFlow's. "
            "Load it in Keras and write it with model.save('model.keras')."
        )


def _read_in_worker(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read the file in a separate process, which may crash or run out of memory; see ``hdf5_worker``."""
    with TemporaryDirectory(prefix="charloom-") as folder:
        source = str(path.with_suffix("") if path.suffix == ".index" else path)
        # -P: the current folder, where the untrusted file may lie, is not searched for modules. PYTHONPATH: the same
        # charloom and libraries as here, wherever they come from.
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
            raise ModelFileError(f"it was not read within {_MAX_SECONDS} seconds; it is damaged.") from None
        if (reason := Path(folder) / ERROR).is_file():
            raise ModelFileError(reason.read_text(encoding="utf-8"))
        if done.returncode or not (Path(folder) / WEIGHTS).is_file():
            raise ModelFileError("it is damaged: what reads it broke down over it.")
        return _load_result(Path(folder) / WEIGHTS)


def _load_result(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return the tensors that the worker left, and the file's metadata."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
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
        raise ModelFileError("it holds no weights of layers. Write the model with model.save('model.keras').")
    return KerasFile(
        str(metadata["format"]),
        layers,
        config or None,
        version if isinstance(version, str) else None,
        description or None,
    )


def _object(text: str | None) -> dict[str, Any]:
    value = {} if text is None else strict_json(text, "The configuration", _MAX_DEPTH)
    if not isinstance(value, dict):
        raise ModelFileError("its configuration is no JSON object.")
    return value


def _as_listed(
    place: str, attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[LayerWeights, ...]:
    """Return layers as Keras' older files list them: by name, each with the names of its weights."""
    layers = []
    for name in _listed(attributes.get(place, {}), "layer_names"):
        group = f"{place}/{name}".lstrip("/")
        names = [f"{group}/{weight}" for weight in _listed(attributes.get(group, {}), "weight_names")]
        missing = [weight for weight in names if weight not in tensors and "seed_generator" not in weight]
        if missing:
            raise ModelFileError(f"it lacks the weights {quoted(missing[0])} of the layer {quoted(name)}.")
        arrays = tuple(tensors[weight] for weight in names if weight in tensors)
        if arrays:
            layers.append(LayerWeights(name, arrays))
    return tuple(layers)


def _listed(attributes: Mapping[str, Any], key: str) -> list[str]:
    """Return a list that Keras cuts into numbered parts where it is long."""
    parts = [attributes.get(key), *(attributes.get(f"{key}{i}") for i in range(len(attributes)))]
    return [name for part in parts if isinstance(part, list) for name in part]


def _as_nested(attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]) -> tuple[LayerWeights, ...]:
    """Return layers as Keras 3 and TensorFlow's checkpoints nest them: ``layers/gru_1/cell/vars/0``."""
    groups: dict[str, list[str]] = {}
    for name in sorted(tensors, key=_natural):
        if (both_ways := _BOTH_WAYS.search(name)) is not None:
            layer = _name_of(name[: both_ways.start()], attributes)
            raise ModelFileError(
                f"its layer {quoted(layer)} (Bidirectional) is none that charloom has: it reads backwards, too, and "
                "what is to come is not there while a text is written."
            )
        match = _CELL.search(name)
        groups.setdefault(name[: match.start()] if match else name.rpartition("/")[0], []).append(name)
    return tuple(
        LayerWeights(_name_of(group, attributes), tuple(tensors[name] for name in sorted(names, key=_role)))
        for group, names in sorted(groups.items(), key=lambda item: _natural(item[0]))
    )


def _name_of(group: str, attributes: Mapping[str, Any]) -> str:
    """Return the name of a layer, where it is told; else the last part of the group's."""
    name = attributes.get(f"{group}/vars", {}).get("name")
    return name if isinstance(name, str) else group.rpartition("/")[2]


def _role(name: str) -> tuple[int, Iterable[Any]]:
    """Order a layer's weights as Keras lists them, whether they are named or numbered."""
    last = name.rpartition("/")[2]
    return (_ROLES.index(last), ()) if last in _ROLES else (len(_ROLES), _natural(name))


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Order names as people do: ``gru`` before ``gru_1``, ``gru_2`` before ``gru_10``."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
