"""Score a text with a model: surprisal of each character, loss, perplexity."""

import heapq
import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError
from charloom.inference.engines.base import Engine
from charloom.inference.log_probs import log_probs_of, nats_to_bits

_MAX_EXPONENT = 709.0  # exp of more does not fit into a double
_BLOCK = 512  # characters whose logits are held at once
_BATCH_SIZE = 64  # texts scored at once: more are hardly faster
_PASSAGE = 48  # characters of a surprising passage
_MAX_HTML = 5_000  # characters that a notebook shows


@dataclass(frozen=True)
class Passage:
    """A passage of a text.

    Attributes:
        start: Position of its first character in the text, from 0.
        text: Its characters.
        bits_per_char: Their mean surprisal.
    """

    start: int
    text: str
    bits_per_char: float


def perplexity(nats_per_char: float) -> float:
    """Compute exp(nats per character), the perplexity; infinity if it overflows."""
    return math.exp(nats_per_char) if nats_per_char < _MAX_EXPONENT else math.inf


class _LossMetrics:
    """Metrics that follow from the number of scored characters and their total loss."""

    characters: int
    total_nats: float

    @property
    def nats_per_char(self) -> float:
        """Mean loss, in nats per character."""
        return self.total_nats / self.characters

    @property
    def bits_per_char(self) -> float:
        """Mean surprisal, in bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """Perplexity per character: exp(nats per character)."""
        return perplexity(self.nats_per_char)


class Tally(_LossMetrics):
    """Accumulates the loss of a text that comes in blocks, in constant memory.

    Args:
        passages: Number of the most surprising passages to keep, each of 48 characters.

    Attributes:
        characters: Characters scored so far.
        total_nats: Their total loss, in nats.
    """

    def __init__(self, passages: int = 0) -> None:
        self.characters = 0
        self.total_nats = 0.0
        self._kept = passages
        self._passages: list[tuple[float, int, str]] = []
        self._text, self._bits = "", np.empty(0)

    def add(self, text: str, surprisals: NDArray[np.float64]) -> None:
        """Add the next characters with their surprisals in bits."""
        self.total_nats += float(surprisals.sum()) * math.log(2)
        if self._kept:
            self._keep_passages(self._text + text, np.concatenate([self._bits, surprisals]))
        self.characters += len(text)

    def _keep_passages(self, text: str, bits: NDArray[np.float64]) -> None:
        """Keep the most surprising passages of a block; an incomplete passage waits for the next block."""
        whole = len(text) // _PASSAGE
        first = 1 + self.characters - len(self._text)  # the first character of the text is not scored
        means = bits[: whole * _PASSAGE].reshape(whole, _PASSAGE).mean(axis=1)
        for i in np.argsort(-means, kind="stable")[: self._kept].tolist():
            at = i * _PASSAGE
            heapq.heappush(self._passages, (float(means[i]), -(first + at), text[at : at + _PASSAGE]))
        while len(self._passages) > self._kept:
            heapq.heappop(self._passages)
        self._text, self._bits = text[whole * _PASSAGE :], bits[whole * _PASSAGE :]

    @property
    def passages(self) -> list[Passage]:
        """The most surprising passages in descending order."""
        return [Passage(-start, text, bits) for bits, start, text in sorted(self._passages, reverse=True)]


@dataclass(frozen=True)
class Score(_LossMetrics):
    """The score of a text: the surprisal of every character but the first, given all before it, from the zero state.

    Attributes:
        surprisals: Surprisal of each character but the first, in bits, float64 (T - 1,).
        text: The text, T characters.
    """

    surprisals: NDArray[np.float64]
    text: str = field(repr=False)

    @property
    def characters(self) -> int:  # type: ignore[override]  # follows from the rest
        """Number of scored characters: all but the first."""
        return len(self.surprisals)

    @cached_property
    def total_nats(self) -> float:  # type: ignore[override]
        """Total loss of the text after its first character, in nats."""
        return float(self.surprisals.sum()) * math.log(2)

    def passages(self, count: int = 5) -> list[Passage]:
        """Return the most surprising passages in descending order.

        Args:
            count: Maximum number of passages.
        """
        tally = Tally(count)
        tally.add(self.text[1:], self.surprisals)
        return tally.passages

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the text on the colours of its surprisals, the beginning of a long one."""
        bits = np.append(0.0, self.surprisals[: _MAX_HTML - 1])
        spans = (
            f'<span title="{one:.2f} bits" style="background:rgba(232,93,35,{min(one / 10, 0.7):.2f})">'
            f"{html.escape(character)}</span>"
            for one, character in zip(bits, self.text, strict=False)
        )
        summary = (
            f"{self.bits_per_char:.4f} bits per character, {self.characters:,} characters" if self.characters else ""
        )
        return f'<p>{summary}</p><pre style="white-space:pre-wrap">{"".join(spans)}</pre>'


def score(engine: Engine, vocabulary: Vocabulary, text: str, progress: ProgressCallback | None = None) -> Score:
    """Score a text.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least two characters.
        progress: Called with the number of characters scored and their total.

    Raises:
        CorpusError: If the text is shorter than that.
        UnknownCharacterError: If it holds a character that the model does not know.
    """
    vocabulary.encode(text)  # unknown characters are an error before the work starts
    surprisals = np.empty(max(len(text) - 1, 0))
    done = 0
    for characters, bits in surprisal_blocks(engine, vocabulary, [text]):
        surprisals[done : done + len(characters)] = bits
        done += len(characters)
        if progress is not None:
            progress(done, len(surprisals))
    return Score(surprisals, text)


def surprisal_blocks(
    engine: Engine, vocabulary: Vocabulary, pieces: Iterable[str]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the characters of a text but the first with their surprisals in bits, block by block.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        pieces: The text in its order; together at least two characters. No more than one of them is held.

    Raises:
        CorpusError: If the text is shorter than that.
        UnknownCharacterError: If it holds a character that the model does not know.
    """
    state, last, length = engine.initial_state(1), np.empty(0, np.intp), 0
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            text = piece[start : start + _BLOCK]
            ids = np.concatenate([last, vocabulary.encode(text)])
            if len(ids) > 1:
                logits, state = engine.forward(ids[None, :-1], state)
                scored = text if length or start else text[1:]
                yield scored, bits_of_characters(vocabulary, scored, surprisals_of(logits[0], ids[1:]))
            last = ids[-1:]
        length += len(piece)
    if length < 2:
        raise too_short(length)


def too_short(characters: int) -> CorpusError:
    """Return the error for a text that is too short to score."""
    return CorpusError(
        f"A text to score must have at least 2 characters, got {characters}. The first character is not scored.",
        code="text_too_short",
        characters=characters,
        minimum=2,
    )


def score_many(
    engine: Engine,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    progress: ProgressCallback | None = None,
) -> list[Score]:
    """Score many texts independently, in batches.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        texts: A text of fewer than two characters has a loss of 0.
        progress: Called with the number of texts scored and their total.

    Returns:
        The score of each text, in order, equal to that of ``score`` to the last bit.

    Raises:
        UnknownCharacterError: If one holds a character that the model does not know.
    """
    ids = [vocabulary.encode(text).astype(np.intp) for text in texts]
    surprisals = [np.empty(max(len(one) - 1, 0)) for one in ids]
    order = sorted((i for i, one in enumerate(ids) if len(one) > 1), key=lambda i: len(ids[i]))
    done = len(texts) - len(order)
    for first in range(0, len(order), _BATCH_SIZE):
        rows = order[first : first + _BATCH_SIZE]  # of about the same length
        _score_rows(engine, [ids[i] for i in rows], [surprisals[i] for i in rows])
        done += len(rows)
        if progress is not None:
            progress(done, len(texts))
    pairs = zip(surprisals, texts, strict=True)
    return [Score(bits_of_characters(vocabulary, text[1:], bits), text) for bits, text in pairs]


def bits_of_characters(vocabulary: Vocabulary, text: str, bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the surprisals of ids to those of characters, which may consist of several bytes.

    Args:
        vocabulary: The model's vocabulary.
        text: The characters.
        bits: Surprisals of the ids; any before those of ``text`` belong to a character that is not scored.
    """
    sizes = vocabulary.sizes(text)
    if sizes is None:
        return bits[len(bits) - len(text) :]
    ends = np.cumsum(sizes)
    return np.add.reduceat(bits[len(bits) - ends[-1] :], ends - sizes)


def _score_rows(engine: Engine, rows: list[NDArray[np.intp]], surprisals: list[NDArray[np.float64]]) -> None:
    """Score a batch of texts in ascending order of length, writing into ``surprisals``."""
    longest = len(rows[-1]) - 1
    ids = np.zeros((len(rows), longest), np.intp)  # shorter texts are padded
    for row, one in zip(ids, rows, strict=True):
        row[: len(one) - 1], row[len(one) - 1 :] = one[:-1], one[-2]
    state = engine.initial_state(len(rows))
    for start in range(0, longest, _BLOCK):
        logits, state = engine.forward(ids[:, start : start + _BLOCK], state)
        for i, one in enumerate(rows):
            targets = one[start + 1 : start + 1 + _BLOCK]
            if len(targets):
                surprisals[i][start : start + len(targets)] = surprisals_of(logits[i, : len(targets)], targets)


def surprisals_of(logits: NDArray[np.float32], targets: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the surprisal of each target (T,) under its logits (T, V), in bits."""
    return nats_to_bits(log_probs_of(logits, targets))
