"""Score texts with a model: surprisal of each character, loss, perplexity."""

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

_MAX_EXPONENT = 709.0  # exp of a larger number overflows a double
_BLOCK = 512  # characters whose logits are in memory at once
_BATCH_SIZE = 64  # texts per batch; larger batches are hardly faster
_PASSAGE = 48  # length of a surprising passage, in characters
_MAX_HTML = 5_000  # maximum number of characters shown in a notebook


@dataclass(frozen=True)
class Passage:
    """A passage of a text.

    Attributes:
        start: Position of the first character in the text, from 0.
        text: The characters of the passage.
        bits_per_char: Mean surprisal of the characters, in bits.
    """

    start: int
    text: str
    bits_per_char: float


def perplexity(nats_per_char: float) -> float:
    """Compute the perplexity exp(nats per character); infinity if it overflows."""
    return math.exp(nats_per_char) if nats_per_char < _MAX_EXPONENT else math.inf


class _LossMetrics:
    """Metrics derived from the number of scored characters and the total loss."""

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
    """Accumulates the loss of a text block by block, in constant memory.

    Args:
        passages: Number of most surprising passages to keep, each of 48 characters.

    Attributes:
        characters: Number of scored characters.
        total_nats: Total loss of the scored characters, in nats.
    """

    def __init__(self, passages: int = 0) -> None:
        self.characters = 0
        self.total_nats = 0.0
        self._kept = passages
        self._passages: list[tuple[float, int, str]] = []
        self._text, self._bits = "", np.empty(0)

    def add(self, text: str, surprisals: NDArray[np.float64]) -> None:
        """Add the next scored characters and their surprisals in bits."""
        self.total_nats += float(surprisals.sum()) * math.log(2)
        if self._kept:
            self._keep_passages(self._text + text, np.concatenate([self._bits, surprisals]))
        self.characters += len(text)

    def _keep_passages(self, text: str, bits: NDArray[np.float64]) -> None:
        """Update the most surprising passages; an incomplete last passage is completed by the next block."""
        whole = len(text) // _PASSAGE
        first = 1 + self.characters - len(self._text)  # the first character of the text is not scored
        means = bits[: whole * _PASSAGE].reshape(whole, _PASSAGE).mean(axis=1)
        for i in np.argsort(-means, kind="stable")[: self._kept].tolist():
            start = i * _PASSAGE
            heapq.heappush(self._passages, (float(means[i]), -(first + start), text[start : start + _PASSAGE]))
        while len(self._passages) > self._kept:
            heapq.heappop(self._passages)
        self._text, self._bits = text[whole * _PASSAGE :], bits[whole * _PASSAGE :]

    @property
    def passages(self) -> list[Passage]:
        """The most surprising passages in descending order of surprisal."""
        return [Passage(-start, text, bits) for bits, start, text in sorted(self._passages, reverse=True)]


@dataclass(frozen=True)
class Score(_LossMetrics):
    """The score of a text: the surprisal of every character except the first, given all preceding characters.

    Attributes:
        surprisals: Surprisal of each character except the first, in bits, float64 (T - 1,).
        text: The text, T characters.
    """

    surprisals: NDArray[np.float64]
    text: str = field(repr=False)

    @property
    def characters(self) -> int:  # type: ignore[override]  # computed
        """Number of scored characters: all except the first."""
        return len(self.surprisals)

    @cached_property
    def total_nats(self) -> float:  # type: ignore[override]
        """Total loss of the scored characters, in nats."""
        return float(self.surprisals.sum()) * math.log(2)

    def passages(self, count: int = 5) -> list[Passage]:
        """Return the most surprising passages in descending order of surprisal.

        Args:
            count: Maximum number of passages.
        """
        tally = Tally(count)
        tally.add(self.text[1:], self.surprisals)
        return tally.passages

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the first 5,000 characters, on backgrounds colored by surprisal."""
        bits = np.append(0.0, self.surprisals[: _MAX_HTML - 1])
        spans = (
            f'<span title="{surprisal:.2f} bits" style="background:rgba(232,93,35,{min(surprisal / 10, 0.7):.2f})">'
            f"{html.escape(character)}</span>"
            for surprisal, character in zip(bits, self.text, strict=False)
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
        text: The text; at least two characters.
        progress: Called with the number of scored characters and the total.

    Raises:
        CorpusError: If the text has fewer than two characters.
        UnknownCharacterError: If the text contains a character that is not in the vocabulary.
    """
    vocabulary.encode(text)  # reject unknown characters before the work starts
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
    """Score a text block by block: yield the characters of each block with their surprisals in bits.

    The first character of the text is not scored and not yielded.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        pieces: Pieces of the text in order, together at least two characters. Only one piece is in memory at a time.

    Raises:
        CorpusError: If the text has fewer than two characters.
        UnknownCharacterError: If the text contains a character that is not in the vocabulary.
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
    """Return the error for a text of fewer than two characters."""
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
        texts: The texts; one of fewer than two characters has a total loss of 0.
        progress: Called with the number of scored texts and the total.

    Returns:
        The score of each text, in order, bit-identical to the result of ``score``.

    Raises:
        UnknownCharacterError: If a text contains a character that is not in the vocabulary.
    """
    ids = [vocabulary.encode(text).astype(np.intp) for text in texts]
    surprisals = [np.empty(max(len(row) - 1, 0)) for row in ids]
    order = sorted((i for i, row in enumerate(ids) if len(row) > 1), key=lambda i: len(ids[i]))
    done = len(texts) - len(order)
    for first in range(0, len(order), _BATCH_SIZE):
        rows = order[first : first + _BATCH_SIZE]  # texts of similar length: little padding
        _score_rows(engine, [ids[i] for i in rows], [surprisals[i] for i in rows])
        done += len(rows)
        if progress is not None:
            progress(done, len(texts))
    pairs = zip(surprisals, texts, strict=True)
    return [Score(bits_of_characters(vocabulary, text[1:], bits), text) for bits, text in pairs]


def bits_of_characters(vocabulary: Vocabulary, text: str, bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert surprisals of ids to surprisals of characters; in a byte model, a character is the sum of its bytes.

    Args:
        vocabulary: The model's vocabulary.
        text: The scored characters.
        bits: Surprisals of ids in bits. The last ones belong to ``text``; earlier ones are ignored.
    """
    sizes = vocabulary.sizes(text)
    if sizes is None:
        return bits[len(bits) - len(text) :]
    ends = np.cumsum(sizes)
    return np.add.reduceat(bits[len(bits) - ends[-1] :], ends - sizes)


def _score_rows(engine: Engine, rows: list[NDArray[np.intp]], surprisals: list[NDArray[np.float64]]) -> None:
    """Score a batch of texts, sorted by ascending length, and store the results in ``surprisals``."""
    longest = len(rows[-1]) - 1
    ids = np.zeros((len(rows), longest), np.intp)  # shorter texts are padded
    for padded, row in zip(ids, rows, strict=True):
        padded[: len(row) - 1], padded[len(row) - 1 :] = row[:-1], row[-2]
    state = engine.initial_state(len(rows))
    for start in range(0, longest, _BLOCK):
        logits, state = engine.forward(ids[:, start : start + _BLOCK], state)
        for i, row in enumerate(rows):
            targets = row[start + 1 : start + 1 + _BLOCK]
            if len(targets):
                surprisals[i][start : start + len(targets)] = surprisals_of(logits[i, : len(targets)], targets)


def surprisals_of(logits: NDArray[np.float32], targets: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the surprisal in bits of each target id (T,) under logits (T, V)."""
    return nats_to_bits(log_probs_of(logits, targets))
