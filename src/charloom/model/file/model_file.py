"""Read and write the model file: one safetensors file with weights, vocabulary, architecture and provenance.

The weights are the file's tensors. Its metadata has one entry, ``charloom``: a JSON object with
``format_version``, ``architecture``, ``vocabulary`` (the characters in the order of their ids), ``facts``
(provenance: corpus, recipe, losses), ``weights`` (how they are stored) and ``tensor_sha256``; before it stand
its own SHA-256 in hexadecimal and a space. A checkpoint is such a file with one more section, which
``charloom.training.checkpoint`` defines: tensors whose names begin with ``training.``, and the header's ``training``.
``docs/reference/format.md`` specifies the format to the byte. Nothing is executed, and nothing is trusted before it is
checked: what a file must hold follows from its architecture, and no tensor is read before its header has been checked.
"""

import hashlib
import os
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

_MIN_BYTES_FOR_THREADS = 4 << 20  # bytes
_MAX_SCALE = float(np.finfo(np.float32).max) / (MAX_INT8 + 1)


@dataclass(frozen=True)
class SavedModel:
    """Everything a model file holds.

    Attributes:
        architecture: The sizes.
        vocabulary: The characters, V of them.
        weights: Every parameter of the architecture as float32.
        facts: Provenance as plain JSON data: corpus, recipe, step, losses.
        stored_as: How the file stores, or will store, the weights: a key of ``STORED_AS``.
        lines: Whether it was trained on lines that are separate texts.

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
        check_vocabulary_size(self.vocabulary, self.architecture.vocabulary_size)

    def described(self) -> dict[str, Any]:
        """Return what a list of models shows of this one, as plain JSON data."""
        return {
            "characters": len(self.vocabulary),
            "unit": self.vocabulary.unit,
            "parameters": self.architecture.num_parameters,
            "bits_per_char": bits_per_char(self.facts),
            "vocabulary": self.vocabulary.characters,
            "corpus": self.facts.get("corpus"),
        }

    def content_digest(self, context: bytes = b"") -> str:
        """Return the SHA-256, in hexadecimal, of the vocabulary and the weights, in the order of their names.

        Args:
            context: Bytes that are hashed first, such as settings that the digest should depend on.
        """
        digest = hashlib.sha256(context)
        digest.update(self.vocabulary.characters.encode("utf-8", "surrogatepass"))
        for name in sorted(self.weights):
            digest.update(np.ascontiguousarray(self.weights[name]).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Section:
    """The section of a model file that does not belong to the model; see ``charloom.model.file.schema``.

    Attributes:
        facts: Plain JSON data.
        tensors: Numbers, all finite, by their names without prefix.
    """

    facts: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)


def save_model(path: Path, model: SavedModel, section: Section | None = None) -> None:
    """Write a model file completely or not at all.

    Args:
        path: The file.
        model: What it holds.
        section: A further section.

    Raises:
        SettingsError: See ``model_bytes``.
        ModelFileError: See ``model_bytes``.
        OSError: If the file cannot be written.
    """
    write_atomically(path, model_bytes(model, section))


def model_bytes(model: SavedModel, section: Section | None = None) -> bytes:
    """Return the content of a model file; equal models are equal bytes. See ``save_model``.

    Raises:
        SettingsError: If ``stored_as`` is not one of ``STORED_AS``.
        ModelFileError: If a weight is missing, has another shape, or is not finite as stored; or if the file would be
            refused by its reader for any other reason.
    """
    from safetensors import numpy as safetensors_numpy  # programs that only read models need not load it

    if model.stored_as not in STORED_AS:
        raise SettingsError(
            f"stored_as must be one of {', '.join(STORED_AS)}, got {model.stored_as!r}.",
            code="invalid_setting",
            name="stored_as",
            value=model.stored_as,
            accepted=list(STORED_AS),
        )
    tensors = _stored(model.weights, model.stored_as)
    check_model_tensors(tensors, model.architecture, model.stored_as)
    description = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.to_dict(),
        "vocabulary": model.vocabulary.characters,
        "facts": dict(model.facts),
        "weights": model.stored_as,
        **({"unit": model.vocabulary.unit} if model.vocabulary.unit != "char" else {}),
        **({"lines": True} if model.lines else {}),
    }
    if section is not None:
        description["training"] = dict(section.facts)
        tensors |= {SECTION_PREFIX + name: np.ascontiguousarray(value) for name, value in section.tensors.items()}
    _check_values(tensors, model.stored_as)
    description["tensor_sha256"] = _digests(tensors)
    # one entry only: safetensors writes several in no fixed order, and equal models shall be equal files
    data: bytes = safetensors_numpy.save(tensors, {DESCRIPTION: signed(description)})
    read_model_header(BytesIO(data), len(data))  # nothing is written that would be refused
    return data


def load_model(path: Path) -> SavedModel:
    """Read a model file and verify all of it; see ``load_with_section``."""
    return load_with_section(path)[0]


def load_with_section(path: Path) -> tuple[SavedModel, Section | None]:
    """Read a model file and its further section, if it has one, and verify all of it.

    Args:
        path: The file.

    Raises:
        ModelFileError: If the file is missing, no regular file, not a charloom model, larger than this machine's
            memory, or damaged; the message says which part is invalid.
    """
    with _named(path), _opened(path) as file:
        return _read(file, os.fstat(file.fileno()).st_size)


def read_with_section(data: bytes, name: str) -> tuple[SavedModel, Section | None]:
    """Verify the content of a model file as ``load_with_section`` does.

    Args:
        data: The content.
        name: What messages call it.

    Raises:
        ModelFileError: See ``load_with_section``.
    """
    with _named(name):
        return _read(BytesIO(data), len(data))


@contextmanager
def _named(name: str | Path) -> Iterator[None]:
    """Turn every error of reading a file into a ``ModelFileError`` that names it."""
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
        raise ModelFileError(
            f"Cannot load the model {name}. {printable(str(error))}", code=error.code, **data
        ) from None


def _opened(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting if it is a pipe."""
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


def _read(file: BufferedReader | BytesIO, size: int) -> tuple[SavedModel, Section | None]:
    header = read_model_header(file, size)
    _check_memory(header)
    tensors = {name: _tensor(file, name, slot) for name, slot in header.slots.items()}
    _check_values(tensors, header.stored_as)
    for name, digest in _digests(tensors).items():
        if header.digests[name] != digest:
            raise ModelFileError(
                f"The tensor {name!r} does not match its checksum. The file is damaged.",
                code="checksum_mismatch",
                part=name,
            )
    weights = {name: _restored(tensors, name) for name in header.architecture.parameter_shapes()}
    model = SavedModel(header.architecture, header.vocabulary, weights, header.facts, header.stored_as, header.lines)
    if header.section is None:
        return model, None
    names = [name for name in sorted(tensors) if name.startswith(SECTION_PREFIX)]
    return model, Section(header.section, {name.removeprefix(SECTION_PREFIX): tensors[name] for name in names})


def _check_memory(header: ModelHeader) -> None:
    """Refuse a model that is larger than the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # unknown on this system
        return
    needed = max(4 * header.architecture.num_parameters, *(slot.end for slot in header.slots.values()))
    if needed > memory:
        raise ModelFileError(
            f"It requires {needed / 1e9:,.1f} GB of memory, but this machine has {memory / 1e9:,.1f} GB.",
            code="model_too_large",
            required_bytes=needed,
            available_bytes=memory,
        )


def _tensor(file: BufferedReader | BytesIO, name: str, slot: TensorSlot) -> NDArray[Any]:
    value = np.empty(slot.shape, slot.dtype)
    if value.nbytes and file.readinto(value.reshape(-1).view(np.uint8).data) != value.nbytes:
        raise ModelFileError(
            f"The tensor {name!r} is incomplete. The file was truncated while it was read.",
            code="truncated_while_reading",
            tensor=name,
        )
    return value


def _check_values(tensors: Mapping[str, NDArray[Any]], stored_as: str) -> None:
    """Raise ``ModelFileError`` for NaN and infinity, and for numbers that no int8 weight or scale can be."""
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


def _stored(weights: Mapping[str, NDArray[np.float32]], stored_as: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if stored_as == "int8" and value.ndim == 2:
            quantized = quantize(value)
            tensors[name], tensors[name + SCALE] = quantized.values, quantized.scales
        else:
            dtype = STORED_AS["float32" if stored_as == "int8" else stored_as]
            with np.errstate(over="ignore"):  # what does not fit in float16 becomes infinite, and is refused by name
                tensors[name] = value.astype(dtype, order="C")
    return tensors


def _restored(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    if name + SCALE not in tensors:
        return tensors[name].astype(np.float32, copy=False)
    return dequantize(Quantized(tensors[name], tensors[name + SCALE]))


def _digests(tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the checksum of every tensor; where they are large, on two threads."""
    parts = [value.data for value in tensors.values()]
    if sum(part.nbytes for part in parts) < _MIN_BYTES_FOR_THREADS:
        return dict(zip(tensors, map(_digest, parts), strict=True))
    from concurrent.futures import ThreadPoolExecutor  # programs that read small models need not load it

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(tensors, pool.map(_digest, parts), strict=True))


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
