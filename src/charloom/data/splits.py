"""Parts of a text that is held as an index: a stretch of it, or lines from all over it."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import BLOCK, Ids, Index
from charloom.data.vocabulary.characters import Vocabulary, text_from_code_points

_TOGETHER = 10_000  # lines of one piece
_COUNTED = 4_000_000  # characters of lines that stand for all of them


class TextView(Protocol):
    """A part of a text."""

    def __len__(self) -> int:
        """Return how many characters it has; of lines, each with the line feed that ends it."""
        ...

    def pieces(self) -> Iterator[str]:
        """Yield its text, some of it at a time."""
        ...

    def head(self, count: int) -> str:
        """Return the beginning of its text, at most so many characters."""
        ...


@dataclass(frozen=True)
class TextSpan:
    """A stretch of a text.

    Attributes:
        index: Of the whole text.
        first: Where it begins.
        last: The place after its end.
    """

    index: Index = field(repr=False)
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def pieces(self) -> Iterator[str]:
        """Yield its text, some of it at a time."""
        return self._pieces(whole=True)

    def _pieces(self, whole: bool) -> Iterator[str]:
        """Yield its text; of bytes, what is half a character at the end only if that belongs to the whole."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for start in range(self.first, self.last, BLOCK):
            last = min(start + BLOCK, self.last)
            symbols = self.index.symbols(start, last)
            is_end = whole and last == self.last
            yield decoder.decode(symbols.encode("latin-1"), is_end) if self.index.unit == "byte" else symbols

    def head(self, count: int) -> str:
        """Return the beginning of its text, at most so many characters; of bytes, whole characters."""
        return "".join(self.beginning(count)._pieces(whole=count >= len(self)))

    def beginning(self, count: int) -> "TextSpan":
        """Return the part of it that is its beginning, at most so many characters."""
        return TextSpan(self.index, self.first, min(self.first + count, self.last))

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> Ids:
        """Return its ids."""
        return self.index.ids(vocabulary, self.first, self.last)


@dataclass(frozen=True)
class LineIds:
    """Ids of lines, each a text of its own.

    Attributes:
        ids: Of the whole text the lines are in.
        starts: Where each line begins in it, (M,).
        lengths: Its characters, the line feed not counted, (M,).
        newline: The id of the line feed, which is read before a line and ends it.
    """

    ids: Ids = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    newline: int

    def __len__(self) -> int:
        return int(self.lengths.sum()) + len(self.lengths)

    def flat(self, most: int) -> NDArray[np.unsignedinteger]:
        """Return ids of lines from all over, each with a line feed, about so many in all."""
        if not len(self.lengths):
            return self.ids[:0]
        every = max(1, -(-len(self) // most))
        places, ends = _places(self.starts[::every], self.lengths[::every])
        found = self.ids[places]
        found[ends] = self.newline
        return found

    def windows(self, lines: NDArray[np.intp], rows: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
        """Return lines side by side, filled up to the longest.

        Args:
            lines: Numbers of lines, at most ``rows``.
            rows: B.

        Returns:
            Inputs (B, T): a line feed and the line; and targets (B, T): the line and a line feed, -1 behind them.
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
    """Lines of a text, each a text of its own.

    Attributes:
        index: Of the whole text.
        starts: Where each begins, (M,).
        lengths: Its characters, the line feed not counted, (M,).
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
        """Yield its lines, each with a line feed, some at a time."""
        for first in range(0, len(self.starts), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            places, ends = _places(self.starts[some], self.lengths[some])
            points = self.index.points[self.index.codes[places]]
            points[ends] = ord("\n")
            yield text_from_code_points(points)

    def head(self, count: int) -> str:
        """Return the first lines, at most so many characters."""
        return self.beginning(count).text[:count]

    def beginning(self, count: int) -> "TextLines":
        """Return the first lines, as many as have so many characters or a few more."""
        enough = int(np.searchsorted(np.cumsum(self.lengths + 1), count)) + 1
        return self.some(np.arange(min(enough, len(self.starts))))

    @property
    def text(self) -> str:
        """All of its lines."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> LineIds:
        """Return its ids."""
        newline = int(vocabulary.encode("\n")[0])
        return LineIds(self.index.ids(vocabulary), self.starts, self.lengths, newline)

    def some(self, numbers: NDArray[np.intp]) -> "TextLines":
        """Return these of the lines."""
        return TextLines(self.index, self.starts[numbers], self.lengths[numbers])


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of lines' characters one after the other, a place behind each line, and where these are."""
    behind = np.cumsum(lengths + 1)
    places = np.repeat(starts - (behind - lengths - 1), lengths + 1) + np.arange(behind[-1])
    places[behind - 1] = 0  # there may be no place behind the last line: any will do
    return places, behind - 1


def flatten_ids(ids: Ids | LineIds) -> Ids:
    """Return ids as those of one text; of very many lines, of some from all over."""
    return ids.flat(_COUNTED) if isinstance(ids, LineIds) else ids


def nonempty_lines(index: Index) -> tuple[TextLines, int]:
    """Return the lines of a text that are not empty, and how many are."""
    code = index.characters.find("\n")  # -1, which no code is, if there is none
    parts = range(0, len(index), BLOCK)
    ends = (start + np.flatnonzero(index.codes[start : start + BLOCK] == code) for start in parts)
    ended = np.concatenate([*ends, [len(index)]]).astype(np.int64)
    starts = np.concatenate([[0], ended[:-1] + 1]).astype(np.int64)
    lengths = ended - starts
    full = lengths > 0
    empty = int((~full).sum()) - int(lengths[-1] == 0)  # there is no line behind the last line feed
    return TextLines(index, starts[full], lengths[full]), empty


def stratified_indices(count: int, share: float) -> NDArray[np.intp]:
    """Return numbers below ``count``, a share of them, spread evenly and drawn always alike.

    One is drawn from each of as many stretches of equal length, so that a sorted list is held out from all over.
    """
    wanted = int(count * share)
    if not wanted:
        return np.empty(0, np.intp)
    drawn = np.random.Generator(np.random.Philox(key=0)).random(wanted)
    edges = np.linspace(0, count, wanted + 1)
    first, last = np.ceil(edges[:-1]).astype(np.intp), np.ceil(edges[1:]).astype(np.intp)
    return first + (drawn * (last - first)).astype(np.intp)
