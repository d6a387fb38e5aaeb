"""Validation of a model file's description and tensor list, before any tensor is read.

The architecture determines the names, shapes and types of the tensors. The description in the header consists of its
SHA-256 in hexadecimal, a space, and a JSON object with the keys ``_KEYS`` and optionally ``_OPTIONAL_KEYS``. Unknown
facts are kept unchanged.

A checkpoint has the additional section ``training``: an entry of the description, and tensors whose names begin with
``training.``. ``charloom.training.checkpoint`` defines the section; every reader checks it through ``section.py``.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Protocol

import numpy as np

from charloom._util.printable import quoted, shortened
from charloom._util.strict_json import strict_json
from charloom.data.text_format import LABEL_MARK, NEWLINES, NORMAL_FORMS, PLAIN_RULES, UNITS, TextRules
from charloom.data.vocabulary.bytes import make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import ModelFileError
from charloom.model.architecture import Architecture
from charloom.model.file.safetensors_header import TensorSlot, read_header
from charloom.model.file.section import check_section

FORMAT_VERSION = 1

STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
"""Types in which a model file can store weights.

With int8, each matrix NAME has a tensor ``NAME.scale`` with a float32 scale per row, and biases are float32.
"""

SCALE = ".scale"
SECTION_PREFIX = "training."
"""Prefix of the tensor names of the section ``training``."""

FLOAT32, FLOAT64 = np.dtype("<f4"), np.dtype("<f8")

_KEYS = ("format_version", "architecture", "vocabulary", "facts", "weights", "tensor_sha256")
_RULES = tuple(item.name for item in fields(TextRules))
_OPTIONAL_KEYS = ("training", "unit", *_RULES)
_SIZES = {item.name for item in fields(Architecture)}
_MAX_LISTED = 5  # names shown in an error message
_MAX_NAME = 1_000  # characters
_MAX_SETTING = 20_000  # characters of a setting; plan_changes is the longest
_MAX_NUMBER = 1e300  # remains finite when divided by log(2)
_MAX_INTEGER = 2**53  # integers up to this one are exact in JSON


class TensorSpec(Protocol):
    """An object with a shape and a type: an array, or the slot of a tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        ...


# --- JSON values


@dataclass(frozen=True)
class Kind:
    """A requirement for a JSON value.

    Attributes:
        words: The requirement as it completes "must be" in an error message.
        holds: Returns whether a value meets the requirement.
    """

    words: str
    holds: Callable[[Any], bool]


def is_whole(value: Any) -> bool:
    """Return whether a JSON value is an integer in [0, 2**53]."""
    return type(value) is int and 0 <= value <= _MAX_INTEGER


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number of magnitude 1e300 or less."""
    return type(value) in (int, float) and abs(value) <= _MAX_NUMBER


def is_name(value: Any) -> bool:
    """Return whether a JSON value is a printable string of at most 1,000 characters."""
    return isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable()


NAME = Kind(f"printable text of at most {_MAX_NAME:,} characters", is_name)
WHOLE = Kind("an integer of at least 0", is_whole)
NUMBER = Kind("a finite number", is_number)
OPTIONAL_NUMBER = Kind("a finite number or null", lambda value: value is None or is_number(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))


def check_object(
    part: str, value: Any, kinds: Mapping[str, Kind], required: Iterable[str] = (), optional: bool = False
) -> None:
    """Raise ``ModelFileError`` unless a JSON value is an object whose values meet their requirements.

    Args:
        part: Name of the object in messages, in the plural, such as "facts".
        value: A JSON value.
        kinds: The requirements for known keys; other keys are accepted.
        required: Keys that must exist and not be null.
        optional: Whether null is accepted for the other keys.
    """
    if not isinstance(value, dict):
        raise ModelFileError(f"The {part} must be a JSON object.", code="not_an_object", part=part)
    for name in required:
        if value.get(name) is None:
            raise ModelFileError(
                f"The entry {name!r} is missing in the model's {part}.", code="missing_fact", part=part, name=name
            )
    for name, kind in kinds.items():
        if name in value and not kind.holds(value[name]) and not (optional and value[name] is None):
            raise ModelFileError(
                f"The entry {name!r} in the model's {part} is invalid: it must be {kind.words}.",
                code="invalid_fact",
                part=part,
                name=name,
            )


def _is_setting(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_SETTING and value.isprintable()
    return isinstance(value, bool) or is_number(value)


def _are_settings(value: Any) -> bool:
    fractions = ("val_fraction", "test_fraction")
    return (
        isinstance(value, dict)
        and all(map(_is_setting, value.values()))
        and all(is_number(value.get(name, 0)) and 0 <= value.get(name, 0) < 1 for name in fractions)
    )


_FACTS = {
    "corpus": NAME,
    "corpus_sha256": NAME,
    "corpus_characters": WHOLE,
    "recipe": NAME,
    "settings": Kind("an object of numbers, strings and booleans", _are_settings),
    "step": WHOLE,
    "epoch": NUMBER,
    "train_loss": NUMBER,
    "val_loss": NUMBER,
    "best_val_loss": NUMBER,
    "charloom_version": NAME,
}


def check_facts(facts: Any, required: Iterable[str] = ()) -> None:
    """Raise ``ModelFileError`` if the provenance in a model file is invalid.

    Args:
        facts: A JSON value.
        required: Facts that must exist.
    """
    check_object("facts", facts, _FACTS, required, optional=True)


def bits_per_char(facts: Mapping[str, Any]) -> float | None:
    """Return bits per character from the validation loss, else from the training loss; None if both are unknown."""
    loss = facts.get("train_loss") if facts.get("val_loss") is None else facts["val_loss"]
    return None if loss is None else loss / math.log(2)


# --- tensors


def check_model_tensors(tensors: Mapping[str, TensorSpec], architecture: Architecture, stored_as: str) -> None:
    """Raise ``ModelFileError`` unless the tensors are exactly those of an architecture."""
    expected = _model_tensors(architecture, stored_as)
    if tensors.keys() != expected.keys():
        wrong = sorted(tensors.keys() ^ expected.keys())
        raise ModelFileError(
            f"Missing or unexpected tensors for the architecture: {', '.join(map(quoted, wrong[:_MAX_LISTED]))}.",
            code="unexpected_tensors",
            tensors=[shortened(name) for name in wrong[:_MAX_LISTED]],
        )
    for name, (shape, dtype) in expected.items():
        check_tensor(name, tensors[name], shape, dtype)


def check_tensor(name: str, value: TensorSpec, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ``ModelFileError`` if a tensor does not have this shape and type."""
    if value.shape != shape or value.dtype != dtype:
        raise ModelFileError(
            f"The tensor {name!r} must be {dtype} {shape}, got {value.dtype} {value.shape}.",
            code="tensor_mismatch",
            tensor=name,
            dtype=str(value.dtype),
            shape=list(value.shape),
            expected_dtype=str(dtype),
            expected_shape=list(shape),
        )


def _model_tensors(architecture: Architecture, stored_as: str) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the expected shape and type of every tensor of a model."""
    dtype = STORED_AS[stored_as]
    expected: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for name, shape in architecture.parameter_shapes().items():
        quantized = stored_as == "int8" and len(shape) == 2
        expected[name] = (shape, dtype if quantized or stored_as != "int8" else FLOAT32)
        if quantized:
            expected[name + SCALE] = (shape[:1], FLOAT32)
    return expected


# --- the header


@dataclass(frozen=True)
class ModelHeader:
    """The validated header of a model file.

    Attributes:
        architecture: The architecture of the model.
        vocabulary: The vocabulary, with V characters.
        facts: Provenance as JSON data.
        stored_as: Type in which the weights are stored, a key of ``STORED_AS``.
        section: Facts of the section ``training``; None if the file has no such section.
        digests: Expected SHA-256 of each tensor in hexadecimal.
        slots: Type, shape and position of each tensor, in file order.
        rules: How the model expects its texts.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    facts: dict[str, Any]
    stored_as: str
    section: dict[str, Any] | None
    digests: dict[str, str]
    slots: dict[str, TensorSlot]
    rules: TextRules = PLAIN_RULES


def signed(description: Mapping[str, Any]) -> str:
    """Return a description in the form of the file: its SHA-256, a space, and JSON."""
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}"


def read_model_header(file: BinaryIO, size: int) -> ModelHeader:
    """Read and validate the header of a model file.

    Args:
        file: The file, at its start; afterwards it is at the first tensor.
        size: Size of the whole file in bytes.

    Raises:
        CharloomError: If a part of the header is invalid, or the tensors do not match the architecture.
    """
    # 1. The frame, the checksum and the keys.
    text, slots = read_header(file, size)
    description = _parse_description(text)
    # 2. The model: architecture, vocabulary, type of the weights, facts.
    architecture = _parse_architecture(description["architecture"])
    unit = description.get("unit", "char")
    if unit not in UNITS:
        raise _invalid_entry_error("unit", f"must be one of {', '.join(UNITS)}")
    vocabulary = _parse_vocabulary(description["vocabulary"], unit, architecture.vocabulary_size)
    rules = parse_rules(description, vocabulary)
    stored_as, facts, digests = description["weights"], description["facts"], description["tensor_sha256"]
    if not isinstance(stored_as, str) or stored_as not in STORED_AS:
        raise _invalid_entry_error("weights", f"must be one of {', '.join(STORED_AS)}")
    check_facts(facts)
    # 3. The tensors that follow from the architecture, and the section of a checkpoint.
    has_section = "training" in description
    section_names = {name for name in slots if name.startswith(SECTION_PREFIX)} if has_section else set()
    check_model_tensors({name: slots[name] for name in slots.keys() - section_names}, architecture, stored_as)
    if has_section:
        tensors = {name.removeprefix(SECTION_PREFIX): slots[name] for name in section_names}
        check_section(description["training"], facts, tensors, architecture)
    if not isinstance(digests, dict) or digests.keys() != slots.keys():
        raise _invalid_entry_error("tensor_sha256", "must contain the checksum of every tensor and nothing else")
    section = description.get("training")
    return ModelHeader(architecture, vocabulary, facts, stored_as, section, digests, slots, rules)


def check_vocabulary_size(vocabulary: Vocabulary, size: int) -> None:
    """Raise ``ModelFileError`` unless a vocabulary has ``size`` characters."""
    if len(vocabulary) != size:
        raise ModelFileError(
            f"The vocabulary has {len(vocabulary)} characters, but the architecture has a vocabulary_size of {size}.",
            code="vocabulary_size_mismatch",
            characters=len(vocabulary),
            vocabulary_size=size,
        )


def _invalid_entry_error(name: str, rule: str) -> ModelFileError:
    return ModelFileError(f"The header entry {name!r} {rule}.", code="invalid_header_entry", name=name)


def _parse_description(signed_text: str) -> dict[str, Any]:
    digest, _, text = signed_text.partition(" ")
    try:
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ModelFileError(
                "The header does not match its checksum. The file is damaged.", code="checksum_mismatch", part="header"
            )
    except UnicodeEncodeError:
        raise ModelFileError("The header contains a lone surrogate.", code="lone_surrogate", part="header") from None
    description = strict_json(text)
    if not isinstance(description, dict):
        raise ModelFileError(
            "The header does not describe a model: the description must be a JSON object.",
            code="not_an_object",
            part="description",
        )
    version = description.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        shown = version if type(version) is int else quoted(version)
        raise ModelFileError(
            f"The file has format version {shown}; this version of charloom reads format version {FORMAT_VERSION}.",
            code="unsupported_format_version",
            version=version if type(version) is int else shortened(version),
            supported=[FORMAT_VERSION],
        )
    wrong = sorted({*_KEYS} - description.keys()) + sorted(description.keys() - {*_KEYS, *_OPTIONAL_KEYS})
    if wrong:
        raise ModelFileError(
            f"The description of the model has missing or unknown keys: {', '.join(map(quoted, wrong[:_MAX_LISTED]))}.",
            code="unexpected_keys",
            part="description",
            keys=[shortened(name) for name in wrong[:_MAX_LISTED]],
        )
    return description


def _parse_architecture(sizes: Any) -> Architecture:
    if not isinstance(sizes, dict):
        raise ModelFileError("The architecture must be a JSON object.", code="not_an_object", part="architecture")
    if wrong := sorted(sizes.keys() ^ _SIZES):
        raise ModelFileError(
            f"The architecture has missing or unknown keys: {', '.join(map(quoted, wrong[:_MAX_LISTED]))}.",
            code="unexpected_keys",
            part="architecture",
            keys=[shortened(name) for name in wrong[:_MAX_LISTED]],
        )
    if not isinstance(sizes["cell"], str):
        raise _invalid_entry_error("architecture", "must have a string as its cell")
    return Architecture(**sizes)


def _parse_vocabulary(characters: Any, unit: str, size: int) -> Vocabulary:
    vocabulary = make_vocabulary(characters, unit)
    check_vocabulary_size(vocabulary, size)
    if any("\ud800" <= character <= "\udfff" for character in characters):
        raise ModelFileError("The vocabulary contains a lone surrogate.", code="lone_surrogate", part="vocabulary")
    return vocabulary


def parse_rules(description: Mapping[str, Any], vocabulary: Vocabulary) -> TextRules:
    """Return the rules for texts, and check that the vocabulary contains the characters that they require."""
    rules = TextRules(**{name: description[name] for name in _RULES if name in description})
    for name, accepted in (("newlines", NEWLINES), ("normalize", NORMAL_FORMS)):
        if getattr(rules, name) not in accepted:
            raise _invalid_entry_error(name, f"must be one of {', '.join(accepted)}")
    if not isinstance(rules.lines, bool):
        raise _invalid_entry_error("lines", "must be true or false")
    if rules.records is not None and not is_name(rules.records):
        raise _invalid_entry_error("records", f"must be {NAME.words}")
    if rules.lines and rules.records is not None:
        raise _invalid_entry_error("lines", "cannot be true for a model of records")
    if not isinstance(rules.labels, dict) or not all(_is_label(*item) for item in rules.labels.items()):
        raise _invalid_entry_error("labels", "must map labels to numbers of records")
    if rules.labels and rules.records is None:
        raise _invalid_entry_error("labels", "requires a model of records")
    if rules.lines and "\n" not in vocabulary:
        raise ModelFileError(
            "The model was trained on lines, but its vocabulary does not contain the line feed.",
            code="no_line_feed_in_vocabulary",
        )
    required = [c for c in (rules.mark, LABEL_MARK if rules.labels else None) if c not in (None, "\n")]
    if not all(character in vocabulary for character in required):
        raise ModelFileError(
            "The model was trained on records, but its vocabulary does not contain the characters that mark them.",
            code="no_record_mark_in_vocabulary",
        )
    return rules


def _is_label(label: Any, count: Any) -> bool:
    return is_name(label) and label != "" and is_whole(count) and count > 0
