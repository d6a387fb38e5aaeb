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

INT8 = "int8"
"""Key under which the worker lists the names of the arrays that the file stores as int8."""

_MAX_SECONDS = 300  # enough for 4 GB from a slow disk
_MAX_DEPTH = 40  # maximum nesting of a configuration
_FLOAT8_SCALES = 3  # scales of the inputs, the kernel and the gradients of a Dense layer in Keras' float8 mode
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
        dequantized: Names of the layers whose weights the file stores as int8.
    """

    format: str
    layers: tuple[LayerWeights, ...]
    config: dict[str, Any] | None = None
    version: str | None = None
    description: dict[str, Any] | None = None
    dequantized: tuple[str, ...] = ()


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
    int8, dequantized = set(metadata.get(INT8, ())), []
    version = _object(members.get("metadata.json")).get("keras_version")
    config, description = _object(members.get("config.json")), _object(members.get("charloom.json"))
    for place in ("", "model_weights"):
        top = attributes.get(place, {})
        version = version or top.get("keras_version")
        config = config or _object(top.get("model_config"))
        if "layer_names" in top:
            listed = _as_listed(place, attributes, tensors)
            break
    else:
        listed = _as_nested(attributes, tensors)
    _check_quantization(config)
    layers = []
    for name, names in listed:
        arrays = tuple(tensors[each] for each in names)
        if not int8.isdisjoint(names):
            arrays = _dequantize(name, names[0].lower(), arrays, [each in int8 for each in names])
            dequantized.append(name)
        elif sum(array.size == 1 for array in arrays) == _FLOAT8_SCALES and len(arrays) > _FLOAT8_SCALES:
            raise _quantized(name, "float8")
        layers.append(LayerWeights(name, arrays))
    if not layers:
        raise ModelFileError(
            "The file contains no layers with weights. Save the model with model.save('model.keras').",
            code="no_keras_weights",
        )
    return KerasFile(
        str(metadata["format"]),
        tuple(layers),
        config or None,
        version if isinstance(version, str) else None,
        description or None,
        tuple(dequantized),
    )


def _check_quantization(config: Mapping[str, Any]) -> None:
    """Refuse models in a quantization mode of Keras other than int8, such as int4, float8 or gptq."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        settings = layer.get("config") if isinstance(layer, dict) else None
        policy = settings.get("dtype") if isinstance(settings, dict) else None
        details = policy.get("config") if isinstance(policy, dict) else None
        mode = details.get("mode") if isinstance(details, dict) else None
        if isinstance(mode, str) and mode != "int8":
            raise _quantized(str(settings.get("name") if isinstance(settings, dict) else None), mode)


def _quantized(layer: str, mode: str) -> ModelFileError:
    return ModelFileError(
        f"The weights of layer {quoted(layer)} are quantized ({quoted(mode)[1:-1]}); charloom reads int8 only. Save "
        "the model before model.quantize(...) and import that file.",
        code="quantized_keras_model",
        layer=layer,
        mode=mode,
        accepted=["int8"],
    )


def _dequantize(
    name: str, path: str, arrays: tuple[NDArray[np.float32], ...], int8: list[bool]
) -> tuple[NDArray[np.float32], ...]:
    """Return the weights of a layer in Keras' int8 mode as float32, without the scale.

    Keras appends one scale per row of an Embedding, or per column of a Dense kernel, and divides the integers by it.

    Args:
        name: Name of the layer.
        path: Path of the integers in the file, in lower case, which names the class of the layer.
        arrays: The integers and the bias of a Dense layer, if it has one, in any order; then the scale.
        int8: Whether the file stores each array as int8.
    """
    matrix = arrays[int8.index(True)]
    rest = [array for array, quantized in zip(arrays, int8, strict=True) if not quantized]
    scale, bias = rest[-1] if rest else matrix, rest[:-1]
    rows, columns = matrix.shape if matrix.ndim == 2 else (0, 0)
    by_row = scale.shape == (rows,) and not bias
    by_column = scale.shape == (columns,) and [each.shape for each in bias] in ([], [(columns,)])
    if by_row and by_column:  # a square matrix
        by_row, by_column = "embed" in path, "dense" in path
    if sum(int8) != 1 or not (by_row or by_column) or not scale.all():
        raise _quantized(name, "not int8 with one scale per channel")
    return (matrix / (scale[:, None] if by_row else scale), *bias)


def _object(text: str | None) -> dict[str, Any]:
    value = {} if text is None else strict_json(text, "The Keras configuration", _MAX_DEPTH)
    if not isinstance(value, dict):
        raise ModelFileError("The Keras configuration is not a JSON object.", code="invalid_keras_config")
    return value


def _as_listed(
    place: str, attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> list[tuple[str, list[str]]]:
    """Return each layer of older Keras files with the names of its tensors; the files list both."""
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
        if present := [weight for weight in names if weight in tensors]:
            layers.append((name, present))
    return layers


def _listed(attributes: Mapping[str, Any], key: str) -> list[str]:
    """Return a list attribute. Keras splits long lists into numbered attributes."""
    parts = [attributes.get(key), *(attributes.get(f"{key}{i}") for i in range(len(attributes)))]
    return [name for part in parts if isinstance(part, list) for name in part]


def _as_nested(
    attributes: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> list[tuple[str, list[str]]]:
    """Return each layer with the names of its tensors in Keras 3 files and TensorFlow checkpoints.

    They nest layers, as in ``layers/gru_1/cell/vars/0``.
    """
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
    return [
        (_name_of(group, attributes), sorted(names, key=_role))
        for group, names in sorted(groups.items(), key=lambda item: _natural(item[0]))
    ]


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
