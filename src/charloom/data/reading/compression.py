"""Decompress files while reading them; the format is detected from the first bytes, not from the name.

A file can consist of several members of one format (gzip members, xz and bzip2 streams, zstd frames), which are read
one after the other. Bytes that follow the last member are left out, and their number is returned.
"""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Generator
from typing import Any, BinaryIO

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),  # with the magic of the first block or of the end
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_NEXT_MAGIC = _MAGIC | {  # of the second and later members
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # also skippable frames
}
MAX_MAGIC_BYTES = 10

_PADDED = ("gzip", "xz")  # formats whose members may be followed by zero bytes
_CHUNK = 1 << 18  # bytes read at once, and maximum number of decompressed bytes in a piece
_STEP = 1 << 12  # compressed zstd bytes processed at once, which limits the size of the output


def detect_compression(start: bytes) -> str | None:
    """Return the compression format of a file with these first bytes: gzip, xz, bzip2, zstd, or None."""
    return next((name for name, magic in _MAGIC.items() if magic.match(start)), None)


def decompress(file: BinaryIO, compression: str) -> Generator[bytes, None, int]:
    """Yield the decompressed bytes of a file in pieces; the file is read to its end.

    Args:
        file: An open file, at its start.
        compression: The result of ``detect_compression``.

    Returns:
        The number of bytes after the end of the compressed data, which were left out. Zero padding after gzip and xz
        data is part of these formats and not counted.

    Raises:
        OSError: If the file cannot be read. A damaged file raises one of ``decompression_errors``.
    """
    size = _STEP if compression == "zstd" else _CHUNK
    data = file.read(size)
    while True:
        # 1. Read one member.
        member = _new_member(compression)
        while not member.eof:
            if not data and member.needs_input and not (data := file.read(size)):
                raise EOFError("the file ends before the end of the compressed data")
            yield member.decompress(data, _CHUNK)
            data = b""
        data = member.unused_data
        # 2. Skip the padding after it.
        padding = 0
        if compression in _PADDED:
            data = data or file.read(size)
            while data and not data.strip(b"\0"):
                padding += len(data)
                data = file.read(size)
            padding += len(data) - len(data.lstrip(b"\0"))
            data = data.lstrip(b"\0")
        # 3. Another member of the same format follows, or the data has ended.
        while len(data) < MAX_MAGIC_BYTES and (more := file.read(size)):
            data += more
        if not _NEXT_MAGIC[compression].match(data):
            break
    rest = len(data) + padding if data else 0
    while more := file.read(_CHUNK):  # the file's hash covers all bytes
        rest += len(more)
    return rest


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decompressing a damaged file can raise; ``OSError`` also means a failing disk."""
    return (OSError, EOFError, zlib.error, lzma.LZMAError, _zstd_error())


def _new_member(compression: str) -> Any:
    """Return a decompressor with the interface of ``bz2.BZ2Decompressor`` for one member."""
    if compression == "gzip":
        return _GzipMember()
    if compression == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    if compression == "bzip2":
        return bz2.BZ2Decompressor()
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdDecompressor()
    return _ZstdFrame()


class _GzipMember:
    """``zlib`` with the interface of ``bz2.BZ2Decompressor``."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        result = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(result) < max_length
        return result


class _ZstdFrame:
    """``zstandard`` with the interface of ``bz2.BZ2Decompressor``, but without a limit for the output."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._frame = zstandard.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        return bytes(self._frame.decompress(data))


def _zstd_error() -> type[Exception]:
    module: Any = sys.modules.get("compression.zstd") or sys.modules.get("zstandard")
    return module.ZstdError if module else EOFError
