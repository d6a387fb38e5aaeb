"""Text generation: read the prompt (prefill), then sample character by character and yield the text in pieces."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from charloom._util.suggest import did_you_mean, suggestions
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
    invalid_choice,
)
from charloom.inference.sampling import allowed_bias, sample_seeds
from charloom.inference.stop_conditions import StopMatcher

_FIRST = 16  # characters of the first piece: few, so that the text appears at once
_BLOCK = 256  # characters of a prompt read at once: bounds the memory for a long one


@dataclass(frozen=True)
class Piece:
    """A part of a generated text, to be appended to the parts before.

    Attributes:
        sample: Number of the sample it belongs to, from 0.
        text: The characters; the first piece of each sample is the prompt.
        finish_reason: None until the last piece of a sample; then "length", or "stop" if a stop string or the
            maximum number of lines was reached.
        log_probs: If requested, the natural logarithm of each character's probability under the model, before
            temperature and filters; () for the prompt.
    """

    sample: int
    text: str
    finish_reason: str | None = None
    log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Request:
    """What to generate, and how.

    Attributes:
        prompt: Beginning of each text. Without one the model starts as if after the end of a line.
        length: Maximum number of characters to generate after the prompt (bytes if the model's unit is the byte), 0 or
            more.
        sampling: How to sample them.
        ending: Stop conditions.
        seed: The same seed gives the same text.
        samples: Number of texts, each with its own seed (see ``sample_seeds``).
        unknown: Treatment of prompt characters that the model does not know: "error"; "skip" leaves them out; "replace"
            reads ``replacement_character`` instead. The text shows the unchanged prompt either way.
        log_probs: Whether pieces carry the log-probability of each character.
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
    """Keyword arguments of ``Model.generate`` and ``Model.stream`` besides prompt, length, temperature and seed.

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
    """Return a random seed of 32 bits, short enough to be typed again."""
    return int.from_bytes(os.urandom(4), "little")


def make_request(
    prompt: str, length: int, temperature: float, seed: int | None, options: Mapping[str, Any], **others: Any
) -> tuple[Request, str]:
    """Validate options; return the request, and the precision to use.

    Args:
        prompt: See ``Request``.
        length: See ``Request``.
        temperature: See ``Sampling``.
        seed: Random if None.
        options: Any of ``WritingOptions``.
        **others: Any other field of ``Request``.

    Raises:
        SettingsError: If an option is not one of these, or out of range.
    """
    known = WritingOptions.__annotations__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SettingsError(
                f"Unknown generation option {name!r}.{hint} Options: {', '.join(known)}.",
                code="unknown_option",
                name=name,
                suggestions=suggestions(name, known),
                accepted=list(known),
            )
    precision = options.get("precision", "auto")
    if precision not in PRECISIONS:
        raise invalid_choice("precision", precision, PRECISIONS)
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
        vocabulary: The model's vocabulary.
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
    """Return the ids read before the first character is sampled: the prompt's, or that of ``start_character``.

    Raises:
        UnknownCharacterError: If the prompt holds a character that the model does not know, and ``unknown`` is
            "error".
        SettingsError: If ``unknown`` is not one of its three values.
    """
    if unknown not in UNKNOWN:
        raise invalid_choice("unknown", unknown, UNKNOWN)
    if unknown != "error":
        instead = replacement_character(vocabulary) if unknown == "replace" else ""
        prompt = prompt.translate({ord(c): instead for c in vocabulary.unknown(prompt)})
    return vocabulary.encode(prompt or start_character(vocabulary))


def start_character(vocabulary: Vocabulary) -> str:
    """Return the character that the model reads before a text without a prompt; it is not part of the text.

    A line feed if the model knows it, else a space, else the first character of the vocabulary.
    """
    return next((c for c in "\n " if c in vocabulary), vocabulary.characters[0])


def replacement_character(vocabulary: Vocabulary) -> str:
    """Return the character read in place of an unknown one: U+FFFD, a space, or the first of the vocabulary."""
    return next((c for c in "\ufffd " if c in vocabulary), vocabulary.characters[0])


def prefill(engine: Engine, ids: NDArray[np.integer], state: State | None = None) -> tuple[NDArray[np.float32], State]:
    """Run the model over a text, block by block.

    Args:
        engine: Runs the model.
        ids: (T,), T >= 1.
        state: State before the text, (L, S, 1, H); the initial state if None.

    Returns:
        Logits (1, V) of the character after the text, and the state after the text.
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
    """Return a cursor for B texts that all continue the same text, one for each seed.

    Args:
        ids: Ids of that text, at least its last ``sampling.window``.
        logits: Logits after it, (1, V).
        state: State after it, (L, S, 1, H).
        sampling: How the continuations will be sampled.
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
    """Continue each text of a cursor, and yield the pieces.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        cursor: Position of the texts; it advances.
        request: How much to generate, and how; its prompt and seeds are ignored.
        bias: Added to the logits; see ``allowed_bias``.
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
    """Turns the sampled ids of one text into pieces that can be shown.

    Holds back characters that may begin a stop string, and incomplete characters of a model of bytes.

    Args:
        sample: Number of the text.
        stop: Finds its end.
        vocabulary: The model's vocabulary.

    Attributes:
        done: Whether the text has ended.
    """

    def __init__(self, sample: int, stop: StopMatcher, vocabulary: Vocabulary) -> None:
        self.sample, self.done = sample, False
        self._stop = stop
        self._vocabulary, self._decoder = vocabulary, vocabulary.decoder()
        self._pending_ids: tuple[float, ...] = ()  # log-probabilities of ids that are not a whole character yet
        self._held: tuple[float, ...] = ()  # log-probabilities of characters that are held back

    def take(self, ids: NDArray[np.int32], log_probs: tuple[float, ...] | None, at_end: bool) -> Piece | None:
        """Return the next piece after these ids, or None; an incomplete character at the end is dropped."""
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
        """Return the log-probability of each character: the sum over its ids."""
        known, sizes = self._pending_ids + log_probs, self._vocabulary.sizes(text)
        if sizes is None:
            sizes = np.ones(len(text), np.intp)
        ends = np.cumsum(sizes)
        used = int(ends[-1]) if len(ends) else 0
        self._pending_ids = known[used:]
        return tuple(np.add.reduceat(known[:used], ends - sizes).tolist()) if used else ()
