"""What the header of a model file says of it, checked before anything behind it is read.

It is JSON, its SHA-256 in hexadecimal and a space before it: ``_KEYS`` and, in some files, ``_OPTIONAL_KEYS``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.data.vocabulary.bytes import make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import ModelFileError
from charloom.model.architecture import Architecture
from charloom.model.file.metadata_schema import check_facts, check_training_facts
from charloom.model.file.safetensors_header import Place, read_header
from charloom.model.file.tensor_schema import STORED_AS, TRAINING, check_model_tensors, check_training_tensors

FORMAT_VERSION = 1

_KEYS = ("format_version", "architecture", "vocabulary", "facts", "weights", "tensor_sha256")
_OPTIONAL_KEYS = ("training", "unit", "lines")
_SIZES = {item.name for item in fields(Architecture)}


@dataclass(frozen=True)
class ModelHeader:
    """What the header of a model file says, all of it checked.

    Attributes:
        architecture: The sizes.
        vocabulary: The characters, V of them.
        facts: Provenance.
        stored_as: How the weights are stored: a key of ``STORED_AS``.
        training: What a checkpoint tells of its training; None in other files.
        digests: The SHA-256 that each tensor should have, in hexadecimal.
        places: Where each tensor lies, in the order in which they lie.
        lines: Whether it was trained on lines that are texts of their own.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    facts: dict[str, Any]
    stored_as: str
    training: dict[str, Any] | None
    digests: dict[str, str]
    places: dict[str, Place]
    lines: bool = False


def signed(described: Mapping[str, Any]) -> str:
    """Return the description of a model as its file holds it: JSON behind its checksum."""
    text = json.dumps(described, sort_keys=True, allow_nan=False)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}"


def read_model_header(file: BinaryIO, size: int) -> ModelHeader:
    """Read a model file up to its tensors, and check that it holds what follows from its architecture.

    Args:
        file: At its beginning; it is left where the tensors begin.
        size: Of the whole file, in bytes.

    Raises:
        CharloomError: If a part of the header does not hold, or does not fit the others.
    """
    text, places = read_header(file, size)
    described = _described(text)
    architecture = _architecture(described["architecture"])
    unit, lines = described.get("unit", "char"), described.get("lines", False)
    if unit not in ("char", "byte") or not isinstance(lines, bool):
        raise ModelFileError("its header does not say in a known way what it reads ('unit' and 'lines').")
    vocabulary = _vocabulary(described["vocabulary"], unit, architecture.vocabulary_size)
    if lines and "\n" not in vocabulary:
        raise ModelFileError("it is a model of lines, and its vocabulary has no line feed.")
    stored_as, facts, digests = described["weights"], described["facts"], described["tensor_sha256"]
    training: Any = described.get("training")
    if not isinstance(stored_as, str) or stored_as not in STORED_AS:
        raise ModelFileError("its header does not say in a known way how the weights are stored.")
    beside = {name for name in places if name.startswith(TRAINING)} if "training" in described else set()
    check_facts(facts)
    check_model_tensors({name: places[name] for name in places.keys() - beside}, architecture, stored_as)
    if "training" in described:
        check_training_facts(training, facts)
        found = {name.removeprefix(TRAINING): places[name] for name in beside}
        check_training_tensors(found, architecture, training["step"], facts["settings"].get("batch_size"))
    if not isinstance(digests, dict) or digests.keys() != places.keys():
        raise ModelFileError("its header does not have a checksum for each of its tensors.")
    return ModelHeader(architecture, vocabulary, facts, stored_as, training, digests, places, lines)


def _described(description: str) -> dict[str, Any]:
    digest, _, text = description.partition(" ")
    try:
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ModelFileError("its header does not match its checksum; the file is damaged.")
    except UnicodeEncodeError:
        raise ModelFileError("its header holds half a character.") from None
    described = strict_json(text)
    if not isinstance(described, dict):
        raise ModelFileError("its header does not describe a model.")
    version = described.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        found = version if type(version) is int else quoted(version)
        raise ModelFileError(f"it has format version {found}; this charloom reads version {FORMAT_VERSION}.")
    wrong = sorted({*_KEYS} - described.keys()) + sorted(described.keys() - {*_KEYS, *_OPTIONAL_KEYS})
    if wrong:
        raise ModelFileError(f"its header does not describe a model ({', '.join(map(quoted, wrong[:5]))}).")
    return described


def _architecture(sizes: Any) -> Architecture:
    if not isinstance(sizes, dict) or sizes.keys() != _SIZES or not isinstance(sizes["cell"], str):
        raise ModelFileError("its header does not describe a model (its architecture).")
    return Architecture(**sizes)


def check_vocabulary_size(vocabulary: Vocabulary, size: int) -> None:
    """Raise ``ModelFileError`` if a vocabulary has not as many characters as its model's architecture says."""
    if len(vocabulary) != size:
        raise ModelFileError(f"The vocabulary has {len(vocabulary)} characters, but the architecture says {size}.")


def _vocabulary(characters: Any, unit: str, size: int) -> Vocabulary:
    vocabulary = make_vocabulary(characters, unit)
    check_vocabulary_size(vocabulary, size)
    if any("\ud800" <= character <= "\udfff" for character in characters):
        raise ModelFileError("its vocabulary holds half a character (a lone surrogate).")
    return vocabulary
