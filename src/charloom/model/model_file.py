"""The model file: one safetensors file with weights, vocabulary, architecture and provenance, all checked.

The weights are the file's tensors. Its metadata has one entry, ``charloom``: a JSON object with
``format_version``, ``architecture``, ``vocabulary`` (the characters in the order of their ids), ``facts``
(provenance: corpus, recipe, losses), ``weights`` (how they are stored) and ``tensor_sha256``; before it stand
its own SHA-256 in hexadecimal and a space. A checkpoint is such a file, too: all else that a training needs to go on
is in further tensors, their names with ``training.`` before them, and in the header's ``training``.
Nothing is executed, and nothing is trusted before it is checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from charloom.errors import CharloomError, ModelFileError, SettingsError
from charloom.model.architecture import Architecture
from charloom.model.quantization import Quantized, dequantize, quantize
from charloom.text.byte_vocabulary import make_vocabulary
from charloom.text.files import write_whole
from charloom.text.vocabulary import Vocabulary

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
"""How a model file may store its weights. Stored as int8, matrices have a float32 scale for each row beside them,
``NAME.scale``, and biases stay float32."""

_SCALE = ".scale"
_TRAINING = "training."

_WORTH_THREADS = 4 << 20  # bytes

_HEADER_LIMIT = 4 << 20  # bytes; the largest vocabulary accepted takes less than one of these four


@dataclass(frozen=True)
class SavedModel:
    """Everything a model file holds.

    Attributes:
        architecture: The sizes.
        vocabulary: The characters, V of them.
        weights: Every parameter of the architecture as float32.
        facts: Provenance as plain JSON data: corpus, recipe, step, losses.
        stored_as: How the file stores, or will store, the weights: a key of ``STORED_AS``.
        lines: Whether it was trained on lines that are texts of their own.

    Raises:
        ModelFileError: If the vocabulary has not as many characters as the architecture says.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    weights: Mapping[str, NDArray[np.float32]] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stored_as: str = "float32"
    lines: bool = False

    def __post_init__(self) -> None:
        if len(self.vocabulary) != self.architecture.vocabulary_size:
            raise ModelFileError(
                f"The vocabulary has {len(self.vocabulary)} characters, "
                f"but the architecture says {self.architecture.vocabulary_size}."
            )


@dataclass(frozen=True)
class SavedTraining:
    """What a checkpoint holds beside its model.

    Attributes:
        facts: Plain JSON data.
        tensors: Numbers, all finite.
    """

    facts: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)


def save_model(path: Path, model: SavedModel, training: SavedTraining | None = None) -> None:
    """Write a model file whole or not at all; with ``training`` it is a checkpoint.

    Raises:
        SettingsError: If ``stored_as`` is not one of ``STORED_AS``.
        ModelFileError: If a weight is missing, has another shape, or is not finite as stored.
        OSError: If the file cannot be written.
    """
    if model.stored_as not in STORED_AS:
        raise SettingsError(f"stored_as must be one of {', '.join(STORED_AS)}; got {model.stored_as!r}.")
    tensors = _stored(model.weights, model.stored_as)
    _check_tensors(tensors, model.architecture, model.stored_as)
    described = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.to_dict(),
        "vocabulary": model.vocabulary.characters,
        "facts": dict(model.facts),
        "weights": model.stored_as,
        **({"unit": model.vocabulary.unit} if model.vocabulary.unit != "char" else {}),
        **({"lines": True} if model.lines else {}),
    }
    if training is not None:
        described["training"] = dict(training.facts)
        tensors |= {_TRAINING + name: np.ascontiguousarray(value) for name, value in training.tensors.items()}
        _check_finite({name: value for name, value in tensors.items() if name.startswith(_TRAINING)})
    described["tensor_sha256"] = _digests(tensors)
    header = json.dumps(described, sort_keys=True, allow_nan=False)
    # one entry only: safetensors writes several in no fixed order, and equal models shall be equal files
    write_whole(path, safetensors_numpy.save(tensors, {"charloom": f"{_digest(header.encode())} {header}"}))


def load_model(path: Path) -> SavedModel:
    """Read a model file and verify all of it; see ``load_checkpoint``."""
    return load_checkpoint(path)[0]


def load_checkpoint(path: Path) -> tuple[SavedModel, SavedTraining | None]:
    """Read a model file, and what it holds beside the model if it is a checkpoint, and verify all of it.

    Raises:
        ModelFileError: If the file is missing, not a charloom model, or damaged; the message says which
            part does not hold.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The model file {path} cannot be read: {error.strerror or error}.") from None
    try:
        return _parse(data)
    except CharloomError as error:
        raise ModelFileError(f"{path} is not a model that charloom can use: {error}") from None


def _parse(data: bytes) -> tuple[SavedModel, SavedTraining | None]:
    header = _header(data)
    try:
        architecture = Architecture(**header["architecture"])
        vocabulary = make_vocabulary(header["vocabulary"], header.get("unit", "char"))
        stored_as, facts, digests = header["weights"], header["facts"], header["tensor_sha256"]
        training = header.get("training")
        tensors = safetensors_numpy.load(data)
    except (KeyError, TypeError, AttributeError, SafetensorError, ValueError) as error:
        raise ModelFileError(f"its header does not describe a model ({error}).") from None
    if stored_as not in STORED_AS or not isinstance(facts, dict) or not isinstance(digests, dict):
        raise ModelFileError("its header does not say in a known way how the weights are stored.")
    beside = {name for name in tensors if name.startswith(_TRAINING)} if isinstance(training, dict) else set()
    _check_tensors({name: tensors[name] for name in tensors.keys() - beside}, architecture, stored_as)
    for name, digest in _digests(tensors).items():
        if digests.get(name) != digest:
            raise ModelFileError(f"the weights {name!r} do not match their checksum; the file is damaged.")
    weights = {name: _restored(tensors, name) for name in architecture.parameter_shapes()}
    saved = SavedModel(architecture, vocabulary, weights, facts, stored_as, header.get("lines", False) is True)
    if not isinstance(training, dict):
        return saved, None
    _check_finite({name: tensors[name] for name in beside})
    return saved, SavedTraining(training, {name.removeprefix(_TRAINING): tensors[name] for name in sorted(beside)})


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ModelFileError("it is not a safetensors file, or it was cut short.")
    try:
        digest, _, text = json.loads(data[8 : 8 + length])["__metadata__"]["charloom"].partition(" ")
        if _digest(text.encode()) != digest:
            raise ModelFileError("its header does not match its checksum; the file is damaged.")
        header = json.loads(text)
        version = header["format_version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFileError("it is a safetensors file without charloom's description of a model.") from None
    if version != FORMAT_VERSION:
        raise ModelFileError(f"it has format version {version!r}; this charloom reads version {FORMAT_VERSION}.")
    return dict(header)


def _check_tensors(tensors: Mapping[str, NDArray[Any]], architecture: Architecture, stored_as: str) -> None:
    expected = _layout(architecture, stored_as)
    if tensors.keys() != expected.keys():
        wrong = sorted(tensors.keys() ^ expected.keys())
        raise ModelFileError(f"its weights are not those of its architecture: {', '.join(wrong[:5])}.")
    for name, (shape, dtype) in expected.items():
        value = tensors[name]
        if value.shape != shape or value.dtype != dtype:
            raise ModelFileError(f"the weights {name!r} are {value.dtype} {value.shape}, but must be {dtype} {shape}.")
    _check_finite(tensors, f" as {stored_as}")


def _check_finite(tensors: Mapping[str, NDArray[Any]], stored: str = "") -> None:
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise ModelFileError(f"the weights {name!r} hold a number that is NaN or infinite{stored}.")


def _layout(architecture: Architecture, stored_as: str) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape and type of every tensor of a file."""
    plain, dtype = STORED_AS["float32"], STORED_AS[stored_as]
    expected: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for name, shape in architecture.parameter_shapes().items():
        quantized = stored_as == "int8" and len(shape) == 2
        expected[name] = (shape, dtype if quantized or stored_as != "int8" else plain)
        if quantized:
            expected[name + _SCALE] = (shape[:1], plain)
    return expected


def _stored(weights: Mapping[str, NDArray[np.float32]], stored_as: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if stored_as == "int8" and value.ndim == 2:
            quantized = quantize(value)
            tensors[name], tensors[name + _SCALE] = quantized.values, quantized.scales
        else:
            dtype = STORED_AS["float32" if stored_as == "int8" else stored_as]
            with np.errstate(over="ignore"):  # what does not fit in float16 becomes infinite, and is refused by name
                tensors[name] = value.astype(dtype, order="C")
    return tensors


def _restored(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    if name + _SCALE not in tensors:
        return tensors[name].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # scales that overflow are refused where sums are checked
        return dequantize(Quantized(tensors[name], tensors[name + _SCALE]))


def _digests(tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the checksum of every tensor; where they are large, on two threads."""
    parts = [value.data for value in tensors.values()]
    if sum(part.nbytes for part in parts) < _WORTH_THREADS:
        return dict(zip(tensors, map(_digest, parts), strict=True))
    from concurrent.futures import ThreadPoolExecutor  # what reads small models need not wait for it

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(tensors, pool.map(_digest, parts), strict=True))


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
