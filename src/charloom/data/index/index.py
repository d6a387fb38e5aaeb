"""A text as numbers, in memory or on disk: built piece by piece, and never wider than its alphabet needs.

The numbers ("codes") count characters in the order of their first appearance, so that one reading is enough; what
number a vocabulary gives each of them is looked up where they are read.
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
"""Characters that are looked at at once."""

_CODED = "utf-8", "surrogatepass"


class Ids(Protocol):
    """What is indexed like an array of ids (N,), and may lie on disk: what is taken from it is an array."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, places: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        """Return the ids at these places."""
        ...


@dataclass(frozen=True)
class MappedIds:
    """Ids that are looked up when they are read.

    Attributes:
        codes: (N,), of an ``Index``.
        table: The id of each code.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    table: NDArray[np.unsignedinteger] = field(repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, places: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        found: NDArray[np.unsignedinteger] = self.table[self.codes[places]]
        return found


def blocks(ids: Ids) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield ids in their order, some at a time."""
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


@dataclass(frozen=True)
class Index:
    """A text as numbers.

    Attributes:
        codes: (N,), in memory or mapped from a file.
        characters: What each code stands for.
        sha256: The digest of the text as UTF-8; of bytes, theirs.
        unit: "char", or "byte": each character then stands for the byte of its code point.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    characters: str
    sha256: str
    unit: str = "char"

    def __len__(self) -> int:
        return len(self.codes)

    def symbols(self, first: int, last: int) -> str:
        """Return one character for each code of a part; of bytes, not yet the text."""
        return text_from_code_points(self.points[self.codes[first:last]])

    @cached_property
    def points(self) -> NDArray[np.integer]:
        """The code point of each code's character."""
        return code_points(self.characters)

    def ids(self, vocabulary: Vocabulary, first: int = 0, last: int | None = None) -> Ids:
        """Return the ids of a part; of a text on disk, to be looked up where they are read.

        Args:
            vocabulary: Whose ids; it knows every character.
            first: Of the part.
            last: The place after its end; None: the text's end.
        """
        table = vocabulary.encode_symbols(self.characters)
        part = self.codes[first:last]
        return MappedIds(part, table) if isinstance(self.codes, np.memmap) else table[part]


class IndexBuilder:
    """Turns the pieces of a text into an index, in memory.

    Args:
        unit: "char" or "byte".

    Attributes:
        length: How many characters were added.
        sha256: The digest so far.
    """

    def __init__(self, unit: str = "char") -> None:
        self.unit = unit
        self.length = 0
        self.sha256 = hashlib.sha256()
        self._vocabulary: Vocabulary | None = None
        self._parts: list[NDArray[np.unsignedinteger]] = []

    @property
    def characters(self) -> str:
        """Those seen so far, in the order of their appearance; of bytes, all 256 in theirs."""
        if self.unit == "byte":
            return BYTES
        return self._vocabulary.characters if self._vocabulary else ""

    def know(self, characters: str) -> None:
        """Take up the characters that were seen before."""
        self._vocabulary = Vocabulary(characters) if characters else None

    def digest(self, piece: str) -> None:
        """Let a piece count in the digest."""
        self.sha256.update(piece.encode("latin-1") if self.unit == "byte" else piece.encode(*_CODED))

    def add(self, piece: str) -> None:
        """Take the next piece of the text."""
        self.digest(piece)
        for start in range(0, len(piece), BLOCK):
            self.keep(self.encode(piece[start : start + BLOCK]))

    def encode(self, piece: str) -> NDArray[np.unsignedinteger]:
        """Return the codes of a piece, those of characters that were never seen among them."""
        if self.unit == "byte":
            return np.frombuffer(piece.encode("latin-1"), np.uint8)
        if self._vocabulary is None:
            self._vocabulary = Vocabulary("".join(dict.fromkeys(piece)))
        codes = self._vocabulary.look_up(piece)
        if codes.max(initial=0) == len(self._vocabulary):
            self._vocabulary = Vocabulary(self.characters + self._vocabulary.unknown(piece))
            codes = self._vocabulary.look_up(piece)
        return codes

    def keep(self, codes: NDArray[np.unsignedinteger]) -> None:
        """Put codes behind those before."""
        self._parts.append(codes)
        self.length += len(codes)

    def take(self) -> list[NDArray[np.unsignedinteger]]:
        """Return the codes that are held, which are held no longer."""
        parts, self._parts = self._parts, []
        return parts

    def build(self) -> Index:
        """Return the index of what was added."""
        codes = np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
        return Index(codes, self.characters, self.sha256.hexdigest(), self.unit)


def codes_path(folder: Path, itemsize: int) -> Path:
    """Return the file of a folder that holds codes of so many bytes each."""
    return folder / f"codes{itemsize}.bin"


class CodesFile:
    """A growing file of codes of one width; where the alphabet outgrows it, a wider file takes its place.

    The narrower file stays: until somebody has written down that there is a wider one, it is the one that counts.

    Args:
        folder: Where it is.
        itemsize: Bytes of each code.
        length: How many codes are to be kept; what is behind them is cut off.

    Attributes:
        itemsize: Bytes of each code now.
        length: How many codes there are.
    """

    def __init__(self, folder: Path, itemsize: int = 1, length: int = 0) -> None:
        self.itemsize, self.length = itemsize, length
        self._folder = folder
        path = codes_path(folder, itemsize)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(itemsize * length)
        self._file.seek(0, 2)

    def write(self, codes: NDArray[np.unsignedinteger]) -> None:
        """Put codes behind those before."""
        if codes.itemsize > self.itemsize:
            self._widen(codes.dtype)
        self._file.write(codes.astype(f"<u{self.itemsize}", copy=False).data)
        self.length += len(codes)

    def duplicate(self) -> int:
        """Return a descriptor of the file, to be closed by the caller; all that was written is handed to the system."""
        self._file.flush()
        return os.dup(self._file.fileno())

    def sync(self) -> None:
        """Make what was written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _widen(self, dtype: np.dtype[np.unsignedinteger]) -> None:
        """Write all of it again, wider, into another file."""
        self._file.close()
        narrow = codes_path(self._folder, self.itemsize)
        wider = codes_path(self._folder, dtype.itemsize).open("w+b")
        for start in range(0, self.length, BLOCK):
            count = min(BLOCK, self.length - start)
            part = np.fromfile(narrow, f"<u{self.itemsize}", count, offset=start * self.itemsize)
            wider.write(part.astype(dtype.newbyteorder("<")).data)
        self._file, self.itemsize = wider, dtype.itemsize
