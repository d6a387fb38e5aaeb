"""Weights to text: read the prompt, then draw character after character, piece by piece."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from charloom._util.suggest import did_you_mean
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError
from charloom.inference.engines.base import Cursor, Drawn, Engine, State
from charloom.inference.generation_options import (
    DEFAULT_LENGTH,
    PRECISIONS,
    UNKNOWN,
    Ending,
    Sampling,
    check_length,
    check_samples,
)
from charloom.inference.sampling import allowed_bias, sample_seeds
from charloom.inference.stop_conditions import StopMatcher

_FIRST = 16  # characters drawn before the first piece: short enough to look like writing
_BLOCK = 256  # characters of a prompt read at once: bounds the memory that a long one takes


@dataclass(frozen=True)
class Piece:
    """A part of a generated text, to be put behind the parts before it.

    Attributes:
        sample: Which of the samples it belongs to, from 0.
        text: The characters; the first piece of each sample is the prompt.
        finish_reason: None until the last piece of a sample; then "length", or "stop" if a stop string or the
            last line asked for was reached.
        log_probs: The natural logarithm of the probability that the model gives each character, whatever the
            temperature and the filters, if asked for; () for the prompt.
    """

    sample: int
    text: str
    finish_reason: str | None = None
    log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Request:
    """What is to be written.

    Attributes:
        prompt: What each text begins with. Without one the model is started as after the end of a line.
        length: How many characters to draw after the prompt, at most, or bytes where the model's unit is the byte; 0 or
            more.
        sampling: How to draw them.
        ending: When to end before that.
        seed: The same seed gives the same text.
        samples: How many texts, each with a seed of its own (see ``sample_seeds``).
        unknown: What becomes of characters of the prompt that the model does not know: "error", or it does not
            read them ("skip"), or reads ``stand_in`` instead ("replace"). The text shows the prompt as it is given.
        log_probs: Whether pieces tell the log-probability of each character.
    """

    prompt: str = ""
    length: int = DEFAULT_LENGTH
    sampling: Sampling = field(default_factory=Sampling)
    ending: Ending = field(default_factory=Ending)
    seed: int = 0
    samples: int = 1
    unknown: str = "error"
    log_probs: bool = False


class WritingOptions(TypedDict, total=False):
    """What can be asked of ``Model.generate`` and ``Model.stream``, beyond prompt, length, temperature and seed.

    Attributes:
        top_k: See ``Sampling``, as for the next six.
        top_p: A share of the probability.
        min_p: A share of the likeliest character's probability.
        repetition_penalty: Above 1 makes recent characters less likely.
        repetition_window: How many characters are recent.
        presence_penalty: See ``Sampling``, as for the next.
        frequency_penalty: Makes characters less likely the more often they were written.
        allow: Characters that alone are drawn.
        forbid: Characters that are not drawn.
        stop: A string, or several, before which the text ends.
        max_lines: After how many lines it ends.
        unknown: "error", "skip" or "replace"; see ``Request``.
        precision: "auto", "int8" or "float32".
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
    stop: str | Sequence[str]
    max_lines: int | None
    unknown: str
    precision: str


def random_seed() -> int:
    """Return a seed nobody chose, short enough to be typed again."""
    return int.from_bytes(os.urandom(4), "little")


def make_request(
    prompt: str, length: int, temperature: float, seed: int | None, options: Mapping[str, Any], **others: Any
) -> tuple[Request, str]:
    """Return what is to be written, and in which precision.

    Args:
        prompt: See ``Request``.
        length: Likewise.
        temperature: See ``Sampling``.
        seed: Drawn at random if None.
        options: Any of ``WritingOptions``.
        **others: Any other field of ``Request``.

    Raises:
        SettingsError: If an option is not one of these, or out of range.
    """
    known = WritingOptions.__annotations__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SettingsError(f"There is no option {name!r} of writing.{hint} Known are {', '.join(known)}.")
    precision = options.get("precision", "auto")
    if precision not in PRECISIONS:
        raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    stop = options.get("stop", ())
    drawing = {field.name for field in fields(Sampling)}
    request = Request(
        prompt=prompt,
        length=length,
        sampling=Sampling(temperature, **{name: options[name] for name in options if name in drawing}),
        ending=Ending((stop,) if isinstance(stop, str) else tuple(stop), options.get("max_lines")),
        seed=random_seed() if seed is None else seed,
        unknown=options.get("unknown", "error"),
        **others,
    )
    return request, precision


def generate(engine: Engine, vocabulary: Vocabulary, request: Request) -> Iterator[Piece]:
    """Yield the pieces of generated texts; memory does not grow with the length.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        request: What to write.

    Raises:
        UnknownCharacterError: If the prompt, or what is allowed or forbidden, holds a character that the model does
            not know.
        SettingsError: If a number is out of range.
    """
    check_length(request.length)
    seeds = np.array(sample_seeds(request.seed, check_samples(request.samples)), np.uint64)
    ids = prompt_ids(vocabulary, request.prompt, request.unknown)
    bias = allowed_bias(vocabulary, request.sampling)
    return _pieces(engine, vocabulary, request, ids, seeds, bias)


def prompt_ids(vocabulary: Vocabulary, prompt: str, unknown: str = "error") -> NDArray[np.integer]:
    """Return what is read before the first character is drawn: the prompt's ids, or those of ``opening``.

    Raises:
        UnknownCharacterError: If the prompt holds a character that the model does not know, and ``unknown`` is
            "error".
        SettingsError: If ``unknown`` is not one of its three values.
    """
    if unknown not in UNKNOWN:
        raise SettingsError(f"unknown must be one of {', '.join(UNKNOWN)}; got {unknown!r}.")
    if unknown != "error":
        instead = replacement_character(vocabulary) if unknown == "replace" else ""
        prompt = prompt.translate({ord(c): instead for c in vocabulary.unknown(prompt)})
    return vocabulary.encode(prompt or start_character(vocabulary))


def start_character(vocabulary: Vocabulary) -> str:
    """Return the character that a text without a prompt is started with, which is not part of the text.

    A new line, if the model knows one; else a space; else its first character.
    """
    return next((c for c in "\n " if c in vocabulary), vocabulary.characters[0])


def replacement_character(vocabulary: Vocabulary) -> str:
    """Return the character that is read in place of an unknown one: U+FFFD, a space, or the first one known."""
    return next((c for c in "\ufffd " if c in vocabulary), vocabulary.characters[0])


def prefill(engine: Engine, ids: NDArray[np.integer], state: State | None = None) -> tuple[NDArray[np.float32], State]:
    """Read one text block by block.

    Args:
        engine: Runs the model.
        ids: (T,), T >= 1.
        state: Before the text, (L, S, 1, H); zeros if None.

    Returns:
        Logits (1, V) of the character after the text, and the state there.
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
    """Return a cursor of as many texts that go on from a text as there are seeds.

    Args:
        ids: The text's last ones, as many as ``sampling.window`` if there are so many.
        logits: After it, (1, V).
        state: There, (L, S, 1, H).
        sampling: How the texts will be drawn.
        seeds: (B,).
    """
    texts, window = len(seeds), sampling.window
    recent = np.full((texts, window), -1, np.int32)
    last = ids[max(0, len(ids) - window) :]
    recent[:, window - len(last) :] = last
    counts = np.zeros((texts, logits.shape[1] if sampling.counts else 0), np.int32)
    state, logits = np.repeat(state, texts, axis=2), np.repeat(logits, texts, axis=0)
    return Cursor(state, logits, seeds, recent=recent, counts=counts)


def _pieces(
    engine: Engine,
    vocabulary: Vocabulary,
    request: Request,
    ids: NDArray[np.integer],
    seeds: NDArray[np.uint64],
    bias: NDArray[np.float32] | None,
) -> Iterator[Piece]:
    nothing: tuple[float, ...] | None = () if request.log_probs else None
    first_reason = None if request.length else "length"
    yield from (Piece(sample, request.prompt, first_reason, nothing) for sample in range(len(seeds)))
    if request.length == 0:
        return
    cursor = cursor_after(ids, *prefill(engine, ids), request.sampling, seeds)
    yield from continue_text(engine, vocabulary, cursor, request, bias)


def continue_text(
    engine: Engine,
    vocabulary: Vocabulary,
    cursor: Cursor,
    request: Request,
    bias: NDArray[np.float32] | None = None,
) -> Iterator[Piece]:
    """Yield what comes after the characters that a cursor stands behind, for each of its texts.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        cursor: Where the texts stand; it is moved on.
        request: How much to write, and how; its prompt and seeds are not looked at.
        bias: See ``allowed_bias``.
    """
    writers = [TextStreamer(sample, StopMatcher(request.ending), vocabulary) for sample in range(len(cursor.seeds))]
    count, left = _FIRST, request.length
    while writers:
        count = min(count, left)
        drawn = engine.sample(cursor, count, request.sampling, bias, request.log_probs)
        left -= count
        at_end = left == 0
        for row, writer in enumerate(writers):
            piece = writer.take(drawn.ids[row], _row(drawn, row), at_end)
            if piece is not None:
                yield piece
        going = [row for row, writer in enumerate(writers) if not writer.done]
        if len(going) < len(writers):
            writers, cursor = [writers[row] for row in going], cursor.rows(going)
        count = min(2 * count, engine.chunk)


def _row(drawn: Drawn, row: int) -> tuple[float, ...] | None:
    return None if drawn.log_probs is None else tuple(drawn.log_probs[row].tolist())


class TextStreamer:
    """One text being written: holds back what may be the beginning of a stop string, and half a character.

    Args:
        sample: Its number.
        ender: Looks for its end.
        vocabulary: What the ids are.
    """

    def __init__(self, sample: int, ender: StopMatcher, vocabulary: Vocabulary) -> None:
        self.sample, self.done = sample, False
        self._ender = ender
        self._vocabulary, self._decoder = vocabulary, vocabulary.decoder()
        self._of_ids: tuple[float, ...] = ()  # log-probabilities of ids that are no whole character yet
        self._log_probs: tuple[float, ...] = ()  # and of characters that are not shown yet

    def take(self, ids: NDArray[np.int32], log_probs: tuple[float, ...] | None, at_end: bool) -> Piece | None:
        """Return what can be shown after these ids, if anything; half a character at the end is never shown."""
        text = self._decoder.decode(ids)
        shown, stopped = self._ender.take(text, at_end)
        self.done = stopped or at_end
        held = None
        if log_probs is not None:
            known = self._log_probs + self._of_characters(text, log_probs)
            held, self._log_probs = known[: len(shown)], known[len(shown) :]
        if not shown and not self.done:
            return None
        return Piece(self.sample, shown, ("stop" if stopped else "length") if self.done else None, held)

    def _of_characters(self, text: str, log_probs: tuple[float, ...]) -> tuple[float, ...]:
        """Return the log-probability of each character: the sum of those of its ids."""
        known, sizes = self._of_ids + log_probs, self._vocabulary.sizes(text)
        if sizes is None:
            sizes = np.ones(len(text), np.intp)
        ends = np.cumsum(sizes)
        used = int(ends[-1]) if len(ends) else 0
        self._of_ids = known[used:]
        return tuple(np.add.reduceat(known[:used], ends - sizes).tolist()) if used else ()
