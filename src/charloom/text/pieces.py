"""Sources to text, piece by piece: files of any size are decoded without ever being held whole."""

import codecs
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from charloom.errors import CorpusError
from charloom.text.decoding import check_encoding, explain_undecodable, looks_binary, marked_encoding
from charloom.text.named import Progress, read_named
from charloom.text.sources import Source, resolve_sources

_CHUNK = 1 << 16  # bytes read at once: so often a bar moves


def text_pieces(
    arguments: Sequence[str], encoding: str, notices: list[str], progress: Progress | None = None
) -> Iterator[str]:
    """Yield a text in its order, none of it before it is asked for.

    Several files are joined in their order; where one does not end with a newline, one is put after it. In a folder,
    hidden files are left alone and files that are no text are passed over.

    Args:
        arguments: What was named; see ``resolve_sources``.
        encoding: Of the files; named corpora are always UTF-8.
        notices: What was done to the text on the way in is appended, one sentence each; complete after the last piece.
        progress: Told the bytes that are read, and how many there are (0 if unknown).

    Raises:
        CorpusError: If a source is missing, unreadable, not text in that encoding, or none of them is text.
    """
    check_encoding(encoding)
    sources = resolve_sources(list(arguments))
    sizes = [source.path.stat().st_size if source.path and source.path.is_file() else 0 for source in sources]
    before, last, texts, unfinished = 0, "", 0, 0
    for source, size in zip(sources, sizes, strict=True):

        def report(done: int, total: int, before: int = before, only: bool = len(sources) == 1) -> None:
            if progress is not None:
                progress(before + done, total if only else sum(sizes))

        for index, piece in enumerate(_read(source, encoding, notices, report)):
            if index == 0:
                texts += 1
                if last not in ("", "\n"):
                    unfinished += 1
                    yield "\n"
            if piece:
                last = piece[-1]
                yield piece
        before += size
    if not texts:
        raise CorpusError(f"{', '.join(arguments)} holds no text file: every file there is binary.")
    if unfinished:
        notices.append(f"Put a newline after {unfinished} of {texts} files, which did not end with one.")


def _read(source: Source, encoding: str, notices: list[str], report: Callable[[int, int], None]) -> Iterator[str]:
    """Yield the pieces of one source, the first of which may be empty; nothing for what is no text."""
    if source.kind == "run":
        notices.append(f"Passed over {source.name}: it is the folder of a run.")
    elif source.kind == "named":
        yield read_named(source.name, report).decode("utf-8")
    elif source.path is None:
        if sys.stdin is None:
            raise CorpusError("Standard input (-) is closed, so nothing can be read from it.")
        yield from _decode(sys.stdin.buffer, source, encoding, notices, lambda done: report(done, 0))
    else:
        try:
            with source.path.open("rb") as file:
                size = source.path.stat().st_size
                yield from _decode(file, source, encoding, notices, lambda done: report(done, size))
        except OSError as error:
            raise CorpusError(f"{source.name} cannot be read: {error.strerror or error}.") from None


def _decode(
    file: BinaryIO, source: Source, encoding: str, notices: list[str], report: Callable[[int], None]
) -> Iterator[str]:
    chunk = file.read(_CHUNK)
    if looks_binary(chunk) and not encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
        if not source.from_folder:
            raise CorpusError(
                f"{source.name} holds NUL bytes, so it is probably not a text file. Give a plain text file."
            )
        notices.append(f"Passed over {source.name}: it holds NUL bytes, so it is not text.")
        return
    marked = marked_encoding(chunk) is not None
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    read, lines, at_start = 0, 0, True
    while True:
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:  # its subclass UnicodeDecodeError knows where; UTF-16 raises both
            raise CorpusError(explain_undecodable(chunk, source.name, encoding, error, (read, lines))) from None
        read, lines = read + len(chunk), lines + chunk.count(b"\n")
        report(read)
        if at_start and (text or not chunk):
            at_start = False
            dropped = text.startswith("\ufeff")
            if dropped or (marked and encoding.lower().replace("_", "-") in ("utf-16", "utf-32")):
                notices.append(f"Dropped the byte order mark at the start of {source.name}.")
            yield text[1:] if dropped else text
        elif text:
            yield text
        if not chunk:
            return
        chunk = file.read(_CHUNK)
