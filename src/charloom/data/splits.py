"""Parts of an indexed text: contiguous spans, and selections of records.

A part is a view of an ``Index``. It is read in pieces, and held in memory as a whole only if its ``text`` is requested.
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

_RECORDS_PER_PIECE = 10_000
_MAX_FLAT = 4_000_000  # characters in a sample of records


class TextView(Protocol):
    """A part of a text, read in pieces."""

    def __len__(self) -> int:
        """Return the number of characters, including the mark after each record."""
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
        first: Position of the first character of the span.
        last: Position after the last character of the span.
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
        """Yield the text in pieces; for bytes, ``whole=False`` omits an incomplete UTF-8 character at the end."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for start in range(self.first, self.last, BLOCK):
            last = min(start + BLOCK, self.last)
            symbols = self.index.symbols(start, last)
            is_end = whole and last == self.last
            yield decoder.decode(symbols.encode("latin-1"), is_end) if self.index.unit == "byte" else symbols

    def head(self, count: int) -> str:
        """Return at most ``count`` first characters; of bytes, the complete characters in the first ``count`` bytes."""
        return "".join(self.beginning(count)._pieces(whole=count >= len(self)))

    def beginning(self, count: int) -> "TextSpan":
        """Return the span of the first ``count`` characters, or of all if there are fewer."""
        return TextSpan(self.index, self.first, min(self.first + count, self.last))

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> Ids:
        """Encode the text of this part with a vocabulary."""
        return self.index.ids(vocabulary, self.first, self.last)


@dataclass(frozen=True)
class RecordIds:
    """Ids of M records (single lines, or texts of several lines), each of which is a separate text.

    Attributes:
        ids: Ids of the whole text that contains the records.
        starts: Position of the first character of each record, (M,).
        lengths: Number of characters of each record without its mark, (M,).
        mark: Id of the mark, which is the model's first input for a record and its last target.
        equal_characters: Whether every character has the same weight in training; see ``RecordGroups``.
    """

    ids: Ids = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    mark: int
    equal_characters: bool = False

    def __len__(self) -> int:
        return int(self.lengths.sum()) + len(self.lengths)

    def flat(self, max_length: int) -> NDArray[np.unsignedinteger]:
        """Concatenate the ids of evenly spaced records, including their marks, to about ``max_length`` ids."""
        if not len(self.lengths):
            return self.ids[:0]
        stride = max(1, -(-len(self) // max_length))
        positions, ends = _record_positions(self.starts[::stride], self.lengths[::stride])
        flat = self.ids[positions]
        flat[ends] = self.mark
        return flat

    def windows(self, records: NDArray[np.intp], rows: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
        """Return records as the rows of a batch, padded to the longest record.

        Args:
            records: Indices of the records, at most ``rows``.
            rows: Batch size B.

        Returns:
            Inputs (B, T): a mark, the record, and padding with marks. Targets (B, T): the record, a mark, and padding
            with -1.
        """
        longest = int(self.lengths[records].max(initial=0))
        offsets = np.arange(longest)
        is_text = offsets < self.lengths[records][:, None]
        positions = np.where(is_text, self.starts[records][:, None] + offsets, self.starts[records][:, None])
        text = self.ids[positions]
        inputs = np.full((rows, longest + 1), self.mark, text.dtype)
        targets = np.full((rows, longest + 1), -1, np.int64)
        inputs[: len(records), 1:] = np.where(is_text, text, self.mark)
        targets[: len(records), :-1] = np.where(is_text, text.astype(np.int64), -1)
        targets[np.arange(len(records)), self.lengths[records]] = self.mark
        return inputs, targets


@dataclass(frozen=True)
class TextRecords:
    """M records of a text (single lines, or texts of several lines), each of which is a separate text.

    Attributes:
        index: The index of the whole text.
        starts: Position of the first character of each record, (M,).
        lengths: Number of characters of each record without its mark, (M,).
        mark: The character that ends each record; see ``TextFormat.mark``.
    """

    index: Index = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    mark: str

    @cached_property
    def _characters(self) -> int:
        return int(self.lengths.sum()) + len(self.lengths)

    def __len__(self) -> int:
        return self._characters

    def pieces(self) -> Iterator[str]:
        """Yield the records with their marks, in pieces of up to 10,000 records."""
        for first in range(0, len(self.starts), _RECORDS_PER_PIECE):
            rows = slice(first, first + _RECORDS_PER_PIECE)
            positions, ends = _record_positions(self.starts[rows], self.lengths[rows])
            points = self.index.points[self.index.codes[positions]]
            points[ends] = ord(self.mark)
            yield text_from_code_points(points)

    def beginnings(self, end: str) -> Iterator[str]:
        """Yield the characters of each record before the first occurrence of ``end``, or the whole record."""
        for piece in self.pieces():
            yield from (record.partition(end)[0] for record in piece.split(self.mark)[:-1])

    def head(self, count: int) -> str:
        """Return the first ``count`` characters of the records, or all if there are fewer."""
        return self.beginning(count).text[:count]

    def beginning(self, count: int) -> "TextRecords":
        """Return as many first records as are needed for ``count`` characters."""
        enough = int(np.searchsorted(np.cumsum(self.lengths + 1), count)) + 1
        return self.subset(np.arange(min(enough, len(self.starts))))

    def place(self, record: int) -> tuple[int, int]:
        """Return where a record of this part is in the whole text: the position of its start, and its number from 1."""
        code, start = self.index.characters.find(self.mark), int(self.starts[record])
        parts = range(0, start, BLOCK)
        before = sum(int(np.count_nonzero(self.index.codes[i : min(i + BLOCK, start)] == code)) for i in parts)
        return start, before + 1

    @property
    def text(self) -> str:
        """All records with their marks as one string."""
        return "".join(self.pieces())

    def ids(self, vocabulary: Vocabulary) -> RecordIds:
        """Encode the text of this part with a vocabulary."""
        mark = int(vocabulary.encode(self.mark)[0])
        return RecordIds(self.index.ids(vocabulary), self.starts, self.lengths, mark, self.mark != "\n")

    def subset(self, indices: NDArray[np.intp]) -> "TextRecords":
        """Return the records at these indices."""
        return TextRecords(self.index, self.starts[indices], self.lengths[indices], self.mark)


@dataclass(frozen=True)
class CorpusSplit:
    """Views of the three parts of a corpus.

    Attributes:
        training: The part on which a model is trained.
        validation: The part used for early stopping and for selecting the best checkpoint; may be empty.
        test: The part used to report results; may be empty.
    """

    training: TextSpan | TextRecords
    validation: TextSpan | TextRecords
    test: TextSpan | TextRecords


@dataclass(frozen=True)
class TextSplit:
    """The three parts of a corpus as strings.

    Attributes:
        training: The part on which a model is trained.
        validation: The part used for early stopping and for selecting the best checkpoint; may be empty.
        test: The part used to report results; may be empty.
    """

    training: str
    validation: str
    test: str


def _record_positions(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return text positions for gathering records, with a placeholder for the mark after each record.

    Returns:
        The position in the text of each character of the records, with one placeholder position (0) after each one; and
        the indices of the placeholders, whose gathered values the caller replaces by marks.
    """
    ends = np.cumsum(lengths + 1)
    positions = np.repeat(starts - (ends - lengths - 1), lengths + 1) + np.arange(ends[-1])
    positions[ends - 1] = 0  # the position after the last record may be beyond the text
    return positions, ends - 1


def flatten_ids(ids: Ids | RecordIds) -> Ids:
    """Return one array of ids; for records, an evenly spaced sample of about 4 million ids at most."""
    return ids.flat(_MAX_FLAT) if isinstance(ids, RecordIds) else ids


def nonempty_records(index: Index, mark: str) -> tuple[TextRecords, int]:
    """Return the non-empty records of a text, each of which ends with a mark, and the number of empty ones.

    Args:
        index: The index of the text.
        mark: See ``TextFormat.mark``.
    """
    code = index.characters.find(mark)  # -1 if there is none, which no code equals
    parts = range(0, len(index), BLOCK)
    ends = (start + np.flatnonzero(index.codes[start : start + BLOCK] == code) for start in parts)
    ended = np.concatenate([*ends, [len(index)]]).astype(np.int64)
    starts = np.concatenate([[0], ended[:-1] + 1]).astype(np.int64)
    lengths = ended - starts
    full = lengths > 0
    empty = int((~full).sum()) - int(lengths[-1] == 0)  # the end after the last mark is not an empty record
    return TextRecords(index, starts[full], lengths[full], mark), empty


def stratified_indices(count: int, fraction: float) -> NDArray[np.intp]:
    """Return a reproducible stratified sample of the indices in [0, count), in ascending order.

    One index is drawn from each of ``count * fraction`` strata of equal size, which samples a sorted list evenly.
    """
    size = int(count * fraction)
    if not size:
        return np.empty(0, np.intp)
    drawn = np.random.Generator(np.random.Philox(key=0)).random(size)
    edges = np.linspace(0, count, size + 1)
    first, last = np.ceil(edges[:-1]).astype(np.intp), np.ceil(edges[1:]).astype(np.intp)
    return first + (drawn * (last - first)).astype(np.intp)
