"""Parts of an indexed text: a contiguous stretch, or lines from all over it.

A part is a view of an ``Index``: it is read in pieces and never held in memory as a whole unless that is asked for.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import BLOCK, Ids, Index
from charloom.data.vocabulary.characters import Vocabulary, text_from_code_points

_LINES_PER_PIECE = 10_000
_MAX_FLAT = 4_000_000  # characters of a sample of lines


class TextView(Protocol):
    """A part of a text, read in pieces."""

    def __len__(self) -> int:
        """Return the number of characters; each line counts with the line feed that ends it."""
        ...

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces."""
        ...

    def head(self, count: int) -> str:
        """Return the first characters, at most ``count``."""
        ...


@dataclass(frozen=True)
class TextSpan:
    """A contiguous span of a text.

    Attributes:
        index: The index of the whole text.
        first: Position of its first character.
        last: Position after its last character.
    """

    index: Index = field(repr=False)
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces."""
        return self._pieces(whole=True)

    def _pieces(self, whole: bool) -> Iterator[str]:
        """Yield the text; an incomplete character at the end of bytes is left out unless ``whole``."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for start in range(self.first, self.last, BLOCK):
            last = min(start + BLOCK, self.last)
            symbols = self.index.symbols(start, last)
            is_end = whole and last == self.last
            yield decoder.decode(symbols.encode("latin-1"), is_end) if self.index.unit == "byte" else symbols

    def head(self, count: int) -> str:
        """Return the first characters, at most ``count`` (or bytes, rounded down to whole characters)."""
        return "".join(self.beginning(count)._pieces(whole=count >= len(self)))

    def beginning(self, count: int) -> "TextSpan":
        """Return the view of its first characters, at most ``count``."""
        return TextSpan(self.index, self.first, min(self.first + count, self.last))

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> Ids:
        """Return its ids under a vocabulary."""
        return self.index.ids(vocabulary, self.first, self.last)


@dataclass(frozen=True)
class LineIds:
    """Ids of M lines, each of which is a separate text.

    Attributes:
        ids: Ids of the whole text that contains the lines.
        starts: Position of the first character of each line, (M,).
        lengths: Number of characters of each line without the line feed, (M,).
        newline: Id of the line feed, which is read before each line and ends it.
    """

    ids: Ids = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    newline: int

    def __len__(self) -> int:
        return int(self.lengths.sum()) + len(self.lengths)

    def flat(self, max_length: int) -> NDArray[np.unsignedinteger]:
        """Return ids of evenly spaced lines, each with its line feed, about ``max_length`` ids in all."""
        if not len(self.lengths):
            return self.ids[:0]
        every = max(1, -(-len(self) // max_length))
        places, ends = _places(self.starts[::every], self.lengths[::every])
        flat = self.ids[places]
        flat[ends] = self.newline
        return flat

    def windows(self, lines: NDArray[np.intp], rows: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
        """Return lines as the rows of a batch, padded to the longest.

        Args:
            lines: Numbers of lines, at most ``rows``.
            rows: The batch size B.

        Returns:
            Inputs (B, T): a line feed, then the line; and targets (B, T): the line, a line feed, then padding of -1.
        """
        longest = int(self.lengths[lines].max(initial=0))
        inside = np.arange(longest)
        counted = inside < self.lengths[lines][:, None]
        places = np.where(counted, self.starts[lines][:, None] + inside, self.starts[lines][:, None])
        text = self.ids[places]
        inputs = np.full((rows, longest + 1), self.newline, text.dtype)
        targets = np.full((rows, longest + 1), -1, np.int64)
        inputs[: len(lines), 1:] = np.where(counted, text, self.newline)
        targets[: len(lines), :-1] = np.where(counted, text.astype(np.int64), -1)
        targets[np.arange(len(lines)), self.lengths[lines]] = self.newline
        return inputs, targets


@dataclass(frozen=True)
class TextLines:
    """M lines of a text, each of which is a separate text.

    Attributes:
        index: The index of the whole text.
        starts: Position of the first character of each line, (M,).
        lengths: Number of characters of each line without the line feed, (M,).
    """

    index: Index = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)

    @cached_property
    def _characters(self) -> int:
        return int(self.lengths.sum()) + len(self.lengths)

    def __len__(self) -> int:
        return self._characters

    def pieces(self) -> Iterator[str]:
        """Yield the lines, each with a line feed, in pieces of whole lines."""
        for first in range(0, len(self.starts), _LINES_PER_PIECE):
            rows = slice(first, first + _LINES_PER_PIECE)
            places, ends = _places(self.starts[rows], self.lengths[rows])
            points = self.index.points[self.index.codes[places]]
            points[ends] = ord("\n")
            yield text_from_code_points(points)

    def head(self, count: int) -> str:
        """Return the beginning of the first lines, at most ``count`` characters."""
        return self.beginning(count).text[:count]

    def beginning(self, count: int) -> "TextLines":
        """Return the first lines that together have at least ``count`` characters."""
        enough = int(np.searchsorted(np.cumsum(self.lengths + 1), count)) + 1
        return self.subset(np.arange(min(enough, len(self.starts))))

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> LineIds:
        """Return its ids under a vocabulary."""
        newline = int(vocabulary.encode("\n")[0])
        return LineIds(self.index.ids(vocabulary), self.starts, self.lengths, newline)

    def subset(self, numbers: NDArray[np.intp]) -> "TextLines":
        """Return the lines with these numbers."""
        return TextLines(self.index, self.starts[numbers], self.lengths[numbers])


@dataclass(frozen=True)
class CorpusSplit:
    """A corpus split into three parts, none of which is held in memory as text.

    Attributes:
        training: The part that a model learns from.
        validation: The part that training decisions are based on; may be empty.
        test: The part that results are reported on; may be empty.
    """

    training: TextSpan | TextLines
    validation: TextSpan | TextLines
    test: TextSpan | TextLines


@dataclass(frozen=True)
class TextSplit:
    """A ``CorpusSplit`` as text.

    Attributes:
        training: The part that a model learns from.
        validation: The part that training decisions are based on; may be empty.
        test: The part that results are reported on; may be empty.
    """

    training: str
    validation: str
    test: str


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of all characters of lines with one extra position after each line, and where those are."""
    ends = np.cumsum(lengths + 1)
    places = np.repeat(starts - (ends - lengths - 1), lengths + 1) + np.arange(ends[-1])
    places[ends - 1] = 0  # overwritten by the caller; a position after the last line may not exist
    return places, ends - 1


def flatten_ids(ids: Ids | LineIds) -> Ids:
    """Return ids as those of one text; of lines, an evenly spaced sample of at most about 4 million ids."""
    return ids.flat(_MAX_FLAT) if isinstance(ids, LineIds) else ids


def nonempty_lines(index: Index) -> tuple[TextLines, int]:
    """Return the non-empty lines of a text, and the number of empty ones."""
    code = index.characters.find("\n")  # -1 if there is none; no code equals that
    parts = range(0, len(index), BLOCK)
    ends = (start + np.flatnonzero(index.codes[start : start + BLOCK] == code) for start in parts)
    ended = np.concatenate([*ends, [len(index)]]).astype(np.int64)
    starts = np.concatenate([[0], ended[:-1] + 1]).astype(np.int64)
    lengths = ended - starts
    full = lengths > 0
    empty = int((~full).sum()) - int(lengths[-1] == 0)  # nothing after the last line feed is no line
    return TextLines(index, starts[full], lengths[full]), empty


def stratified_indices(count: int, share: float) -> NDArray[np.intp]:
    """Return a reproducible stratified sample of the numbers below ``count``, in ascending order.

    One is drawn from each of ``count * share`` strata of equal size, so that a sorted list is sampled evenly.
    """
    size = int(count * share)
    if not size:
        return np.empty(0, np.intp)
    drawn = np.random.Generator(np.random.Philox(key=0)).random(size)
    edges = np.linspace(0, count, size + 1)
    first, last = np.ceil(edges[:-1]).astype(np.intp), np.ceil(edges[1:]).astype(np.intp)
    return first + (drawn * (last - first)).astype(np.intp)
