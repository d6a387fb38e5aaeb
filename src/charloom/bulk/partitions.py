r"""Partition text files by byte ranges so that each line belongs to exactly one partition.

A line ends after its ``\n`` or at the end of the file. It belongs to the partition that contains its first byte, and is
read to its end even if it extends beyond the partition. The partitions therefore follow from file sizes only: no file
is read to create them, and each worker finds the first line of its partition itself.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom.data.reading.compression import MAX_MAGIC_BYTES, detect_compression
from charloom.data.reading.containers import UNPACK, is_zip, unreadable_document
from charloom.data.reading.decoding import looks_binary, marked_encoding
from charloom.errors import CorpusError

MAX_LINE_BYTES = 1 << 24  # bytes
"""Maximum length of a line, in bytes; score a longer one with ``charloom score``."""

_START = 8192  # bytes at the start of a file that are checked for compression, encoding and NUL bytes
_SKIPPED = 1 << 20  # bytes read at once when skipping a line of the previous partition


@dataclass(frozen=True)
class Partition:
    """A byte range of a file.

    Attributes:
        file: Number of the file, from 0.
        start: Offset of the first byte of the range.
        end: Offset of the first byte after the range.
    """

    file: int
    start: int
    end: int


def partition_count(sizes: Sequence[int], partition_bytes: int) -> int:
    """Return the number of partitions of files of these sizes; an empty file has none."""
    return sum(-(-size // partition_bytes) for size in sizes)


def get_partition(sizes: Sequence[int], partition_bytes: int, number: int) -> Partition:
    """Return a partition by its number; partitions are numbered through the files in order.

    Args:
        sizes: Sizes of the files, in bytes.
        partition_bytes: Size of a partition in bytes; the last partition of a file may be smaller.
        number: Number of the partition, in [0, ``partition_count``).

    Example:
        >>> get_partition([10, 0, 25], 10, 3)
        Partition(file=2, start=20, end=25)
    """
    for file, size in enumerate(sizes):
        count = -(-size // partition_bytes)
        if number < count:
            return Partition(file, number * partition_bytes, min((number + 1) * partition_bytes, size))
        number -= count
    raise IndexError("partition number out of range")


def lines_in(path: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    r"""Yield the lines that begin in a byte range as pairs (offset of the first byte, line including its ``\n``).

    The concatenated lines of all ranges of a file are the content of the file.

    Raises:
        CorpusError: If a line is longer than ``MAX_LINE_BYTES``.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        offset = 0
        if start:  # skip the line that begins before the range
            file.seek(start - 1)
            while (skipped := file.readline(_SKIPPED)) and not skipped.endswith(b"\n"):
                pass
            offset = file.tell()
        while offset < end and (line := file.readline(MAX_LINE_BYTES + 1)):
            if len(line) > MAX_LINE_BYTES:
                raise CorpusError(
                    f"{path}: the line at byte {offset:,} is longer than {MAX_LINE_BYTES:,} bytes. Break it into "
                    "several lines, or score the text with charloom score.",
                    code="line_too_long",
                    path=str(path),
                    offset=offset,
                    maximum=MAX_LINE_BYTES,
                )
            yield offset, line
            offset += len(line)


def line_text(line: bytes, offset: int) -> str:
    r"""Decode a line without its ``\n`` or ``\r\n``, and without the byte order mark at the start of a file.

    Bytes that are not valid UTF-8 become lone surrogates ("surrogateescape"), which only byte models can encode.
    """
    if line.endswith(b"\n"):
        line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
    if offset == 0:
        line = line.removeprefix(codecs.BOM_UTF8)
    return line.decode("utf-8", "surrogateescape")


def line_number(path: Path, offset: int) -> int:
    """Return the number, from 1, of the line that begins at an offset; reads the file up to there."""
    number = 1
    with path.open("rb") as file:
        while offset > 0 and (data := file.read(min(offset, _SKIPPED))):
            number += data.count(b"\n")
            offset -= len(data)
    return number


def check_plain_text(path: Path) -> int:
    """Check by its first bytes that a file is uncompressed UTF-8 text, and return its size in bytes.

    Raises:
        CorpusError: If the file cannot be read, is compressed, an archive or a document, is encoded in UTF-16 or
            UTF-32, or contains NUL bytes.
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
    document = ("a zip archive or a document", UNPACK) if is_zip(start) else unreadable_document(start)
    if document is not None:
        kind, advice = document
        raise CorpusError(f"{path} is {kind}. {advice}", code="document", path=str(path), kind=kind)
    if looks_binary(start):
        raise CorpusError(
            f"{path} contains NUL bytes, so it is probably not a text file. Pass a plain text file.",
            code="binary_file",
            path=str(path),
        )
    return size
