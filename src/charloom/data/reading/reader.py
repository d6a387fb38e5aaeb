"""Read sources as a stream of text pieces, in constant memory."""

import codecs
import hashlib
import io
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePath
from typing import BinaryIO, cast

from charloom._util.progress import ProgressCallback
from charloom.data.datasets import read_dataset
from charloom.data.reading.compression import MAX_MAGIC_BYTES, decompress, decompression_errors, detect_compression
from charloom.data.reading.containers import UNPACK, ZipArchive, is_zip, markup_of, unreadable_document
from charloom.data.reading.decoding import (
    DecodingChanges,
    check_encoding,
    is_unicode,
    is_wide,
    looks_binary,
    marked_encoding,
    undecodable_error,
)
from charloom.data.reading.normalization import normalize_newlines, normalize_nfc
from charloom.data.reading.records import RecordSplitter
from charloom.data.reading.sources import Source, resolve_sources
from charloom.data.reading.tables import TableReader, table_kind, unsupported_table
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError, Notice

_CHUNK = 1 << 18  # bytes decoded at once
_FIRST = 1 << 20  # bytes read first; once so large a buffer is freed, glibc reuses the memory of the chunks
_HASHED = 1 << 20  # bytes hashed at once
_MAX_COUNTED = 1 << 28  # decompressed bytes in which undecodable places are counted for an error message
_MAX_SIBLINGS = 1000  # other files that are inspected for an error message


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
    offers_bytes: bool = False,
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
        offers_bytes: Whether the user can choose ``unit="byte"``, which errors about binary files then suggest.

    Raises:
        CorpusError: If a source is missing, unreadable or not text in that encoding, or if no source is text.
    """
    for encoding in (text_format.encoding, *(encoding for _, encoding in text_format.encodings)):
        check_encoding(encoding)
    sources = resolve_sources(list(arguments))
    reader = _SourceReader(
        text_format, errors, notices, progress, raw or SourceDigest(), started, one_record, offers_bytes, tuple(sources)
    )
    reader.check_patterns()
    pieces = reader.read_all(sources, arguments)
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
    offers_bytes: bool = False
    sources: tuple[Source, ...] = ()
    matched: set[str] = field(default_factory=set)  # patterns of ``format.encodings`` that matched a file
    misread: list[str] = field(default_factory=list)  # files that are valid UTF-8 but were read in another encoding
    omitted: list[str] = field(default_factory=list)  # members of the current archive that are not read

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

            for part, content in self._texts_of(source, report):
                pieces = splitter.split(content, part.name) if splitter else content
                for index, piece in enumerate(pieces):
                    if index == 0:
                        texts += 1
                        if texts > 1 and self.format.boundary:
                            yield self._symbols(self.format.boundary)
                        elif last not in ("", "\n") and not self.format.is_records:
                            unfinished += 1
                            yield "\n"
                        if self.started is not None:
                            self.started(part.name)
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
                f"{', '.join(named)}: no file is a text. Provide a text file{self._bytes_advice}.",
                code="no_text_files",
                sources=list(named),
            )
        self._refuse_unmatched()
        if self.misread:
            self.notices.append(
                Notice(
                    f"Valid UTF-8, but read in another encoding: {', '.join(self.misread[:3])}"
                    f"{f' and {len(self.misread) - 3:,} more files' if len(self.misread) > 3 else ''}. If accents are "
                    'wrong, pass the encoding only for the other files: --encoding "NAME=ENCODING".',
                    code="utf8_read_in_another_encoding",
                    count=len(self.misread),
                    paths=self.misread[:10],
                )
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

    @property
    def _bytes_advice(self) -> str:
        return ", or pass --unit byte to read the file as bytes" if self.offers_bytes else ""

    def check_patterns(self) -> None:
        """Raise ``CorpusError`` if a pattern of ``format.encodings`` matches no source.

        A pattern may also match a member of an archive, which is known only when the archive has been read.
        """
        if self.format.encodings:
            for source in self.sources:
                self._encoding_of(source)
            if not any(_is_zip_file(source) for source in self.sources):
                self._refuse_unmatched()

    def _refuse_unmatched(self) -> None:
        for pattern, encoding in self.format.encodings:
            if pattern not in self.matched:
                raise CorpusError(
                    f"--encoding {pattern}={encoding}: no file matches {pattern!r}. Provide a pattern of the path or "
                    "of the file name.",
                    code="unused_encoding_pattern",
                    pattern=pattern,
                    encoding=encoding,
                )

    def _encoding_of(self, source: Source) -> str:
        """Return the encoding of a source: that of the last matching pattern, or else the general one."""
        encoding = self.format.encoding
        for pattern, other in self.format.encodings:
            if fnmatchcase(source.name, pattern) or (pattern and PurePath(source.name).match(pattern)):
                encoding = other
                self.matched.add(pattern)
        return encoding

    def _texts_of(self, source: Source, report: ProgressCallback) -> Iterator[tuple[Source, Iterator[str]]]:
        """Yield the texts of a source with their pieces: one, or the members of a zip archive or e-book."""
        if source.path is None or self.format.unit == "byte" or not _is_zip_file(source):
            yield source, self._read(source, report)
            return
        with source.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                self.raw.update(chunk)
        try:
            archive = ZipArchive(source.path, source.name)
        except CorpusError as error:
            self._skip_or_raise(source, error)
            return
        self.omitted.clear()
        try:
            for name, content in archive.texts(self.omitted):
                part = Source("member", name, from_folder=True)
                yield part, archive.checked(self._member(part, content))
        finally:
            archive.close()
        if self.omitted:
            names = ", ".join(self.omitted[:3]) + (", ..." if len(self.omitted) > 3 else "")
            self.notices.append(
                Notice(
                    f"Skipped members of {source.name} that are hidden or not text ({len(self.omitted):,}): {names}.",
                    code="archive_members_skipped",
                    path=source.name,
                    count=len(self.omitted),
                    members=self.omitted[:10],
                )
            )

    def _member(self, part: Source, content: BinaryIO | str) -> Iterator[str]:
        if isinstance(content, str):  # a chapter of an e-book
            if self.format.column is not None:
                raise unsupported_table(part.name)
            yield content
        else:
            file = _ObservedFile(content, lambda _data, _done: None)
            yield from self._text(self._chunks(file, part.name), part)

    def _skip_or_raise(self, source: Source, error: CorpusError) -> None:
        """Raise the error of a file that is not a text, or report it and skip the file if it is from a folder."""
        if not source.from_folder:
            raise error from None
        if source.kind == "member":
            self.omitted.append(source.name)
            return
        self.notices.append(
            Notice(f"Skipped {source.name}: {error}", code="not_a_text_skipped", path=source.name, reason=error.code)
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
        yield from self._text(chunks, source)

    def _text(self, chunks: Iterator[bytes], source: Source) -> Iterator[str]:
        """Yield the text of a file from its decompressed bytes, or of one column if it is a table."""
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
            rest = yield from _decompress(cast(BinaryIO, reader), compression, name)
            if rest:
                self.notices.append(
                    Notice(
                        f"Left out {rest:,} bytes of {name}: they follow the end of the compressed data and are not "
                        f"{compression} data.",
                        code="bytes_after_compressed_data",
                        path=name,
                        count=rest,
                    )
                )
        yield b""

    def _characters(self, chunks: Iterator[bytes], source: Source) -> Iterator[str]:
        encoding = self._encoding_of(source)
        changes = DecodingChanges(self.format.errors if self.errors == "strict" else self.errors)
        decoder = codecs.getincrementaldecoder(encoding)(changes.handler)
        utf8: codecs.IncrementalDecoder | None = None  # checks whether the file is UTF-8
        if not is_unicode(encoding):
            utf8 = codecs.getincrementaldecoder("utf-8")()
        at_start, has_mark, is_ascii = True, False, True
        read = lines = marks_inside = first_mark = 0
        can_reread = source.can_reread

        def line_after(line_feeds: int) -> int:
            """Return the number of the line after these line feeds of the current chunk."""
            return line_feeds + 1 + (self._lines_before(source, read) if can_reread else lines)

        for chunk in chunks:
            if read == 0:
                has_mark = marked_encoding(chunk) is not None
                if not self._begins_as_text(chunk, source, encoding):
                    return
            try:
                text = changes.decode(decoder, chunk)
            except UnicodeError as error:  # UTF-16 can raise UnicodeError without a position
                raise self._undecodable(chunk, source, encoding, error, (read, line_after(-1))) from None
            if changes.count and not changes.line:
                changes.line = line_after(changes.line_feeds)
            if utf8 is not None:
                is_ascii = is_ascii and chunk.isascii()
                utf8 = _still_valid(utf8, chunk)
            if self.errors == "strict" and b"\0" in chunk and "\0" in text:  # the search in bytes is the faster one
                line = line_after(text.count("\n", 0, text.index("\0")))
                text = self._without_nul(text, source, changes, line)
            is_first = at_start and bool(text or not chunk)
            if is_first:
                at_start = False
                dropped = text.startswith("\ufeff")
                if dropped or (has_mark and encoding.lower().replace("_", "-") in ("utf-16", "utf-32")):
                    self.notices.append(
                        Notice(
                            f"Removed the byte order mark at the start of {source.name}.",
                            code="byte_order_mark_removed",
                            path=source.name,
                        )
                    )
                text = text[1:] if dropped else text
            if "\ufeff" in text and self.errors == "strict":
                first_mark = first_mark or line_after(text.count("\n", 0, text.index("\ufeff")))
                marks_inside += text.count("\ufeff")
                text = text.replace("\ufeff", "")
            read += len(chunk)
            if not can_reread:
                lines += chunk.count(b"\n")
            if text or is_first:  # also an empty one, so that an empty file is not taken for a skipped one
                yield text
        if utf8 is not None and not is_ascii:
            self.misread.append(source.name)
        changes.report(source.name, self.notices)
        if marks_inside:
            self.notices.append(
                Notice(
                    f"Removed byte order marks (U+FEFF), which joined files contain, inside {source.name}: "
                    f"{marks_inside:,}, the first in line {first_mark:,}.",
                    code="byte_order_marks_inside_removed",
                    path=source.name,
                    count=marks_inside,
                    line=first_mark,
                )
            )

    def _begins_as_text(self, start: bytes, source: Source, encoding: str) -> bool:
        """Check the first bytes of a file; return False if the file is skipped.

        Raises:
            CorpusError: If the file is not a text, and was not found in a folder.
        """
        if self.errors != "strict":
            return True
        if marked_encoding(start) in ("utf-16", "utf-32") and b"\0" in start and not is_wide(encoding):
            mark = UnicodeDecodeError(encoding, start, 0, 2, "byte order mark of another encoding")
            only_this = self._has_decodable_sibling(source)
            raise undecodable_error(start, source.name, encoding, mark, one_of_several=only_this)
        document = unreadable_document(start) or (("a zip archive", UNPACK) if is_zip(start) else None)
        if document is not None:
            kind, advice = document
            self._skip_or_raise(
                source,
                CorpusError(f"{source.name} is {kind}. {advice}", code="document", path=source.name, kind=kind),
            )
            return False
        if (language := markup_of(start)) is not None:
            self.notices.append(
                Notice(
                    f"{source.name} is {language}: its markup is read as text. Convert it to plain text if the model "
                    "should not learn the markup.",
                    code="markup",
                    path=source.name,
                    language=language,
                )
            )
        is_binary = not is_wide(encoding) and looks_binary(start)
        if is_binary and (source.from_folder or self.format.errors == "strict"):
            self._skip_binary(source)
            return False
        return True

    def _without_nul(self, text: str, source: Source, changes: DecodingChanges, line: int) -> str:
        """Return a text with its NUL characters treated as undecodable bytes.

        Raises:
            CorpusError: If ``errors`` is "strict".
        """
        if self.format.errors == "strict":
            raise CorpusError(
                f"{source.name}, line {line:,}: the file contains a NUL byte, as damaged files do. Remove it, or pass "
                "--errors skip to omit such bytes.",
                code="nul_byte",
                path=source.name,
                line=line,
            )
        changes.line = changes.line or line
        changes.count += text.count("\0")
        return text.replace("\0", "\ufffd" if self.format.errors == "replace" else "")

    def _undecodable(
        self, chunk: bytes, source: Source, encoding: str, error: UnicodeError, before: tuple[int, int]
    ) -> CorpusError:
        """Create the error for undecodable bytes; see ``undecodable_error``."""
        bad = self._count_undecodable(source, encoding)
        return undecodable_error(
            chunk, source.name, encoding, error, before, bad, one_of_several=self._has_decodable_sibling(source)
        )

    def _has_decodable_sibling(self, source: Source) -> bool:
        """Return whether another file can be decoded in its encoding, judged by its first bytes."""
        if source.kind == "member":
            return True
        reader = _SourceReader(self.format, self.errors, [], None, SourceDigest())
        for other in self.sources[:_MAX_SIBLINGS]:
            if other == source or other.path is None or not other.can_reread or _is_zip_file(other):
                continue
            try:
                with other.path.open("rb") as file:
                    start = next(reader._chunks(_ObservedFile(file, lambda *_: None), other.name))
                codecs.getincrementaldecoder(self._encoding_of(other))().decode(start)
            except (OSError, UnicodeError, CorpusError):
                continue
            if not looks_binary(start) and unreadable_document(start) is None:
                return True
        return False

    def _count_undecodable(self, source: Source, encoding: str) -> tuple[int, int] | None:
        """Count the undecodable places and the other non-ASCII characters of a file; None if it can be read only once.

        Of a large file, only the beginning is read.
        """
        if source.path is None or not source.can_reread:
            return None
        changes = DecodingChanges("replace")
        decoder = codecs.getincrementaldecoder(encoding)(changes.handler)
        foreign = size = 0
        try:
            with source.path.open("rb") as file:
                reader = _SourceReader(self.format, self.errors, [], None, SourceDigest())
                for chunk in reader._chunks(_ObservedFile(file, lambda *_: None), source.name):
                    text = changes.decode(decoder, chunk)
                    foreign += len(text) - len(text.encode("ascii", "ignore"))
                    size += len(chunk)
                    if size > _MAX_COUNTED and changes.count:
                        break
        except UnicodeError:
            return None
        return changes.count, foreign - changes.count

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

    def _skip_binary(self, source: Source) -> None:
        if source.kind == "member":
            self.omitted.append(source.name)
            return
        if not source.from_folder:
            raise CorpusError(
                f"{source.name} contains NUL bytes, so it is probably not a text file. Provide a text file"
                f"{self._bytes_advice}.",
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


def _decompress(file: BinaryIO, compression: str, name: str) -> Generator[bytes, None, int]:
    """Yield the decompressed bytes of a file and return the number of bytes after them; see ``decompress``.

    Raises:
        CorpusError: If the file is damaged.
    """
    try:
        return (yield from decompress(file, compression))
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
        while len(self._start) < MAX_MAGIC_BYTES and (data := self._next(_FIRST)):
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


def _is_zip_file(source: Source) -> bool:
    if source.kind != "file" or source.path is None or not source.can_reread:  # bytes read from a pipe would be lost
        return False
    try:
        with source.path.open("rb") as file:
            return is_zip(file.read(4))
    except OSError:
        return False  # reading the file reports the error


def _still_valid(decoder: codecs.IncrementalDecoder, chunk: bytes) -> codecs.IncrementalDecoder | None:
    """Return the UTF-8 decoder after the next chunk, or None if the chunk is not valid UTF-8."""
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError:
        return None
    return decoder
