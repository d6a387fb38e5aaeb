"""The index of a text: one integer code per character, in memory or memory-mapped, in the narrowest integer type.

Codes number the characters in the order of their first appearance, so that the text is indexed in one pass. A lookup
table converts codes to the ids of a vocabulary when they are read.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.bytes import BYTES
from charloom.data.vocabulary.characters import Vocabulary, code_points, text_from_code_points

BLOCK = 1 << 18
"""Number of characters processed at once."""

_UTF8 = "utf-8", "surrogatepass"


class Ids(Protocol):
    """A one-dimensional array of N ids, in memory or on disk; indexing it returns a NumPy array."""

    def __len__(self) -> int:
        """Return the number of ids, N."""
        ...

    def __getitem__(self, positions: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        """Return the ids at these positions."""
        ...


@dataclass(frozen=True)
class MappedIds:
    """Ids that are converted from the codes of an index when they are read.

    Attributes:
        codes: Codes of an ``Index``, (N,).
        table: The id of each code.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    table: NDArray[np.unsignedinteger] = field(repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, positions: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        ids: NDArray[np.unsignedinteger] = self.table[self.codes[positions]]
        return ids


def blocks(ids: Ids) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield all ids in order, in blocks of ``BLOCK`` ids."""
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


@dataclass(frozen=True)
class Index:
    """A text in the form of one integer code per character.

    Attributes:
        codes: Unsigned integers (N,), in memory or memory-mapped.
        characters: The character of each code.
        sha256: SHA-256 of the text in UTF-8, or of the bytes if ``unit`` is "byte".
        unit: "char" or "byte". For bytes, each character represents the byte with its code point.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    characters: str
    sha256: str
    unit: str = "char"

    def __len__(self) -> int:
        return len(self.codes)

    def symbols(self, first: int, last: int) -> str:
        """Return the characters of the codes in [first, last); bytes are not decoded as UTF-8."""
        return text_from_code_points(self.points[self.codes[first:last]])

    @cached_property
    def points(self) -> NDArray[np.integer]:
        """The code point of each code's character."""
        return code_points(self.characters)

    def ids(self, vocabulary: Vocabulary, first: int = 0, last: int | None = None) -> Ids:
        """Return the ids of a span of the text; for a memory-mapped index, the ids are converted when they are read.

        Args:
            vocabulary: A vocabulary that contains every character of the text.
            first: Start of the span.
            last: End of the span (exclusive); None for the end of the text.
        """
        table = vocabulary.encode_symbols(self.characters)
        part = self.codes[first:last]
        return MappedIds(part, table) if isinstance(self.codes, np.memmap) else table[part]


class IndexBuilder:
    """Builds an index from the pieces of a text.

    Args:
        unit: "char" or "byte".

    Attributes:
        length: Number of characters appended so far.
        sha256: Hash of the text so far.
    """

    def __init__(self, unit: str = "char") -> None:
        self.unit = unit
        self.length = 0
        self.sha256 = hashlib.sha256()
        self._vocabulary: Vocabulary | None = None
        self._parts: list[NDArray[np.unsignedinteger]] = []

    @property
    def characters(self) -> str:
        """The characters seen so far in the order of their first appearance; all 256 bytes if the unit is "byte"."""
        if self.unit == "byte":
            return BYTES
        return self._vocabulary.characters if self._vocabulary else ""

    def restore_characters(self, characters: str) -> None:
        """Start with the characters of an unfinished index."""
        self._vocabulary = Vocabulary(characters) if characters else None

    def update_digest(self, piece: str) -> None:
        """Update the hash with a piece of the text."""
        self.sha256.update(piece.encode("latin-1") if self.unit == "byte" else piece.encode(*_UTF8))

    def add(self, piece: str) -> None:
        """Append the next piece of the text."""
        self.update_digest(piece)
        for start in range(0, len(piece), BLOCK):
            self.append(self.encode(piece[start : start + BLOCK]))

    def encode(self, piece: str) -> NDArray[np.unsignedinteger]:
        """Convert a piece to codes; characters that are new get the next codes."""
        if self.unit == "byte":
            return np.frombuffer(piece.encode("latin-1"), np.uint8)
        if self._vocabulary is None:
            self._vocabulary = Vocabulary("".join(dict.fromkeys(piece)))
        codes = self._vocabulary.look_up(piece)
        if codes.max(initial=0) == len(self._vocabulary):
            self._vocabulary = Vocabulary(self.characters + self._vocabulary.unknown(piece))
            codes = self._vocabulary.look_up(piece)
        return codes

    def append(self, codes: NDArray[np.unsignedinteger]) -> None:
        """Append codes to the index in memory."""
        self._parts.append(codes)
        self.length += len(codes)

    def take_pending(self) -> list[NDArray[np.unsignedinteger]]:
        """Return the codes appended so far, and remove them from memory."""
        parts, self._parts = self._parts, []
        return parts

    def build(self) -> Index:
        """Return the index of the appended codes."""
        codes = np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
        return Index(codes, self.characters, self.sha256.hexdigest(), self.unit)


def codes_path(folder: Path, itemsize: int) -> Path:
    """Return the path of the file for codes of ``itemsize`` bytes."""
    return folder / f"codes{itemsize}.bin"


class CodesFile:
    """An append-only file of codes, which is rewritten with more bytes per code when there are too many characters.

    The narrower file is kept until metadata that refer to the wider file are durable.

    Args:
        folder: The folder of the index.
        itemsize: Bytes per code.
        length: Number of codes to keep; the rest of the file is truncated.

    Attributes:
        itemsize: Current number of bytes per code.
        length: Current number of codes.
    """

    def __init__(self, folder: Path, itemsize: int = 1, length: int = 0) -> None:
        self.itemsize, self.length = itemsize, length
        self._folder = folder
        path = codes_path(folder, itemsize)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(itemsize * length)
        self._file.seek(0, 2)

    def write(self, codes: NDArray[np.unsignedinteger]) -> None:
        """Append codes; widen the file first if they need more bytes."""
        if codes.itemsize > self.itemsize:
            self._widen(codes.dtype)
        self._file.write(codes.astype(f"<u{self.itemsize}", copy=False).data)
        self.length += len(codes)

    def duplicate(self) -> int:
        """Flush the file, and return a duplicate of its descriptor, which the caller must close."""
        self._file.flush()
        return os.dup(self._file.fileno())

    def sync(self) -> None:
        """Make the file durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _widen(self, dtype: np.dtype[np.unsignedinteger]) -> None:
        """Copy all codes to a new file with more bytes per code."""
        self._file.close()
        narrow = codes_path(self._folder, self.itemsize)
        wider = codes_path(self._folder, dtype.itemsize).open("w+b")
        for start in range(0, self.length, BLOCK):
            count = min(BLOCK, self.length - start)
            part = np.fromfile(narrow, f"<u{self.itemsize}", count, offset=start * self.itemsize)
            wider.write(part.astype(dtype.newbyteorder("<")).data)
        self._file, self.itemsize = wider, dtype.itemsize
