"""Parts of a text that is held as an index: a stretch of it, or lines from all over it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.text.index import BLOCK, Ids, Index
from charloom.text.vocabulary import Vocabulary

_TOGETHER = 1000  # lines of one piece
_COUNTED = 4_000_000  # characters of lines that stand for all of them


class Part(Protocol):
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
class Stretch:
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
        symbols = (
            self.index.symbols(start, min(start + BLOCK, self.last)) for start in range(self.first, self.last, BLOCK)
        )
        return _as_text(symbols, self.index.unit)

    def head(self, count: int) -> str:
        """Return the beginning of its text, at most so many characters."""
        return self.beginning(count).text

    def beginning(self, count: int) -> "Stretch":
        """Return the part of it that is its beginning, at most so many characters."""
        return Stretch(self.index, self.first, min(self.first + count, self.last))

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> Ids:
        """Return its ids."""
        return self.index.ids(vocabulary, self.first, self.last)


def _as_text(symbols: Iterator[str], unit: str) -> Iterator[str]:
    if unit == "char":
        yield from symbols
        return
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for piece in symbols:
        yield decoder.decode(piece.encode("latin-1"))
    yield decoder.decode(b"", final=True)


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
        chosen = np.arange(0, len(self.lengths), every)
        lengths = self.lengths[chosen] + 1
        ends = np.cumsum(lengths)
        places = np.repeat(self.starts[chosen] - (ends - lengths), lengths) + np.arange(ends[-1])
        places[ends - 1] = 0
        found = self.ids[places]
        found[ends - 1] = self.newline
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
class Lines:
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
            pairs = zip(self.starts[some].tolist(), self.lengths[some].tolist(), strict=True)
            yield "".join(self.index.symbols(start, start + length) + "\n" for start, length in pairs)

    def head(self, count: int) -> str:
        """Return the first lines, at most so many characters."""
        return self.beginning(count).text[:count]

    def beginning(self, count: int) -> "Lines":
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

    def some(self, numbers: NDArray[np.intp]) -> "Lines":
        """Return these of the lines."""
        return Lines(self.index, self.starts[numbers], self.lengths[numbers])


def in_a_row(ids: Ids | LineIds) -> Ids:
    """Return ids as those of one text; of very many lines, of some from all over."""
    return ids.flat(_COUNTED) if isinstance(ids, LineIds) else ids


def lines_of(index: Index) -> tuple[Lines, int]:
    """Return the lines of a text that are not empty, and how many are."""
    code = index.characters.find("\n")
    ends = (
        []
        if code < 0
        else [
            start + np.flatnonzero(index.codes[start : start + BLOCK] == code) for start in range(0, len(index), BLOCK)
        ]
    )
    ended = np.concatenate([*ends, [len(index)]]).astype(np.int64)
    starts = np.concatenate([[0], ended[:-1] + 1]).astype(np.int64)
    lengths = ended - starts
    full = lengths > 0
    empty = int((~full).sum()) - int(lengths[-1] == 0)  # there is no line behind the last line feed
    return Lines(index, starts[full], lengths[full]), empty


def spread_choice(count: int, share: float) -> NDArray[np.intp]:
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
