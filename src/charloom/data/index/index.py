"""A text as integer codes, in memory or memory-mapped, with as few bytes per code as possible.

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
"""Characters that are processed at once."""

_CODED = "utf-8", "surrogatepass"


class Ids(Protocol):
    """An array of ids (N,), in memory or on disk: indexing it returns an array."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, places: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        """Return the ids at these places."""
        ...


@dataclass(frozen=True)
class MappedIds:
    """Ids that are looked up in a table when they are read.

    Attributes:
        codes: (N,), of an ``Index``.
        table: The id of each code.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    table: NDArray[np.unsignedinteger] = field(repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, places: slice | NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
        ids: NDArray[np.unsignedinteger] = self.table[self.codes[places]]
        return ids


def blocks(ids: Ids) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield all ids in order, in blocks."""
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


@dataclass(frozen=True)
class Index:
    """A text as integer codes.

    Attributes:
        codes: (N,), in memory or memory-mapped.
        characters: The character of each code.
        sha256: Digest of the text as UTF-8; of the bytes if the unit is the byte.
        unit: "char", or "byte": each character then stands for the byte of its code point.
    """

    codes: NDArray[np.unsignedinteger] = field(repr=False)
    characters: str
    sha256: str
    unit: str = "char"

    def __len__(self) -> int:
        return len(self.codes)

    def symbols(self, first: int, last: int) -> str:
        """Return one character for each code in a range; bytes are not decoded."""
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
    """Builds an index in memory from the pieces of a text.

    Args:
        unit: "char" or "byte".

    Attributes:
        length: Characters appended so far.
        sha256: Digest of the text so far.
    """

    def __init__(self, unit: str = "char") -> None:
        self.unit = unit
        self.length = 0
        self.sha256 = hashlib.sha256()
        self._vocabulary: Vocabulary | None = None
        self._parts: list[NDArray[np.unsignedinteger]] = []

    @property
    def characters(self) -> str:
        """The characters seen so far, in the order of their first appearance; all 256 bytes if the unit is the byte."""
        if self.unit == "byte":
            return BYTES
        return self._vocabulary.characters if self._vocabulary else ""

    def restore_characters(self, characters: str) -> None:
        """Continue with the characters that an unfinished index has seen."""
        self._vocabulary = Vocabulary(characters) if characters else None

    def update_digest(self, piece: str) -> None:
        """Add a piece to the digest."""
        self.sha256.update(piece.encode("latin-1") if self.unit == "byte" else piece.encode(*_CODED))

    def add(self, piece: str) -> None:
        """Append the next piece of the text."""
        self.update_digest(piece)
        for start in range(0, len(piece), BLOCK):
            self.append(self.encode(piece[start : start + BLOCK]))

    def encode(self, piece: str) -> NDArray[np.unsignedinteger]:
        """Return the codes of a piece; new characters get new codes."""
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
        """Append codes."""
        self._parts.append(codes)
        self.length += len(codes)

    def take_pending(self) -> list[NDArray[np.unsignedinteger]]:
        """Return the codes held in memory and drop them."""
        parts, self._parts = self._parts, []
        return parts

    def build(self) -> Index:
        """Return the index of everything that was appended."""
        codes = np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
        return Index(codes, self.characters, self.sha256.hexdigest(), self.unit)


def codes_path(folder: Path, itemsize: int) -> Path:
    """Return the path of the file that holds codes of ``itemsize`` bytes each."""
    return folder / f"codes{itemsize}.bin"


class CodesFile:
    """An append-only file of codes of one width; if the alphabet outgrows it, a wider file replaces it.

    The narrower file stays until the metadata that name the wider one are durable.

    Args:
        folder: The folder of the index.
        itemsize: Bytes per code.
        length: Number of codes to keep; the file is truncated to them.

    Attributes:
        itemsize: Bytes per code now.
        length: Number of codes.
    """

    def __init__(self, folder: Path, itemsize: int = 1, length: int = 0) -> None:
        self.itemsize, self.length = itemsize, length
        self._folder = folder
        path = codes_path(folder, itemsize)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(itemsize * length)
        self._file.seek(0, 2)

    def write(self, codes: NDArray[np.unsignedinteger]) -> None:
        """Append codes."""
        if codes.itemsize > self.itemsize:
            self._widen(codes.dtype)
        self._file.write(codes.astype(f"<u{self.itemsize}", copy=False).data)
        self.length += len(codes)

    def duplicate(self) -> int:
        """Flush, and return a duplicate of the file descriptor, which the caller closes."""
        self._file.flush()
        return os.dup(self._file.fileno())

    def sync(self) -> None:
        """Flush and fsync."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _widen(self, dtype: np.dtype[np.unsignedinteger]) -> None:
        """Copy everything to a new file of wider codes."""
        self._file.close()
        narrow = codes_path(self._folder, self.itemsize)
        wider = codes_path(self._folder, dtype.itemsize).open("w+b")
        for start in range(0, self.length, BLOCK):
            count = min(BLOCK, self.length - start)
            part = np.fromfile(narrow, f"<u{self.itemsize}", count, offset=start * self.itemsize)
            wider.write(part.astype(dtype.newbyteorder("<")).data)
        self._file, self.itemsize = wider, dtype.itemsize
