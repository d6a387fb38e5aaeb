r"""Split text files into byte ranges so that each line belongs to exactly one partition.

A line ends behind its ``\n``, or at the end of the file. It belongs to the partition in which its first byte lies, and
is read to its end, even beyond the partition's. So where a partition begins follows from sizes alone: nothing is read
to cut a file of any size, and every worker finds its own first line.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom.data.reading.compression import MAX_MAGIC_BYTES, detect_compression
from charloom.data.reading.decoding import looks_binary, marked_encoding
from charloom.errors import CorpusError

MAX_LINE_BYTES = 1 << 24  # bytes
"""Maximum length of a line, in bytes; a longer one should be scored as a separate text."""

_START = 8192  # bytes from which the kind of a file is recognized
_SKIPPED = 1 << 20  # bytes of a line of the partition before, read at once


@dataclass(frozen=True)
class Partition:
    """A byte range of a file.

    Attributes:
        file: The file's number, from 0.
        start: The first byte in which a line of this partition may begin.
        end: The first byte in which none may.
    """

    file: int
    start: int
    end: int


def partition_count(sizes: Sequence[int], partition_bytes: int) -> int:
    """Return the number of partitions of files of these sizes; an empty file has none."""
    return sum(-(-size // partition_bytes) for size in sizes)


def get_partition(sizes: Sequence[int], partition_bytes: int, number: int) -> Partition:
    """Return a partition by its number: file after file, each from its beginning.

    Args:
        sizes: Of the files, in bytes.
        partition_bytes: Bytes of a partition; the last one of a file may have fewer.
        number: From 0, below ``partition_count``.

    Example:
        >>> get_partition([10, 0, 25], 10, 3)
        Partition(file=2, start=20, end=25)
    """
    for file, size in enumerate(sizes):
        here = -(-size // partition_bytes)
        if number < here:
            return Partition(file, number * partition_bytes, min((number + 1) * partition_bytes, size))
        number -= here
    raise IndexError("there is no such partition")


def lines_in(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    r"""Yield the lines that begin in a byte range, each with the offset of its first byte and with its ``\n``.

    All lines of all ranges of a file, put together, are its bytes.

    Raises:
        CorpusError: If a line is longer than ``MAX_LINE_BYTES``.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        at = 0
        if start:
            file.seek(start - 1)
            while (skipped := file.readline(_SKIPPED)) and not skipped.endswith(b"\n"):
                pass
            at = file.tell()
        while at < end and (line := file.readline(MAX_LINE_BYTES + 1)):
            if len(line) > MAX_LINE_BYTES:
                raise CorpusError(
                    f"{path}: the line at byte {at:,} is longer than {MAX_LINE_BYTES:,} bytes. Break it into several "
                    "lines, or score the text with charloom score.",
                    code="line_too_long",
                    path=str(path),
                    offset=at,
                    maximum=MAX_LINE_BYTES,
                )
            yield at, line
            at += len(line)


def line_text(line: bytes, offset: int) -> str:
    r"""Return a line as text: without its ``\n`` or ``\r\n``, and without a byte order mark where its file begins.

    Bytes that are no UTF-8 become lone surrogates ("surrogateescape"), which only models of bytes know.
    """
    if line.endswith(b"\n"):
        line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
    if offset == 0:
        line = line.removeprefix(codecs.BOM_UTF8)
    return line.decode("utf-8", "surrogateescape")


def line_number(path: Path, offset: int) -> int:
    """Return which line of its file begins at an offset, from 1; the file is read as far as there."""
    number = 1
    with path.open("rb") as file:
        while offset > 0 and (data := file.read(min(offset, _SKIPPED))):
            number += data.count(b"\n")
            offset -= len(data)
    return number


def check_plain_text(path: Path) -> int:
    """Return the size in bytes of a file that can be cut; it is known by its beginning.

    Raises:
        CorpusError: If it is not there, is no file, or is compressed, in UTF-16 or UTF-32, or holds NUL bytes.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            size = file.seek(0, 2)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorpusError(
            f"Cannot read {path}: {reason}. Pass a plain text file.",
            code="unreadable_file",
            path=str(path),
            reason=reason,
        ) from None
    if (compression := detect_compression(start[:MAX_MAGIC_BYTES])) is not None:
        raise CorpusError(
            f"{path} is compressed ({compression}). Bulk jobs read uncompressed files only: decompress it first.",
            code="compressed_file",
            path=str(path),
            compression=compression,
        )
    if (encoding := marked_encoding(start)) not in (None, "utf-8"):
        raise CorpusError(
            f"{path} is encoded as {str(encoding).upper()}. Bulk jobs read UTF-8 only: convert it first.",
            code="unsupported_encoding",
            path=str(path),
            encoding=str(encoding),
        )
    if looks_binary(start):
        raise CorpusError(
            f"{path} contains NUL bytes, so it is probably not a text file. Pass a plain text file.",
            code="binary_file",
            path=str(path),
        )
    return size
