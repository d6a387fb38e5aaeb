"""Find the character for each id of an imported model: from a text, a list, or a charloom model.

Keras' ``StringLookup`` counts from 1 and keeps id 0 for unknown characters, ``[UNK]``. charloom's models have no such
id: they refuse what they do not know. It is left out, with its row of the embedding and its logit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.data.corpus import Corpus
from charloom.data.vocabulary.bytes import ByteVocabulary, make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, ModelFileError
from charloom.model.file.model_file import SUFFIX, load_model
from charloom.model.file.run_folder import find_model

ACCEPTED = (
    "Accepted are the text it was trained on (its sorted distinct characters are the ids 0, 1, 2 ...), a .json file "
    'with a list of characters or an object of characters and ids, {"a": 0}, and a charloom model.'
)

_PLACEHOLDERS = ("", "[UNK]")  # of StringLookup: the mask and unknown characters
_SAMPLE = 2_000  # characters of the text on which the import checks that the vocabulary is right
_MAX_LIST_BYTES = 8 << 20  # bytes of a JSON file


@dataclass(frozen=True)
class ForeignVocabulary:
    """The vocabulary of an imported model.

    Attributes:
        vocabulary: The characters that are kept.
        kept: The id of each of them in the foreign model.
        notices: Assumptions that were made, one sentence each.
        sample: The beginning of the text, if the vocabulary comes from one.
        lines: Whether each line is a separate text for the model.
    """

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    notices: tuple[str, ...] = ()
    sample: str = ""
    lines: bool = False


def resolve_vocabulary(source: str | None, count: int, description: Mapping[str, Any] | None) -> ForeignVocabulary:
    """Determine which character each id stands for.

    Args:
        source: A corpus as ``charloom train`` accepts it, a ``.json`` file, or a model; None if the file contains it.
        count: Vocabulary size V of the foreign model.
        description: The description that charloom stores in the files it writes.

    Raises:
        InputError: If it is missing, cannot be read, or has another size.
    """
    if source is None:
        return _from_description(description, count)
    path = Path(source)
    if path.suffix == ".json":
        return _from_list(_read_list(path), count, str(path))
    if path.suffix == SUFFIX or (path / f"model{SUFFIX}").is_file():
        saved = load_model(find_model(source))
        return _from_vocabulary(saved.vocabulary, count, source, saved.lines)
    corpus = Corpus.read(source)
    return _from_text(corpus, count, corpus.head(_SAMPLE))


def _from_description(description: Mapping[str, Any] | None, count: int) -> ForeignVocabulary:
    if description is None:
        raise InputError(f"--vocabulary is needed: a file of Keras knows ids and not characters. {ACCEPTED}")
    characters, unit, lines = (description.get(key) for key in ("vocabulary", "unit", "lines"))
    if not isinstance(characters, str) or unit not in ("char", "byte") or not isinstance(lines, bool):
        raise ModelFileError("what charloom once wrote into it is damaged. Name its text with --vocabulary.")
    return _from_vocabulary(make_vocabulary(characters, unit), count, "the file", lines)


def _from_vocabulary(vocabulary: Vocabulary, count: int, source: str, lines: bool = False) -> ForeignVocabulary:
    if len(vocabulary) != count:
        raise _mismatch(count, f"{source} has {len(vocabulary):,}")
    return ForeignVocabulary(vocabulary, tuple(range(count)), lines=lines)


def _from_text(corpus: Corpus, count: int, sample: str) -> ForeignVocabulary:
    vocabulary = corpus.vocabulary
    notices = corpus.notices
    if len(vocabulary) == count:
        return ForeignVocabulary(vocabulary, tuple(range(count)), notices, sample)
    if len(vocabulary) == count - 1:
        unknown = (
            f"The model has {count:,} ids and the text {len(vocabulary):,} distinct characters: id 0 is taken for "
        )
        notices = (*notices, unknown + "Keras' [UNK] and left out, and ids count from 1.")
        return ForeignVocabulary(vocabulary, tuple(range(1, count)), notices, sample)
    raise _mismatch(count, f"the text has {len(vocabulary):,} distinct characters")


def _mismatch(count: int, actual: str) -> InputError:
    return InputError(f"The model knows {count:,} ids, but {actual}: they do not belong together. {ACCEPTED}")


def _read_list(path: Path) -> list[Any]:
    """Return the entry of each id; None where the file has none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LIST_BYTES + 1)
        if len(data) > _MAX_LIST_BYTES:
            raise InputError(f"The list {path} is longer than {_MAX_LIST_BYTES:,} bytes. {ACCEPTED}")
        value = strict_json(data.decode("utf-8-sig"), f"The list {path}", 3)
    except OSError as error:
        raise InputError(f"The list {path} cannot be read: {error.strerror or error}. {ACCEPTED}") from None
    except UnicodeDecodeError:
        raise InputError(f"The list {path} is not UTF-8. {ACCEPTED}") from None
    if isinstance(value, dict):
        return _by_ids(value, path)
    if not isinstance(value, list):
        raise InputError(f"{path} holds neither a list nor an object. {ACCEPTED}")
    return value


def _by_ids(entries: dict[str, Any], path: Path) -> list[Any]:
    """Return the characters of ``{"a": 0}``, or of ``{"0": "a"}``, by their ids."""
    turned = entries and all(key.isdecimal() and isinstance(value, str) for key, value in entries.items())
    pairs = [(int(key), value) if turned else (value, key) for key, value in entries.items()]
    if not all(type(number) is int and 0 <= number < 1 << 20 for number, _ in pairs):
        raise InputError(f"{path} holds an id that is no whole number of 0 or more. {ACCEPTED}")
    by_id = dict(pairs)
    if len(by_id) != len(pairs):
        raise InputError(f"{path} gives two characters the same id. {ACCEPTED}")
    return [by_id.get(number) for number in range(max(by_id, default=-1) + 1)]


def _from_list(entries: Sequence[Any], count: int, source: str) -> ForeignVocabulary:
    if len(entries) != count:
        raise _mismatch(count, f"{source} has {len(entries):,}")
    if entries == [*range(256)]:
        return ForeignVocabulary(ByteVocabulary(), tuple(range(256)))
    kept = [number for number, entry in enumerate(entries) if entry is not None and entry not in _PLACEHOLDERS]
    wrong = [entries[number] for number in kept if not isinstance(entries[number], str) or len(entries[number]) != 1]
    if wrong:
        raise InputError(f"{source} holds {quoted(wrong[0])}, which is no single character. {ACCEPTED}")
    characters = "".join(entries[number] for number in kept)
    twice = next((c for c in characters if characters.count(c) > 1), None) if len(set(characters)) < len(kept) else None
    if twice is not None:
        raise InputError(f"{source} holds the character {twice!r} twice. {ACCEPTED}")
    notices: tuple[str, ...] = ()
    if len(kept) < count:
        left = ", ".join(str(number) for number in range(count) if number not in set(kept))
        notices = (f"No character has the ids {left[:60]} ([UNK], or nothing): they are left out.",)
    return ForeignVocabulary(Vocabulary(characters), tuple(kept), notices)
