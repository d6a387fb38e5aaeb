"""Text generation: process the prompt (prefill), sample character by character (decode), yield the text in pieces."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from charloom._util.suggest import did_you_mean, suggestions
from charloom.data.text_format import LABEL_MARK, PLAIN_RULES, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary, describe, replacement_character
from charloom.data.vocabulary.unknown import best_form, check_known, replace_unknown
from charloom.errors import InputError, Notice, SettingsError, UnknownArgumentError, UnknownCharacterError
from charloom.inference.engines.base import Cursor, Drawn, Engine, State
from charloom.inference.generation_options import (
    DEFAULT_LENGTH,
    MAX_SAMPLES,
    OTHER_NAMES,
    PRECISIONS,
    UNKNOWN,
    Ending,
    Sampling,
    check_length,
    check_samples,
    check_text,
    invalid_choice,
    json_value,
)
from charloom.inference.sampling import allowed_bias, sample_seeds
from charloom.inference.stop_conditions import StopMatcher

_FIRST = 16  # characters of the first piece: a small number for a low latency
_MAX_LABELS = 20  # labels listed in an error
_MAX_UNKNOWN = 8  # unknown characters listed in a notice
_NEWLINES = re.compile("\r\n|\r|\n")
_BARE_LINE_FEED = re.compile("[^\r]\n")
_BLOCK = 256  # prompt characters processed at once: bounds the memory of a long prompt


@dataclass(frozen=True)
class Piece:
    """The next part of a generated text, to be appended to the previous parts.

    Attributes:
        sample: Number of the sample, from 0.
        text: The characters; the first piece of each sample is the prompt.
        finish_reason: None until the last piece of a sample; then "stop" if a stop sequence or the maximum number of
            lines was reached, else "length".
        log_probs: Log-probability (natural logarithm) of each character under the model, before temperature and
            filters; empty for the prompt. None if not requested.
    """

    sample: int
    text: str
    finish_reason: str | None = None
    log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Completion:
    """A generated text with its details: the result of ``Model.complete``.

    Attributes:
        text: The generated text, without the prompt.
        finish_reason: "stop" if a stop sequence, the maximum number of lines or the end of a record was reached, else
            "length".
        seed: The seed of this text; the same seed gives the same text.
        log_probs: Log-probability (natural logarithm) of each character of ``text`` under the model, before temperature
            and filters.
    """

    text: str
    finish_reason: str
    seed: int
    log_probs: tuple[float, ...]


@dataclass(frozen=True)
class Request:
    """A request to generate one or more samples.

    Attributes:
        prompt: Beginning of each text. If it is empty, the model starts as after a line feed.
        prompts: Several prompts instead of ``prompt``. Each has ``samples`` texts; sample ``i`` has the prompt
            ``prompts[i // samples]``.
        length: Maximum number of characters to generate after the prompt, 0 or more; bytes for a byte model.
        sampling: Sampling options.
        ending: Stop conditions.
        seed: Seed; the same seed gives the same text.
        samples: Number of samples of each prompt, in [1, 1024]; each has its own seed (see ``sample_seeds``).
        unknown: Treatment of prompt characters that are not in the vocabulary: "error" raises an error, "skip" omits
            them, "replace" feeds ``replacement_character`` to the model instead. The generated text always begins with
            the unchanged prompt.
        log_probs: Whether pieces contain the log-probability of each character.
        label: Label of the record, for a model of labeled records; None draws one for each sample by its frequency in
            the training text.
        across_records: Whether generation continues after the end of a record; the text then contains the marks of the
            training text's index. For models of records only.
    """

    prompt: str = ""
    length: int = DEFAULT_LENGTH
    sampling: Sampling = field(default_factory=Sampling)
    ending: Ending = field(default_factory=Ending)
    seed: int = 0
    samples: int = 1
    unknown: str = "error"
    log_probs: bool = False
    label: str | None = None
    across_records: bool = False
    prompts: tuple[str, ...] | None = None

    @property
    def prompt_of_each(self) -> list[str]:
        """The prompt of each sample."""
        prompts = (self.prompt,) if self.prompts is None else self.prompts
        return [prompt for prompt in prompts for _ in range(self.samples)]


class WritingOptions(TypedDict, total=False):
    """Further keyword arguments of ``Model.generate``, ``Model.complete`` and ``Model.stream``.

    ``help(Model.generate)`` shows this list, too.

    Attributes:
        top_k: Sample from the k most probable characters only, k in [1, 65536]; see ``Sampling`` for this and the next
            options. None turns it off. Default: None.
        top_p: Sample from the smallest set of characters with at least this total probability, in (0, 1]. Default: 1.
        min_p: Exclude characters below this fraction of the highest probability, in [0, 1]. Default: 0.
        repetition_penalty: Penalty on the characters of the last ``repetition_window``, in [0.01, 100]; 1 turns it
            off. Default: 1.
        repetition_window: Number of preceding characters that ``repetition_penalty`` applies to, in [1, 4096].
            Default: 64.
        presence_penalty: Penalty on characters that were already generated, in [-2, 2]. Default: 0.
        frequency_penalty: Penalty on characters for each time they were generated, in [-2, 2]. Default: 0.
        allow: Sample these characters only; None allows all. Default: None.
        forbid: Never sample these characters. Default: None.
        stop: Stop sequence, or a list of them; the text ends before the first one. Default: None.
        max_lines: Maximum number of lines, 1 or more. Default: None.
        unknown: Treatment of prompt characters that are not in the vocabulary: "error", "skip" or "replace"; see
            ``Request``. Default: "error".
        precision: "auto" (int8), "int8" or "float32". Default: "auto".
        label: Label of the text, for a model of labeled records; None draws one by its frequency. Default: None.
    """

    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float
    repetition_window: int
    presence_penalty: float
    frequency_penalty: float
    allow: str | None
    forbid: str | None
    stop: str | Sequence[str] | None
    max_lines: int | None
    unknown: str
    precision: str
    label: str | None


def random_seed() -> int:
    """Return a random 32-bit seed, short enough to type."""
    return int.from_bytes(os.urandom(4), "little")


def make_request(
    prompt: str, length: int, temperature: float, seed: int | None, options: Mapping[str, Any], **fields_: Any
) -> tuple[Request, str]:
    """Validate generation options and return them as a request and a precision.

    Args:
        prompt: See ``Request``.
        length: See ``Request``.
        temperature: See ``Sampling``.
        seed: See ``Request``; None chooses a random seed.
        options: Any of ``WritingOptions``.
        **fields_: Other fields of ``Request``.

    Raises:
        UnknownArgumentError: If an option is unknown.
        SettingsError: If an option is out of range, or of another type.
    """
    known = ("prompt", "length", "temperature", "seed", *WritingOptions.__annotations__)
    for name in options:
        if name not in known:
            raise UnknownArgumentError(
                f"Unknown generation option {name!r}.{_meant_option(name, known)} Options: {', '.join(known)}.",
                code="unknown_option",
                name=name,
                suggestions=["complete"] if name in _DETAILS else suggestions(name, known, OTHER_NAMES),
                accepted=list(known),
            )
    precision = options.get("precision", "auto")
    if precision not in PRECISIONS:
        raise invalid_choice("precision", precision, PRECISIONS)
    stop = options.get("stop")
    if stop is not None and not isinstance(stop, (str, list, tuple)):
        raise SettingsError(
            f"stop must be a string, a list of strings, or None, got {stop!r}.",
            code="invalid_setting",
            name="stop",
            value=json_value(stop),
        )
    label = options.get("label")
    sampling_options = {field.name for field in fields(Sampling)}
    request = Request(
        prompt=check_text("prompt", prompt),
        length=length,
        sampling=Sampling(temperature, **{name: options[name] for name in options if name in sampling_options}),
        ending=Ending((stop,) if isinstance(stop, str) else tuple(stop or ()), options.get("max_lines")),
        seed=random_seed() if seed is None else seed,
        unknown=options.get("unknown", "error"),
        label=None if label is None else check_text("label", label),
        **fields_,
    )
    return request, precision


_DETAILS = ("details", "logprobs", "log_probs")
"""What other libraries call the option to return log-probabilities; charloom has a method for it."""


def _meant_option(name: str, known: Sequence[str]) -> str:
    """Return what to do about an unknown option, as a sentence with a space before it."""
    if name == "samples" or OTHER_NAMES.get(name) == "samples":
        return " For several texts, pass a list of prompts."
    if name in _DETAILS:
        return " The method complete returns the log-probability of each character and why the text ends."
    return did_you_mean(name, known, other_names=OTHER_NAMES)


def generate(
    engine: Engine, vocabulary: Vocabulary, request: Request, rules: TextRules = PLAIN_RULES
) -> Iterator[Piece]:
    """Generate samples and yield their pieces; memory does not grow with the length.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        request: The request.
        rules: How the model expects its texts. Of a model of records, each sample is one record.

    Raises:
        UnknownCharacterError: If the prompt, ``allow`` or ``forbid`` contains a character that is not in the
            vocabulary.
        SettingsError: If a value is out of range, or the label is unknown.
    """
    check_length(request.length)
    check_samples(request.samples)
    request = with_rules(request, rules)
    prompts = request.prompt_of_each
    seeds = sample_seeds(request.seed, len(prompts))
    bias = allowed_bias(vocabulary, request.sampling)
    ids = []
    for sample, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        label = choose_label(rules, request.label, seed)
        try:
            ids.append(prompt_ids(vocabulary, prompt, request.unknown, rules, label))
        except UnknownCharacterError as error:
            if request.prompts is None:
                raise
            number = sample // request.samples + 1
            raise type(error)(
                f"Prompt {number:,}: {error}", code=error.code, **{**error.data, "prompt": number}
            ) from None
    return _pieces(engine, vocabulary, request, ids, np.array(seeds, np.uint64), bias)


def with_rules(request: Request, rules: TextRules) -> Request:
    """Return a request with its prompt, sampling options and stop conditions adapted to a model's rules for texts."""
    prompts = None if request.prompts is None else tuple(map(rules.prepare, request.prompts))
    request = replace(request, prompt=rules.prepare(request.prompt), prompts=prompts)
    if request.across_records:
        return request
    sampling, ending = adapt_options(request.sampling, request.ending, rules)
    return replace(request, sampling=sampling, ending=ending)


def adapt_options(sampling: Sampling, ending: Ending, rules: TextRules) -> tuple[Sampling, Ending]:
    """Adapt options to a model's rules for texts.

    Stop sequences get the newlines and the normal form of the training text. Of a model of records, a text ends at the
    end of its record, and marks are never generated.
    """
    ending = replace(ending, stop=tuple(map(rules.prepare, ending.stop)))
    if rules.records is None:
        return sampling, ending
    allow = None if sampling.allow is None else sampling.allow + RECORD_MARK
    forbid = (sampling.forbid or "") + LABEL_MARK if rules.labels else sampling.forbid
    return replace(sampling, allow=allow, forbid=forbid), replace(ending, stop=(*ending.stop, RECORD_MARK))


def impossible_stops(ending: Ending, vocabulary: Vocabulary, rules: TextRules = PLAIN_RULES) -> list[Notice]:
    """Return a notice for each stop sequence that can never occur in a generated text.

    This is the case for a sequence with characters outside the vocabulary. A line feed without a carriage return is
    reported, too, if the vocabulary has both: in a training text with CR LF line ends, it never occurs.

    Args:
        ending: The stop conditions.
        vocabulary: The model's vocabulary.
        rules: The model's rules for texts.
    """
    notices = []
    newline = "".join(c for c in "\r\n" if c in vocabulary)
    for stop in map(rules.prepare, ending.stop):
        unknown = vocabulary.unknown(stop)
        bare = newline == "\r\n" and vocabulary.unit == "char" and _BARE_LINE_FEED.search(stop) is not None
        if not unknown and not bare:
            continue
        other = _NEWLINES.sub(newline, stop) if newline else stop
        suggestion = None if other == stop or vocabulary.unknown(other) else other
        if unknown:
            reason = f"because the model does not know {', '.join(map(describe, unknown[:_MAX_UNKNOWN]))}"
        else:
            reason = "if the line ends of the training text are CR LF, as the model's vocabulary suggests"
        hint = "" if suggestion is None else f" The model's line ends are {newline!r}: use {suggestion!r}."
        notices.append(
            Notice(
                f"The stop sequence {stop!r} never occurs {reason}.{hint}",
                code="stop_never_occurs",
                stop=stop,
                characters=list(unknown),
                suggestion=suggestion,
            )
        )
    return notices


def choose_label(rules: TextRules, label: str | None, seed: int) -> str | None:
    """Return the label of a text: the given one, or one drawn by its frequency; None for a model without labels.

    Args:
        rules: The model's rules for texts.
        label: The requested label, or None.
        seed: Seed of the text.

    Raises:
        SettingsError: If the label is unknown; the message names similar ones.
    """
    if label is None:
        return _drawn_label(rules.labels, seed) if rules.labels else None
    if label not in rules.labels:
        if not rules.labels:
            raise SettingsError(
                f"label {label!r} is not possible: the model was not trained on labeled records.",
                code="no_labels",
                label=label,
            )
        known = sorted(rules.labels, key=lambda name: -rules.labels[name])
        raise SettingsError(
            f"Unknown label {label!r}.{did_you_mean(label, known, repr)} Labels of this model: "
            f"{', '.join(map(repr, known[:_MAX_LABELS]))}{' ...' if len(known) > _MAX_LABELS else ''}.",
            code="unknown_label",
            label=label,
            suggestions=suggestions(label, known),
            accepted=known[:_MAX_LABELS],
        )
    return label


def missing_label(rules: TextRules) -> SettingsError:
    """Return the error for scoring a text without a label with a model of labeled records."""
    known = sorted(rules.labels, key=lambda name: -rules.labels[name])[:_MAX_LABELS]
    return SettingsError(
        f"The model was trained on labeled records, so scoring requires a label, such as {known[0]!r}: on the command "
        "line --with-label LABEL, or --column and --label for a table; in Python the argument label.",
        code="missing_label",
        accepted=known,
    )


def _drawn_label(labels: Mapping[str, int], seed: int) -> str:
    """Draw a label by its number of records; the random number is independent of those of the text."""
    word = int(np.random.Philox(key=[seed, 2]).random_raw(1)[0])
    position = word * sum(labels.values()) >> 64
    for label, count in labels.items():
        if position < count:
            return label
        position -= count
    raise AssertionError("the position is less than the number of records")


def prompt_ids(
    vocabulary: Vocabulary,
    prompt: str,
    unknown: str = "error",
    rules: TextRules = PLAIN_RULES,
    label: str | None = None,
) -> NDArray[np.integer]:
    """Encode a prompt; an empty one is encoded as ``start_character``.

    Args:
        vocabulary: The model's vocabulary.
        prompt: The prompt.
        unknown: Treatment of unknown characters: "error", "skip" or "replace"; see ``Request``.
        rules: The model's rules for texts.
        label: Label of the record; None for a model without labels.

    Raises:
        UnknownCharacterError: If ``unknown`` is "error" and the prompt contains a character that is not in the
            vocabulary.
        SettingsError: If ``unknown`` is none of these.
        InputError: If the prompt contains a mark of records.
    """
    prompt = rules.prepare(prompt)
    check_marks(prompt, rules)
    prompt = known_text(vocabulary, prompt, unknown)
    return vocabulary.encode(record_start(rules, label) + prompt or start_character(vocabulary))


_TO_GENERATE_ANYWAY = (
    'To generate anyway, set the option unknown to "skip" or "replace" (on the command line: --unknown skip). '
)


def known_text(vocabulary: Vocabulary, prompt: str, unknown: str, noun: str = "prompt", advice: str = "") -> str:
    """Return the text that the model reads instead of a prompt with unknown characters.

    Args:
        vocabulary: The vocabulary.
        prompt: The prompt, adapted to the model's rules for texts.
        unknown: Treatment of unknown characters: "error", "skip" or "replace"; see ``Request``.
        noun: What the prompt is called in the error message.
        advice: What the user can do, see ``UnknownCharacters.error``; by default, set the option ``unknown``.

    Raises:
        UnknownCharacterError: If ``unknown`` is "error" and the prompt contains an unknown character.
        SettingsError: If ``unknown`` is none of these.
    """
    if unknown not in UNKNOWN:
        raise invalid_choice("unknown", unknown, UNKNOWN)
    if unknown != "error":
        return replace_unknown(vocabulary, prompt, unknown)
    check_known(vocabulary, prompt, noun, advice or _TO_GENERATE_ANYWAY)
    return prompt


def unknown_notices(
    vocabulary: Vocabulary, prompts: Sequence[str], unknown: str, rules: TextRules = PLAIN_RULES
) -> list[Notice]:
    """Return a notice for each unknown character of the prompts; none if ``unknown`` is "error".

    Args:
        vocabulary: The vocabulary.
        prompts: The prompts.
        unknown: Treatment of unknown characters; see ``Request``.
        rules: The model's rules for texts.
    """
    if unknown == "error":
        return []
    replacement = None if unknown == "skip" else replacement_character(vocabulary)
    handling = "skipped" if replacement is None else f"replaced by {replacement!r}"
    read = "".join(best_form(vocabulary, rules.prepare(prompt)) for prompt in prompts)
    return [
        Notice(
            f"{describe(character)} is not in the model's vocabulary and is {handling}.",
            code="unknown_character",
            character=character,
            replacement=replacement,
        )
        for character in vocabulary.unknown(read)
    ]


def check_marks(text: str, rules: TextRules) -> None:
    """Check that a text for a model of records contains no marks, which would end the record inside of the text.

    Raises:
        InputError: If it contains one.
    """
    mark = next((mark for mark in (RECORD_MARK, LABEL_MARK) if mark in text), None)
    if rules.records is not None and mark is not None:
        raise InputError(
            f"The text contains U+{ord(mark):04X}, which charloom uses to mark records. Remove it. To choose the label "
            "of a record, use the option label.",
            code="record_mark_in_text",
            code_point=f"U+{ord(mark):04X}",
        )


def record_start(rules: TextRules, label: str | None = None) -> str:
    """Return the hidden characters before the text of a record: the mark, and its label; "" for other models."""
    if rules.records is None:
        return ""
    return RECORD_MARK if label is None else f"{RECORD_MARK}{label}{LABEL_MARK}"


def start_character(vocabulary: Vocabulary) -> str:
    """Return the character that stands for an empty prompt; it is fed to the model but is not part of the text.

    It is a line feed if that is in the vocabulary, else a space, else the first character of the vocabulary.
    """
    return next((c for c in "\n " if c in vocabulary), vocabulary.characters[0])


def prefill(engine: Engine, ids: NDArray[np.integer], state: State | None = None) -> tuple[NDArray[np.float32], State]:
    """Run the model over a prompt, block by block.

    Args:
        engine: Runs the model.
        ids: Ids of the prompt, (T,), T >= 1.
        state: State before the prompt, (L, S, 1, H); None for the initial state.

    Returns:
        Logits (1, V) of the character after the prompt, and the state after the prompt.
    """
    state = engine.initial_state(1) if state is None else state
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.forward(ids[None, start : start + _BLOCK], state, last=True)
    return logits[:, -1], state


def cursor_after(
    ids: NDArray[np.integer],
    logits: NDArray[np.float32],
    state: State,
    sampling: Sampling,
    seeds: NDArray[np.uint64],
) -> Cursor:
    """Create a cursor for B continuations of the same prompt, one per seed.

    Args:
        ids: Ids of the prompt, or at least its last ``sampling.window`` ids.
        logits: Logits after the prompt, (1, V).
        state: State after the prompt, (L, S, 1, H).
        sampling: Sampling options of the continuations.
        seeds: Seed of each continuation, (B,).
    """
    batch, window = len(seeds), sampling.window
    recent = np.full((batch, window), -1, np.int32)
    last = ids[max(0, len(ids) - window) :]
    recent[:, window - len(last) :] = last
    counts = np.zeros((batch, logits.shape[1] if sampling.counts else 0), np.int32)
    state, logits = np.repeat(state, batch, axis=2), np.repeat(logits, batch, axis=0)
    return Cursor(state, logits, seeds, recent=recent, counts=counts)


def _pieces(
    engine: Engine,
    vocabulary: Vocabulary,
    request: Request,
    ids: Sequence[NDArray[np.integer]],
    seeds: NDArray[np.uint64],
    bias: NDArray[np.float32] | None,
) -> Iterator[Piece]:
    prompt_log_probs: tuple[float, ...] | None = () if request.log_probs else None
    finish_reason = None if request.length else "length"
    for sample, prompt in enumerate(request.prompt_of_each):
        yield Piece(sample, prompt, finish_reason, prompt_log_probs)
    if request.length == 0:
        return
    for first in range(0, len(seeds), MAX_SAMPLES):  # a single batch, except for very many texts
        batch = slice(first, first + MAX_SAMPLES)
        cursor = prompts_cursor(engine, ids[batch], request.sampling, seeds[batch])
        for piece in continue_text(engine, vocabulary, cursor, request, bias):
            yield replace(piece, sample=first + piece.sample) if first else piece


def prompts_cursor(
    engine: Engine, ids: Sequence[NDArray[np.integer]], sampling: Sampling, seeds: NDArray[np.uint64]
) -> Cursor:
    """Process one prompt per text, equal prompts only once, and return the cursor after them.

    Args:
        engine: Runs the model.
        ids: Ids of each prompt; B arrays (T,), T >= 1.
        sampling: Sampling options of the continuations.
        seeds: Seed of each continuation, (B,).
    """
    prompts = [row.tobytes() for row in ids]
    cursors = {}
    for prompt, row in dict(zip(prompts, ids, strict=True)).items():
        mine = np.array([other == prompt for other in prompts])
        cursors[prompt] = cursor_after(row, *prefill(engine, row), sampling, seeds[mine])
    if len(cursors) == 1:
        return next(iter(cursors.values()))
    rows = {prompt: iter(range(len(cursor.seeds))) for prompt, cursor in cursors.items()}
    return Cursor.joined([cursors[prompt].rows([next(rows[prompt])]) for prompt in prompts])


def continue_text(
    engine: Engine,
    vocabulary: Vocabulary,
    cursor: Cursor,
    request: Request,
    bias: NDArray[np.float32] | None = None,
) -> Iterator[Piece]:
    """Generate a continuation of each text of a cursor and yield the pieces.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        cursor: Position of the texts; it advances.
        request: Length, sampling options and stop conditions; the prompt and the seed are ignored.
        bias: Bias on the logits; see ``allowed_bias``.
    """
    streamers = [TextStreamer(sample, StopMatcher(request.ending), vocabulary) for sample in range(len(cursor.seeds))]
    count, remaining = _FIRST, request.length
    while streamers:
        count = min(count, remaining)
        drawn = engine.sample(cursor, count, request.sampling, bias, request.log_probs)
        remaining -= count
        at_end = remaining == 0
        for row, streamer in enumerate(streamers):
            piece = streamer.take(drawn.ids[row], _row(drawn, row), at_end)
            if piece is not None:
                yield piece
        unfinished = [row for row, streamer in enumerate(streamers) if not streamer.done]
        if len(unfinished) < len(streamers):
            streamers, cursor = [streamers[row] for row in unfinished], cursor.rows(unfinished)
        count = min(2 * count, engine.chunk)


def _row(drawn: Drawn, row: int) -> tuple[float, ...] | None:
    return None if drawn.log_probs is None else tuple(drawn.log_probs[row].tolist())


class TextStreamer:
    """Decodes the sampled ids of one text into pieces.

    It withholds characters that may belong to a stop sequence, and incomplete UTF-8 characters of a byte model.

    Args:
        sample: Number of the sample.
        stop: Detects the end of the text.
        vocabulary: The model's vocabulary.

    Attributes:
        done: Whether the text has ended.
    """

    def __init__(self, sample: int, stop: StopMatcher, vocabulary: Vocabulary) -> None:
        self.sample, self.done = sample, False
        self._stop = stop
        self._vocabulary, self._decoder = vocabulary, vocabulary.decoder()
        self._pending_ids: tuple[float, ...] = ()  # log-probabilities of the ids of an incomplete character
        self._held: tuple[float, ...] = ()  # log-probabilities of the withheld characters

    def take(self, ids: NDArray[np.int32], log_probs: tuple[float, ...] | None, at_end: bool) -> Piece | None:
        """Decode the next ids; return a piece, or None if no character can be shown yet.

        At the end of the text, an incomplete character is dropped.
        """
        text = self._decoder.decode(ids)
        shown, stopped = self._stop.take(text, at_end)
        self.done = stopped or at_end
        shown_log_probs = None
        if log_probs is not None:
            known = self._held + self._of_characters(text, log_probs)
            shown_log_probs, self._held = known[: len(shown)], known[len(shown) :]
        if not shown and not self.done:
            return None
        return Piece(self.sample, shown, ("stop" if stopped else "length") if self.done else None, shown_log_probs)

    def _of_characters(self, text: str, log_probs: tuple[float, ...]) -> tuple[float, ...]:
        """Return the log-probability of each character: the sum over the ids that encode it."""
        known, sizes = self._pending_ids + log_probs, self._vocabulary.sizes(text)
        if sizes is None:
            sizes = np.ones(len(text), np.intp)
        ends = np.cumsum(sizes)
        used = int(ends[-1]) if len(ends) else 0
        self._pending_ids = known[used:]
        return tuple(np.add.reduceat(known[:used], ends - sizes).tolist()) if used else ()
