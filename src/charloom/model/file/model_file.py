"""Read and write the model file: a safetensors file with weights, vocabulary, architecture and provenance.

The weights are the tensors of the file. The metadata has one entry, ``charloom``: the SHA-256 of the description, a
space, and the description. The description is a JSON object with ``format_version``, ``architecture``, ``vocabulary``
(the characters in the order of their ids), ``facts`` (provenance: corpus, recipe, losses), ``weights`` (their type) and
``tensor_sha256``. A checkpoint has the additional section ``training``, which ``charloom.training.checkpoint`` defines:
an entry ``training`` of the description, and tensors whose names begin with ``training.``.

``docs/reference/format.md`` specifies the format. Reading a file executes nothing, and the header is validated
completely before any tensor is read.
"""

import hashlib
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.atomic_io import write_atomically
from charloom._util.printable import printable
from charloom.data.text_format import PLAIN_RULES, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CharloomError, ModelFileError, SettingsError
from charloom.model.architecture import Architecture
from charloom.model.file.safetensors_header import DESCRIPTION, TensorSlot
from charloom.model.file.schema import (
    FORMAT_VERSION,
    SCALE,
    SECTION_PREFIX,
    STORED_AS,
    ModelHeader,
    bits_per_char,
    check_model_tensors,
    check_vocabulary_size,
    read_model_header,
    signed,
)
from charloom.model.quantization import MAX_INT8, Quantized, dequantize, quantize

SUFFIX = ".safetensors"

_MIN_BYTES_FOR_THREADS = 4 << 20  # bytes of tensors above which two threads compute the checksums
_MAX_SCALE = float(np.finfo(np.float32).max) / (MAX_INT8 + 1)  # larger scales overflow float32


@dataclass(frozen=True)
class SavedModel:
    """The content of a model file.

    Attributes:
        architecture: The architecture of the model.
        vocabulary: The vocabulary, with V characters.
        weights: All parameters of the architecture as float32 arrays, by name.
        facts: Provenance as JSON data: corpus, recipe, step, losses.
        stored_as: Type of the weights in the file, a key of ``STORED_AS``.
        rules: How the model expects its texts.

    Raises:
        ModelFileError: If the size of the vocabulary is not the ``vocabulary_size`` of the architecture.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    weights: Mapping[str, NDArray[np.float32]] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stored_as: str = "float32"
    rules: TextRules = PLAIN_RULES

    def __post_init__(self) -> None:
        check_vocabulary_size(self.vocabulary, self.architecture.vocabulary_size)

    def described(self) -> dict[str, Any]:
        """Return the properties that a list of models shows, as JSON data."""
        return {
            "characters": len(self.vocabulary),
            "unit": self.vocabulary.unit,
            "parameters": self.architecture.num_parameters,
            "bits_per_char": bits_per_char(self.facts),
            "vocabulary": self.vocabulary.characters,
            "corpus": self.facts.get("corpus"),
            **self._described_records(),
        }

    def _described_records(self) -> dict[str, Any]:
        if self.rules.records is None:
            return {}
        return {"records": self.rules.records, "labels": list(self.rules.labels)}

    def content_digest(self, context: bytes = b"") -> str:
        """Return the SHA-256 of the vocabulary and of the weights in the order of their names, in hexadecimal.

        Args:
            context: Additional bytes to hash first, such as settings.
        """
        digest = hashlib.sha256(context)
        digest.update(self.vocabulary.characters.encode("utf-8", "surrogatepass"))
        for name in sorted(self.weights):
            digest.update(np.ascontiguousarray(self.weights[name]).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Section:
    """The section ``training`` of a checkpoint; see ``charloom.model.file.schema``.

    Attributes:
        facts: JSON data.
        tensors: Finite arrays, by name without prefix.
    """

    facts: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)


def save_model(path: Path, model: SavedModel, section: Section | None = None) -> None:
    """Write a model file atomically.

    Args:
        path: The file to write.
        model: The model.
        section: The section ``training`` of a checkpoint, or None.

    Raises:
        SettingsError: See ``model_bytes``.
        ModelFileError: See ``model_bytes``.
        OSError: If the file cannot be written.
    """
    write_atomically(path, model_bytes(model, section))


def model_bytes(model: SavedModel, section: Section | None = None) -> bytes:
    """Return the content of a model file; equal models give equal bytes. For the arguments see ``save_model``.

    Raises:
        SettingsError: If ``stored_as`` is not one of ``STORED_AS``.
        ModelFileError: If a weight is missing, has a wrong shape, or is not finite in the stored type, or if reading
            the file would fail for another reason.
    """
    from safetensors import numpy as safetensors_numpy  # imported here because reading models does not need it

    if model.stored_as not in STORED_AS:
        raise SettingsError(
            f"stored_as must be one of {', '.join(STORED_AS)}, got {model.stored_as!r}.",
            code="invalid_setting",
            name="stored_as",
            value=model.stored_as,
            accepted=list(STORED_AS),
        )
    tensors = _to_stored(model.weights, model.stored_as)
    check_model_tensors(tensors, model.architecture, model.stored_as)
    description = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.to_dict(),
        "vocabulary": model.vocabulary.characters,
        "facts": dict(model.facts),
        "weights": model.stored_as,
        **({"unit": model.vocabulary.unit} if model.vocabulary.unit != "char" else {}),
        **model.rules.to_dict(),
    }
    if section is not None:
        description["training"] = dict(section.facts)
        tensors |= {SECTION_PREFIX + name: np.ascontiguousarray(value) for name, value in section.tensors.items()}
    _check_values(tensors, model.stored_as)
    description["tensor_sha256"] = _digests(tensors)
    # one entry only: safetensors writes several in varying order, but equal models must give equal files
    data: bytes = safetensors_numpy.save(tensors, {DESCRIPTION: signed(description)})
    read_model_header(BytesIO(data), len(data))  # never write a file that readers reject
    return data


def load_model(path: Path) -> SavedModel:
    """Read and verify a model file; see ``load_with_section``."""
    return load_with_section(path)[0]


def load_with_section(path: Path) -> tuple[SavedModel, Section | None]:
    """Read and verify a model file, including the section ``training`` of a checkpoint.

    Args:
        path: The file.

    Returns:
        The model, and the section or None.

    Raises:
        ModelFileError: If the file is missing, not a regular file, not a charloom model, damaged, or larger than the
            memory of this machine; the message states the invalid part.
    """
    with _with_file_name(path), _open_regular_file(path) as file:
        return _parse(file, os.fstat(file.fileno()).st_size)


def read_with_section(data: bytes, name: str) -> tuple[SavedModel, Section | None]:
    """Parse and verify the content of a model file; see ``load_with_section``.

    Args:
        data: The content of the file.
        name: The file's name in error messages.

    Raises:
        ModelFileError: See ``load_with_section``.
    """
    with _with_file_name(name):
        return _parse(BytesIO(data), len(data))


@contextmanager
def _with_file_name(name: str | Path) -> Iterator[None]:
    """Convert all errors of reading a file to ``ModelFileError`` with the name of the file."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ModelFileError(
            f"Cannot read the model file {name}: {reason}.", code="unreadable_file", path=str(name), reason=reason
        ) from None
    except MemoryError:
        raise ModelFileError(
            f"Cannot load the model {name}. It is too large for the memory of this machine.",
            code="model_too_large",
            path=str(name),
        ) from None
    except CharloomError as error:
        data = {"path": str(name), **error.data}
        train = f" To make a model of it: charloom train {shlex.quote(str(name))}" if data.get("is_text") else ""
        raise ModelFileError(
            f"Cannot load the model {name}. {printable(str(error))}{train}", code=error.code, **data
        ) from None


def _open_regular_file(path: Path) -> BufferedReader:
    """Open a regular file for reading; raise ``ModelFileError`` for other files, without waiting for pipes."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # the path contains a NUL character
        raise ModelFileError(f"The path is invalid: {error}.", code="invalid_path") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelFileError(
                "The path is a folder, a pipe or a device, not a regular file.", code="not_a_regular_file"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _parse(file: BufferedReader | BytesIO, size: int) -> tuple[SavedModel, Section | None]:
    header = read_model_header(file, size)
    _check_memory(header)
    tensors = {name: _read_tensor(file, name, slot) for name, slot in header.slots.items()}
    _check_values(tensors, header.stored_as)
    for name, digest in _digests(tensors).items():
        if header.digests[name] != digest:
            raise ModelFileError(
                f"The tensor {name!r} does not match its checksum. The file is damaged.",
                code="checksum_mismatch",
                part=name,
            )
    weights = {name: _from_stored(tensors, name) for name in header.architecture.parameter_shapes()}
    model = SavedModel(header.architecture, header.vocabulary, weights, header.facts, header.stored_as, header.rules)
    if header.section is None:
        return model, None
    names = [name for name in sorted(tensors) if name.startswith(SECTION_PREFIX)]
    return model, Section(header.section, {name.removeprefix(SECTION_PREFIX): tensors[name] for name in names})


def _check_memory(header: ModelHeader) -> None:
    """Raise ``ModelFileError`` if a model is larger than the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # this system does not report its memory
        return
    needed = max(4 * header.architecture.num_parameters, *(slot.end for slot in header.slots.values()))
    if needed > memory:
        raise ModelFileError(
            f"It requires {needed / 1e9:,.1f} GB of memory, but this machine has {memory / 1e9:,.1f} GB.",
            code="model_too_large",
            required_bytes=needed,
            available_bytes=memory,
        )


def _read_tensor(file: BufferedReader | BytesIO, name: str, slot: TensorSlot) -> NDArray[Any]:
    value = np.empty(slot.shape, slot.dtype)
    if value.nbytes and file.readinto(value.reshape(-1).view(np.uint8).data) != value.nbytes:
        raise ModelFileError(
            f"The tensor {name!r} is incomplete. The file was truncated while it was read.",
            code="truncated_while_reading",
            tensor=name,
        )
    return value


def _check_values(tensors: Mapping[str, NDArray[Any]], stored_as: str) -> None:
    """Raise ``ModelFileError`` for NaN, infinity, int8 weights below -127, and invalid scales."""
    for name, value in tensors.items():
        if value.dtype.kind == "i":
            if value.min() < -MAX_INT8:
                raise ModelFileError(
                    f"The tensor {name!r} contains a number below {-MAX_INT8}.",
                    code="weight_out_of_range",
                    tensor=name,
                    minimum=-MAX_INT8,
                )
            continue
        if not np.isfinite(value).all():
            is_weight = not name.startswith(SECTION_PREFIX)
            stored = f" when stored as {stored_as}" if is_weight else ""
            raise ModelFileError(
                f"The tensor {name!r} contains NaN or infinity{stored}.",
                code="non_finite_tensor",
                tensor=name,
                stored_as=stored_as if is_weight else None,
            )
        if name.endswith(SCALE) and not (value.min() >= 0 and value.max() <= _MAX_SCALE):
            raise ModelFileError(
                f"The tensor {name!r} contains a scale that is negative or so large that weights overflow.",
                code="invalid_scale",
                tensor=name,
                minimum=0,
                maximum=_MAX_SCALE,
            )


def _to_stored(weights: Mapping[str, NDArray[np.float32]], stored_as: str) -> dict[str, NDArray[Any]]:
    """Convert weights to the tensors of a file."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if stored_as == "int8" and value.ndim == 2:
            quantized = quantize(value)
            tensors[name], tensors[name + SCALE] = quantized.values, quantized.scales
        else:
            dtype = STORED_AS["float32" if stored_as == "int8" else stored_as]
            with np.errstate(
                over="ignore"
            ):  # weights too large for float16 become infinite, which _check_values rejects
                tensors[name] = value.astype(dtype, order="C")
    return tensors


def _from_stored(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    if name + SCALE not in tensors:
        return tensors[name].astype(np.float32, copy=False)
    return dequantize(Quantized(tensors[name], tensors[name + SCALE]))


def _digests(tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the SHA-256 of every tensor in hexadecimal; large models use two threads."""
    parts = [value.data for value in tensors.values()]
    if sum(part.nbytes for part in parts) < _MIN_BYTES_FOR_THREADS:
        return dict(zip(tensors, map(_digest, parts), strict=True))
    from concurrent.futures import ThreadPoolExecutor  # imported here because small models do not need it

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(tensors, pool.map(_digest, parts), strict=True))


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
