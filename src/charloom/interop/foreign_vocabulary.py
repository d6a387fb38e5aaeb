"""The vocabulary of an imported model: derive it from a text, a list or a charloom model.

Keras' ``StringLookup`` reserves id 0 for unknown characters, ``[UNK]``. charloom models have no such id, because they
reject unknown characters. The import drops that id with its embedding row and its logit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charloom._util.printable import quoted
from charloom._util.strict_json import strict_json
from charloom.data.corpus import Corpus
from charloom.data.text_format import PLAIN, PLAIN_RULES, UNITS, TextFormat, TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary, make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, InputError, ModelFileError, Notice
from charloom.inference.model import Model
from charloom.interop.text_readings import Candidate, choose, compare, fitting, list_readings, rules_of
from charloom.model.file.model_file import SUFFIX, load_model
from charloom.model.file.run_folder import find_model
from charloom.model.file.schema import parse_rules

ACCEPTED = (
    "Pass --vocabulary with one of: the training text (its sorted distinct characters get the ids 0, 1, 2 ...); a "
    ".json "
    'file with a list of characters or an object that maps characters to ids, {"a": 0}; a charloom model.'
)

_PLACEHOLDERS = ("", "[UNK]")  # entries of StringLookup for masking and for unknown characters
_NOT_TEXT = ("binary_file", "no_text_files")  # codes whose messages advise --unit byte, which an import lacks
_MAX_LISTED = 8  # readings in a message; its data lists all
_MAX_LIST_BYTES = 8 << 20  # maximum size of a JSON file, in bytes


@dataclass(frozen=True)
class ForeignVocabulary:
    """The vocabulary of an imported model.

    Attributes:
        vocabulary: The characters of the charloom model.
        kept: The id of each of these characters in the foreign model.
        notices: Assumptions that the import made.
        rules: How the model expects its texts.
    """

    vocabulary: Vocabulary
    kept: tuple[int, ...]
    notices: tuple[str, ...] = ()
    rules: TextRules = PLAIN_RULES


def resolve_vocabulary(
    source: str | None,
    count: int,
    description: Mapping[str, Any] | None,
    model_of: Callable[[ForeignVocabulary], Model],
    text_format: TextFormat = PLAIN,
    fixed_newlines: bool = False,
) -> ForeignVocabulary:
    """Determine which character each id stands for.

    Args:
        source: A corpus as ``charloom train`` accepts it, a ``.json`` file, or a charloom model; None to use
            ``description``.
        count: Vocabulary size V of the foreign model.
        description: The metadata that charloom stores in the Keras files it writes; None for other files.
        model_of: Returns the model with a vocabulary, to compute its loss on the text.
        text_format: How to decode the text. Newlines other than "keep" are fixed.
        fixed_newlines: Whether the text is read only with the newlines of ``text_format``, not also with LF.

    Raises:
        InputError: If the vocabulary is missing, cannot be read, has a different size, or cannot be determined.
    """
    restricted = text_format != PLAIN or fixed_newlines
    if source is None:
        _refuse_text_options(restricted, "the vocabulary of the file is used")
        return _from_description(description, count)
    path = Path(source)
    if path.suffix == ".json":
        known = _from_list(_read_list(path), count, str(path))
        return known if known.vocabulary.unit == "byte" else replace(known, rules=text_format.rules())
    if path.suffix == SUFFIX or (path / f"model{SUFFIX}").is_file():
        _refuse_text_options(restricted, f"{source} is a charloom model, which determines how texts are read")
        saved = load_model(find_model(source))
        return _from_vocabulary(saved.vocabulary, count, source, saved.rules)
    try:
        corpus = Corpus.read(source, text_format=text_format)
    except CorpusError as error:
        if error.code in _NOT_TEXT:
            raise InputError(
                f"The vocabulary file {source} is not a text. {ACCEPTED}", code=error.code, **error.data
            ) from None
        raise
    return _from_text(corpus, source, count, model_of, fixed_newlines or text_format.newlines != "keep")


def _refuse_text_options(restricted: bool, reason: str) -> None:
    if restricted:
        raise InputError(
            "--encoding, --errors, --newlines and --normalize require --vocabulary with a text or a .json file: "
            f"{reason}. Omit them.",
            code="missing_option",
            option="--vocabulary",
            required_by="--newlines",
        )


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


def _from_text(
    corpus: Corpus, source: str, count: int, model_of: Callable[[ForeignVocabulary], Model], fixed_newlines: bool
) -> ForeignVocabulary:
    """Choose the reading of a text under which its sorted distinct characters are the model's ids."""
    readings = list_readings(corpus, fixed_newlines)
    candidates = fitting(readings, count)
    if not candidates:
        by_count: dict[int, list[str]] = {}
        for reading in readings:
            by_count.setdefault(len(reading.characters), []).append(reading.words)
        listed = "; ".join(f"{number:,} ({' or '.join(words)})" for number, words in by_count.items())
        raise _mismatch(
            count,
            f"the text {source} has another number of distinct characters in each way to read it: {listed}",
            [reading.to_dict() for reading in readings],
        )
    compared = compare(candidates, corpus, lambda each: model_of(_of_candidate(each, corpus)))
    chosen, runner_up = choose(compared)
    if chosen is None:
        raise _unclear(source, count, compared)
    known = _of_candidate(chosen, corpus)
    is_only = all(each is chosen or each.unknown_ids > chosen.unknown_ids for each in compared)
    notices = (
        *_text_notices(corpus, chosen),
        *(() if chosen.reading.is_unchanged and is_only else (_reading_notice(chosen, runner_up),)),
        *((_unknown_notice(chosen, count),) if chosen.unknown_ids else ()),
        *(() if chosen.loss is None or chosen.is_better_than_unigram else (_doubtful(chosen),)),
    )
    return replace(known, notices=notices)


def _of_candidate(candidate: Candidate, corpus: Corpus) -> ForeignVocabulary:
    first, vocabulary = candidate.unknown_ids, candidate.vocabulary
    return ForeignVocabulary(
        vocabulary, tuple(range(first, first + len(vocabulary))), rules=rules_of(candidate, corpus)
    )


def _text_notices(corpus: Corpus, chosen: Candidate) -> tuple[str, ...]:
    """Return the notices about reading the text, without the one on a byte order mark that the reading keeps."""
    removed = "byte_order_mark_removed" if chosen.reading.byte_order_mark else None
    return tuple(notice for notice in corpus.notices if removed is None or getattr(notice, "code", "") != removed)


def _reading_notice(chosen: Candidate, runner_up: Candidate | None) -> Notice:
    losses = ""
    if chosen.loss is not None:
        losses = f" Its loss, {chosen.loss:.2f} nats per character, is {_below(chosen)} the unigram baseline"
        if runner_up is not None:
            losses += f"; that of the next reading ({runner_up.words}), {runner_up.loss:.2f}, is {_below(runner_up)} it"
        losses += "."
    advice = " Prompts must be lower case." if chosen.reading.lower_case else ""
    advice += " Prompts must have spaces instead of newlines." if chosen.reading.spaces else ""
    return Notice(
        f"The model was trained on this reading of the text: {chosen.words}.{losses}{advice}",
        code="text_reading_chosen",
        chosen=chosen.to_dict(),
        runner_up=None if runner_up is None else runner_up.to_dict(),
    )


def _below(candidate: Candidate) -> str:
    return f"{abs(candidate.below_unigram):.2f} {'below' if candidate.below_unigram > 0 else 'above'}"


def _unknown_notice(chosen: Candidate, count: int) -> Notice:
    characters, dropped = len(chosen.reading.characters), chosen.unknown_ids
    what = "id 0 is Keras' [UNK]; it is" if dropped == 1 else f"the first {dropped} are Keras' mask and [UNK]; they are"
    return Notice(
        f"The model has {count:,} ids and the text {characters:,} distinct characters. Assuming that {what} dropped.",
        code="assumed_unknown_id",
        ids=count,
        characters=characters,
        dropped=dropped,
    )


def _doubtful(chosen: Candidate) -> Notice:
    return Notice(
        f"The model's loss on passages of this text, {chosen.loss:.2f} nats per character, is not below the unigram "
        f"baseline, {chosen.unigram_loss:.2f}. Either the model is hardly trained, or its ids stand for other "
        "characters. In the latter case, pass --vocabulary a list in the order of the model's ids.",
        code="vocabulary_doubtful",
        loss=chosen.loss,
        unigram_loss=chosen.unigram_loss,
    )


def _unclear(source: str, count: int, compared: Sequence[Candidate]) -> InputError:
    def described(each: Candidate) -> str:
        if each.loss is None:
            return f"{each.words}: {len(each.reading.characters):,} characters"
        losses = f"loss {each.loss:.2f}, unigram baseline {each.unigram_loss:.2f}"
        return f"{each.words}: {len(each.reading.characters):,} characters, {losses}"

    tried = "; ".join(map(described, compared[:_MAX_LISTED]))
    return InputError(
        f"Cannot determine which characters the model's {count:,} ids stand for. These ways to read {source} fit their "
        f"number, but for none the model's loss is clearly the lowest and below the unigram baseline: {tried}. Pass "
        "--vocabulary the text that the model was trained on, or a .json file with the list of its characters in the "
        "order of their ids. --newlines keep, --newlines lf and --encoding utf-8-sig (removes a byte order mark) "
        "exclude readings.",
        code="vocabulary_unclear",
        ids=count,
        path=source,
        readings=[each.to_dict() for each in compared],
    )


def _mismatch(count: int, actual: str, readings: Sequence[Mapping[str, Any]] = ()) -> InputError:
    return InputError(
        f"The vocabulary does not match the model: the model has {count:,} ids, but {actual}. {ACCEPTED}",
        code="vocabulary_mismatch",
        ids=count,
        readings=list(readings),
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
