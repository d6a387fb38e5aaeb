"""The vocabulary of an imported model: derive it from a text, a list or a charloom model.

Keras' ``StringLookup`` reserves id 0 for unknown characters, ``[UNK]``. charloom models have no such id, because they
reject unknown characters. The import drops that id with its embedding row and its logit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.data.corpus import Corpus
from charloom.data.text_format import PLAIN_RULES, UNITS, TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary, make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, ModelFileError, Notice
from charloom.model.file.model_file import SUFFIX, load_model
from charloom.model.file.run_folder import find_model
from charloom.model.file.schema import parse_rules

ACCEPTED = (
    "Pass --vocabulary with one of: the training text (its sorted distinct characters get the ids 0, 1, 2 ...); a "
    ".json "
    'file with a list of characters or an object that maps characters to ids, {"a": 0}; a charloom model.'
)

_PLACEHOLDERS = ("", "[UNK]")  # entries of StringLookup for masking and for unknown characters
_SAMPLE = 10_000  # characters of the text on which the importer checks the vocabulary
_MAX_LIST_BYTES = 8 << 20  # maximum size of a JSON file, in bytes


@dataclass(frozen=True)
class ForeignVocabulary:
    """The vocabulary of an imported model.

    Attributes:
        vocabulary: The characters of the charloom model.
        kept: The id of each of these characters in the foreign model.
        notices: Assumptions that the import made.
        sample: The beginning of the text, if the vocabulary comes from a text.
        rules: How the model expects its texts.
    """

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    notices: tuple[str, ...] = ()
    sample: str = ""
    rules: TextRules = PLAIN_RULES


def resolve_vocabulary(source: str | None, count: int, description: Mapping[str, Any] | None) -> ForeignVocabulary:
    """Determine which character each id stands for.

    Args:
        source: A corpus as ``charloom train`` accepts it, a ``.json`` file, or a charloom model; None to use
            ``description``.
        count: Vocabulary size V of the foreign model.
        description: The metadata that charloom stores in the Keras files it writes; None for other files.

    Raises:
        InputError: If the vocabulary is missing, cannot be read, or has a different size.
    """
    if source is None:
        return _from_description(description, count)
    path = Path(source)
    if path.suffix == ".json":
        return _from_list(_read_list(path), count, str(path))
    if path.suffix == SUFFIX or (path / f"model{SUFFIX}").is_file():
        saved = load_model(find_model(source))
        return _from_vocabulary(saved.vocabulary, count, source, saved.rules)
    corpus = Corpus.read(source)
    return _from_text(corpus, count, corpus.head(_SAMPLE))


def _from_description(description: Mapping[str, Any] | None, count: int) -> ForeignVocabulary:
    if description is None:
        raise InputError(
            f"A Keras file stores ids but not their characters. {ACCEPTED}", code="missing_vocabulary", ids=count
        )
    characters, unit = description.get("vocabulary"), description.get("unit")
    if not isinstance(characters, str) or unit not in UNITS:
        raise _damaged_metadata()
    vocabulary = make_vocabulary(characters, unit)
    try:
        rules = parse_rules(description, vocabulary)
    except ModelFileError:
        raise _damaged_metadata() from None
    return _from_vocabulary(vocabulary, count, "the file", rules)


def _damaged_metadata() -> ModelFileError:
    return ModelFileError(
        "Its charloom metadata is damaged. Pass the training text with --vocabulary.", code="damaged_model_file"
    )


def _from_vocabulary(
    vocabulary: Vocabulary, count: int, source: str, rules: TextRules = PLAIN_RULES
) -> ForeignVocabulary:
    if len(vocabulary) != count:
        raise _mismatch(count, f"{source} has {len(vocabulary):,}")
    return ForeignVocabulary(vocabulary, tuple(range(count)), rules=rules)


def _from_text(corpus: Corpus, count: int, sample: str) -> ForeignVocabulary:
    vocabulary = corpus.vocabulary
    notices = corpus.notices
    if len(vocabulary) == count:
        return ForeignVocabulary(vocabulary, tuple(range(count)), notices, sample)
    if len(vocabulary) == count - 1:
        unknown = Notice(
            f"The model has {count:,} ids and the text {len(vocabulary):,} distinct characters. Assuming that id 0 is "
            "Keras' [UNK]; it is dropped.",
            code="assumed_unknown_id",
            ids=count,
            characters=len(vocabulary),
        )
        notices = (*notices, unknown)
        return ForeignVocabulary(vocabulary, tuple(range(1, count)), notices, sample)
    raise _mismatch(count, f"the text has {len(vocabulary):,} distinct characters")


def _mismatch(count: int, actual: str) -> InputError:
    return InputError(
        f"The vocabulary does not match the model: the model has {count:,} ids, but {actual}. {ACCEPTED}",
        code="vocabulary_mismatch",
        ids=count,
    )


def _invalid_file(source: str | Path, problem: str) -> InputError:
    return InputError(
        f"The vocabulary file {source} {problem}. {ACCEPTED}", code="invalid_vocabulary_file", path=str(source)
    )


def _read_list(path: Path) -> list[Any]:
    """Return the entry of each id, or None for ids without an entry."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LIST_BYTES + 1)
        if len(data) > _MAX_LIST_BYTES:
            raise InputError(
                f"The vocabulary file {path} is larger than {_MAX_LIST_BYTES:,} bytes. {ACCEPTED}",
                code="vocabulary_file_too_large",
                path=str(path),
                maximum=_MAX_LIST_BYTES,
            )
        value = strict_json(data.decode("utf-8-sig"), f"The vocabulary file {path}", 3)
    except OSError as error:
        raise InputError(
            f"Cannot read the vocabulary file {path}: {error.strerror or error}. {ACCEPTED}",
            code="unreadable_file",
            path=str(path),
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"The vocabulary file {path} is not valid UTF-8. {ACCEPTED}", code="not_utf8", path=str(path)
        ) from None
    if isinstance(value, dict):
        return _by_ids(value, path)
    if not isinstance(value, list):
        raise _invalid_file(path, "contains neither a list nor an object")
    return value


def _by_ids(entries: dict[str, Any], path: Path) -> list[Any]:
    """Return the characters of ``{"a": 0}`` or ``{"0": "a"}`` in the order of their ids."""
    turned = entries and all(key.isdecimal() and isinstance(value, str) for key, value in entries.items())
    pairs = [(int(key), value) if turned else (value, key) for key, value in entries.items()]
    if not all(type(number) is int and 0 <= number < 1 << 20 for number, _ in pairs):
        raise _invalid_file(path, "contains an id that is not a whole number of 0 or more")
    by_id = dict(pairs)
    if len(by_id) != len(pairs):
        raise _invalid_file(path, "assigns the same id to two characters")
    return [by_id.get(number) for number in range(max(by_id, default=-1) + 1)]


def _from_list(entries: Sequence[Any], count: int, source: str) -> ForeignVocabulary:
    if len(entries) != count:
        raise _mismatch(count, f"{source} has {len(entries):,}")
    if entries == [*range(256)]:
        return ForeignVocabulary(ByteVocabulary(), tuple(range(256)))
    kept = [number for number, entry in enumerate(entries) if entry is not None and entry not in _PLACEHOLDERS]
    wrong = [entries[number] for number in kept if not isinstance(entries[number], str) or len(entries[number]) != 1]
    if wrong:
        raise _invalid_file(source, f"contains {quoted(wrong[0])}, which is not a single character")
    characters = "".join(entries[number] for number in kept)
    twice = next((c for c in characters if characters.count(c) > 1), None) if len(set(characters)) < len(kept) else None
    if twice is not None:
        raise _invalid_file(source, f"contains the character {twice!r} twice")
    notices: tuple[str, ...] = ()
    if len(kept) < count:
        left = ", ".join(str(number) for number in range(count) if number not in set(kept))
        notices = (
            Notice(
                f"The ids {left[:60]} have no character ([UNK] or empty), so they are dropped.",
                code="ids_without_character",
                dropped=count - len(kept),
            ),
        )
    return ForeignVocabulary(Vocabulary(characters), tuple(kept), notices)
