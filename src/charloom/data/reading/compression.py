"""Decompress files while reading them; the format is detected from the first bytes, not from the name."""

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

_MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\x00", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd"}
MAX_MAGIC_BYTES = max(map(len, _MAGIC.values()))

_CHUNK = 1 << 18  # bytes read at once
_STEP = 1 << 12  # compressed zstd bytes processed at once, which limits the size of the output


def detect_compression(start: bytes) -> str | None:
    """Return the compression format of a file with these first bytes: gzip, xz, bzip2, zstd, or None."""
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), None)


def decompress(file: BinaryIO, compression: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file in pieces; the file is read to its end.

    Args:
        file: An open file, at its start.
        compression: The result of ``detect_compression``.

    Raises:
        OSError: If the file cannot be read. A damaged file raises one of ``decompression_errors``.
    """
    if compression == "zstd":
        yield from _zstd(file)
        return
    library: Any = {"gzip": gzip, "xz": lzma, "bzip2": bz2}[compression]
    decompressed = library.open(file, "rb")
    while chunk := decompressed.read(_CHUNK):
        yield chunk
    while file.read(_CHUNK):
        pass  # read the bytes that the decompressor ignored, because the file's hash covers all bytes


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decompressing a damaged file can raise; ``OSError`` also means a failing disk."""
    return (OSError, EOFError, zlib.error, lzma.LZMAError, _zstd_error())


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """Decompress consecutive zstd frames; raise ``EOFError`` for an incomplete frame, which the libraries accept."""
    pending = file.read(_CHUNK)
    while pending:
        frame = _zstd_frame()
        while not frame.eof:
            if not pending and not (pending := file.read(_CHUNK)):
                raise EOFError("the last frame is incomplete")
            for start in range(0, len(pending), _STEP):
                yield frame.decompress(pending[start : start + _STEP])
                if frame.eof:
                    pending = frame.unused_data + pending[start + _STEP :]
                    break
            else:
                pending = b""
        pending = pending or file.read(_CHUNK)


def _zstd_frame() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdDecompressor()
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _zstd_error() -> type[Exception]:
    module: Any = sys.modules.get("compression.zstd") or sys.modules.get("zstandard")
    return module.ZstdError if module else EOFError
