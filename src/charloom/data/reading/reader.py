"""Read sources as a stream of text pieces, in constant memory."""

import codecs
import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, cast

from charloom._util.progress import ProgressCallback
from charloom.data.datasets import read_dataset
from charloom.data.reading.compression import MAX_MAGIC_BYTES, decompress, decompression_errors, detect_compression
from charloom.data.reading.decoding import check_encoding, looks_binary, marked_encoding, undecodable_error
from charloom.data.reading.normalization import normalize_newlines, normalize_nfc
from charloom.data.reading.records import RecordSplitter
from charloom.data.reading.sources import Source, resolve_sources
from charloom.data.reading.tables import TableReader, table_kind, unsupported_table
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError, Notice

_CHUNK = 1 << 18  # bytes decoded at once
_HASHED = 1 << 20  # bytes hashed at once


class SourceDigest:
    """Hash of the unmodified bytes of several sources, which identifies a text."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._source = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Add the next bytes of the current source."""
        self._source.update(data)

    def end_source(self, source: Source) -> None:
        """End the current source; the hash also covers the boundaries and kinds of the sources."""
        self._whole.update(f"{source.kind} {source.from_folder} {self._source.hexdigest()}\n".encode())
        self._source = hashlib.sha256()

    def hexdigest(self) -> str:
        """Return the hash of all ended sources."""
        return self._whole.hexdigest()


def text_pieces(
    arguments: Sequence[str],
    text_format: TextFormat,
    notices: list[str],
    progress: ProgressCallback | None = None,
    errors: str = "strict",
    raw: SourceDigest | None = None,
    started: Callable[[str], None] | None = None,
    one_record: bool = False,
) -> Iterator[str]:
    """Read a text lazily, in pieces.

    Several files are joined in order: with ``text_format.boundary`` between them if it is set, else with a newline
    after files that do not end with one. In a folder, hidden files are ignored and binary files are skipped. Compressed
    files are decompressed. With ``unit="byte"``, each character represents the byte with its code point.

    Args:
        arguments: The sources as the user gave them; see ``resolve_sources``.
        text_format: How to read the sources.
        notices: Receives notices about changes to the text; complete after the last piece.
        progress: Called with the bytes read so far and the total (0 if unknown).
        errors: "strict", or "surrogateescape" for callers that restore undecodable bytes.
        raw: Receives the bytes of all sources as they are read.
        started: Called with the name of each source before its first piece.
        one_record: Whether a text without a record separator is one record instead of an error.

    Raises:
        CorpusError: If a source is missing, unreadable or not text in that encoding, or if no source is text.
    """
    check_encoding(text_format.encoding)
    sources = resolve_sources(list(arguments))
    pieces = _SourceReader(text_format, errors, notices, progress, raw or SourceDigest(), started, one_record).read_all(
        sources, arguments
    )
    if text_format.lines or (text_format.newlines == "lf" and not text_format.is_records):
        pieces = normalize_newlines(pieces)
    if text_format.normalize == "nfc":
        pieces = normalize_nfc(pieces)
    return pieces


def digest_sources(sources: Sequence[Source], progress: ProgressCallback | None = None) -> str:
    """Read all files and return the hash that ``text_pieces`` computes in its argument ``raw``."""
    digest, done = SourceDigest(), 0
    total = sum(source.path.stat().st_size for source in sources if source.path is not None)
    for source in sources:
        if source.path is not None and source.kind == "file":
            with source.path.open("rb") as file:
                while chunk := file.read(_HASHED):
                    digest.update(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, total)
        digest.end_source(source)
    return digest.hexdigest()


@dataclass(frozen=True)
class _SourceReader:
    """Reads sources; the fields are the arguments of ``text_pieces``."""

    format: TextFormat
    errors: str
    notices: list[str]
    progress: ProgressCallback | None
    raw: SourceDigest
    started: Callable[[str], None] | None = None
    one_record: bool = False

    @cached_property
    def tables(self) -> TableReader:
        """Reads the tables of all sources, because labels are counted over all of them."""
        return TableReader(self.format, self.notices)

    def read_all(self, sources: list[Source], named: Sequence[str]) -> Iterator[str]:
        """Yield the pieces of all sources."""
        sizes = [source.path.stat().st_size if source.path and source.path.is_file() else 0 for source in sources]
        before, last, texts, unfinished = 0, "", 0, 0
        splitter = RecordSplitter(self.format.records) if self.format.records else None
        for source, size in zip(sources, sizes, strict=True):

            def report(done: int, total: int, before: int = before, only: bool = len(sources) == 1) -> None:
                if self.progress is not None:
                    self.progress(before + done, total if only else sum(sizes))

            pieces = self._read(source, report)
            for index, piece in enumerate(splitter.split(pieces, source.name) if splitter else pieces):
                if index == 0:
                    texts += 1
                    if texts > 1 and self.format.boundary:
                        yield self._symbols(self.format.boundary)
                    elif last not in ("", "\n") and not self.format.is_records:
                        unfinished += 1
                        yield "\n"
                    if self.started is not None:
                        self.started(source.name)
                if piece:
                    last = piece[-1]
                    yield piece
            self.raw.end_source(source)
            before += size
        if not texts:
            if self.format.column is not None:
                raise CorpusError(
                    f"{', '.join(named)}: no file is a table. Provide a CSV, TSV, JSON Lines or JSON file.",
                    code="no_tables",
                    sources=list(named),
                )
            raise CorpusError(
                f"{', '.join(named)}: all files are binary. Provide a text file, or pass --unit byte to read bytes.",
                code="no_text_files",
                sources=list(named),
            )
        if splitter is not None:
            splitter.finish(self.notices, self.one_record)
        if unfinished:
            self.notices.append(
                Notice(
                    f"Added a newline to {unfinished} of {texts} files, because they did not end with one.",
                    code="newline_added",
                    count=unfinished,
                    files=texts,
                )
            )

    def _symbols(self, text: str) -> str:
        """Return a text unchanged, or for bytes with one character per byte."""
        return text.encode("utf-8").decode("latin-1") if self.format.unit == "byte" else text

    def _read(self, source: Source, report: ProgressCallback) -> Iterator[str]:
        """Yield the pieces of a source; the first may be empty, and a skipped file has none."""
        if source.kind == "run":
            self.notices.append(
                Notice(f"Skipped {source.name}: it is a run folder.", code="run_folder_skipped", path=source.name)
            )
        elif source.kind == "named":
            if self.format.column is not None:
                raise unsupported_table(source.name)
            yield self._symbols(read_dataset(source.name, report).decode("utf-8"))
        elif source.path is None:
            if sys.stdin is None:
                raise CorpusError("Cannot read from standard input (-): it is closed.", code="stdin_closed")
            yield from self._decode(sys.stdin.buffer, source, lambda done: report(done, 0))
        else:
            try:
                with source.path.open("rb") as file:
                    size = source.path.stat().st_size
                    yield from self._decode(file, source, lambda done: report(done, size))
            except OSError as error:
                reason = error.strerror or str(error)
                raise CorpusError(
                    f"Cannot read {source.name}: {reason}.", code="unreadable_file", path=source.name, reason=reason
                ) from None

    def _decode(self, file: BinaryIO, source: Source, report: Callable[[int], None]) -> Iterator[str]:
        def seen(data: bytes, done: int) -> None:
            self.raw.update(data)
            report(done)

        chunks = self._chunks(_ObservedFile(file, seen, is_pipe=source.path is None), source.name)
        if self.format.unit == "byte":
            yield from (chunk.decode("latin-1") for chunk in chunks)
        elif self.format.column is None:
            yield from self._characters(chunks, source)
        else:
            kind = table_kind(source.name, self.format)
            if kind is None and source.kind != "stdin":
                if not source.from_folder:
                    raise unsupported_table(source.name)
                self.notices.append(
                    Notice(
                        f"Skipped {source.name}: it is not a table. Pass --table to read it as one.",
                        code="not_a_table_skipped",
                        path=source.name,
                    )
                )
                return
            yield from self.tables.read(self._characters(chunks, source), source.name, kind)

    def _chunks(self, file: "_ObservedFile", name: str) -> Iterator[bytes]:
        """Yield the decompressed bytes of a file in chunks, then an empty chunk."""
        compression = detect_compression(file.peek())
        reader = io.BufferedReader(cast(io.RawIOBase, file), _CHUNK)
        if compression is None:
            read = reader.read1 if file.is_pipe else reader.read
            while chunk := read(_CHUNK):
                yield chunk
        else:
            self.notices.append(
                Notice(f"Decompressed {name} ({compression}).", code="decompressed", path=name, compression=compression)
            )
            yield from _decompress(cast(BinaryIO, reader), compression, name)
        yield b""

    def _characters(self, chunks: Iterable[bytes], source: Source) -> Iterator[str]:
        encoding, at_start, marked = self.format.encoding, True, False
        decoder = codecs.getincrementaldecoder(encoding)(self.errors)
        read = lines = 0
        for chunk in chunks:
            if read == 0:
                marked = marked_encoding(chunk) is not None
                if self._is_binary(chunk):
                    self._skip_binary(source)
                    return
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:  # UTF-16 can raise UnicodeError without a position
                if source.path is not None:
                    lines = self._lines_before(source, read)
                raise undecodable_error(chunk, source.name, encoding, error, (read, lines)) from None
            read += len(chunk)
            if source.path is None:
                lines += chunk.count(b"\n")
            if at_start and (text or not chunk):
                at_start = False
                dropped = text.startswith("\ufeff")
                if dropped or (marked and encoding.lower().replace("_", "-") in ("utf-16", "utf-32")):
                    self.notices.append(
                        Notice(
                            f"Removed the byte order mark at the start of {source.name}.",
                            code="byte_order_mark_removed",
                            path=source.name,
                        )
                    )
                yield text[1:] if dropped else text
            elif text:
                yield text

    def _lines_before(self, source: Source, position: int) -> int:
        """Count the line feeds before a position of a decompressed file; slow, so only used for error messages."""
        assert source.path is not None
        with source.path.open("rb") as file:
            chunks = _SourceReader(self.format, self.errors, [], None, SourceDigest())._chunks(
                _ObservedFile(file, lambda *_: None), source.name
            )
            lines = 0
            for chunk in chunks:
                lines += chunk[:position].count(b"\n")
                position -= len(chunk)
                if position <= 0:
                    break
        return lines

    def _is_binary(self, start: bytes) -> bool:
        wide = self.format.encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32"))
        return self.errors == "strict" and not wide and looks_binary(start)

    def _skip_binary(self, source: Source) -> None:
        if not source.from_folder:
            raise CorpusError(
                f"{source.name} contains NUL bytes, so it is probably not a text file. Provide a text file, or pass "
                "--unit byte to read the file as bytes.",
                code="binary_file",
                path=source.name,
            )
        self.notices.append(
            Notice(
                f"Skipped {source.name}: it contains NUL bytes, so it is not text.",
                code="binary_file_skipped",
                path=source.name,
            )
        )


def _decompress(file: BinaryIO, compression: str, name: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file; raise ``CorpusError`` if it is damaged."""
    try:
        yield from decompress(file, compression)
    except decompression_errors() as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk, not of the compressed data
        raise CorpusError(
            f"{name} is damaged or incomplete ({compression} file: {error}).",
            code="damaged_compressed_file",
            path=name,
            compression=compression,
            reason=str(error),
        ) from None


class _ObservedFile(io.RawIOBase):
    """A file that reports its reads to a callback and can return its first bytes in advance.

    Args:
        file: An open file, at its start.
        observe: Called with the bytes of each read, and the number of bytes read so far.
        is_pipe: Whether a read returns what has arrived, without waiting for more.
    """

    def __init__(self, file: BinaryIO, observe: Callable[[bytes, int], None], is_pipe: bool = False) -> None:
        self._observe, self._done, self._start = observe, 0, b""
        self._read = file.read1 if is_pipe else file.read  # type: ignore[attr-defined]
        self.is_pipe = is_pipe

    def readable(self) -> bool:
        """Return True."""
        return True

    def peek(self) -> bytes:
        """Return the first bytes; the next read returns them, too."""
        while len(self._start) < MAX_MAGIC_BYTES and (data := self._next(_CHUNK)):
            self._start += data
        return self._start

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Read into a buffer, and return the number of bytes read."""
        data, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        data = data or self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        data = self._read(size)
        self._done += len(data)
        self._observe(data, self._done)
        return data
