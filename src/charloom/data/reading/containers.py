"""Recognize archives, documents and markup by their content; read the texts inside zip archives and e-books."""

import posixpath
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote
from xml.etree import ElementTree

from charloom.errors import CorpusError

_MAX_RATIO = 1_000  # decompressed bytes per byte of a member; text reaches about 20
_MIN_SUSPICIOUS = 1 << 28  # decompressed bytes; smaller members are read at any ratio
_MAX_XML = 1 << 24  # bytes of a chapter or of the metadata of an e-book
_TAR_MAGIC = slice(257, 262)

_SAVE = "Open it with its program and save it as plain text (UTF-8)."
UNPACK = "Unpack it, and pass the text files or their folder."
_SIGNATURES = (
    (b"%PDF-", "a PDF document", "Convert it to plain text, for example with pdftotext."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an older Office program (.doc, .xls)", _SAVE),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
)
_DOCUMENTS = (  # a member of a zip archive that identifies a document
    ("word/document.xml", "a Word document (.docx)"),
    ("xl/workbook.xml", "an Excel workbook (.xlsx)"),
    ("ppt/presentation.xml", "a PowerPoint presentation (.pptx)"),
)
_LINES = "p div br li tr h1 h2 h3 h4 h5 h6 blockquote pre section article title dt dd hr td th"
_BLOCKS = frozenset(_LINES.split())  # elements that begin and end a line
_HIDDEN = frozenset(("script", "style", "head"))


def unreadable_document(start: bytes) -> tuple[str, str] | None:
    """Return what a file with these first bytes is and what to do, if it is a document or archive other than zip."""
    for signature, name, advice in _SIGNATURES:
        if start.startswith(signature):
            return name, advice
    if start[_TAR_MAGIC] == b"ustar":
        return "a tar archive", UNPACK
    return None


def markup_of(start: bytes) -> str | None:
    """Return the markup language of a text that begins with these bytes: "RTF", "HTML" or None."""
    if start.startswith(b"{\\rtf"):
        return "RTF"
    beginning = start[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return "HTML" if beginning.startswith((b"<!doctype html", b"<html")) else None


def is_zip(start: bytes) -> bool:
    """Return whether a file with these first bytes is a zip archive, which many document formats are as well."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


class ZipArchive:
    """The texts of a zip archive or e-book; nothing is extracted to disk.

    Args:
        path: The archive.
        name: Its name in messages.

    Raises:
        CorpusError: If it is damaged, encrypted or a document, or expands suspiciously.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise self._damaged(error) from None
        names = set(self._zip.namelist())
        document = next((title for member, title in _DOCUMENTS if member in names), None)
        media_type = self._zip.read("mimetype")[:100] if self._size("mimetype", names) <= 100 else b""
        if media_type.startswith(b"application/vnd.oasis.opendocument"):
            document = "an OpenDocument file (.odt, .ods)"
        if document is not None:
            raise CorpusError(f"{name} is {document}. {_SAVE}", code="document", path=name, kind=document)
        self._is_book = media_type.startswith(b"application/epub+zip") or "META-INF/container.xml" in names

    def _size(self, member: str, names: set[str]) -> int:
        return self._zip.getinfo(member).file_size if member in names else 1 << 62

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()

    def texts(self) -> Iterator[tuple[str, BinaryIO | str]]:
        """Yield the name of each member, and its open file, or the text of a chapter of an e-book.

        The members of an archive are sorted by name; folders and hidden files are omitted.
        """
        try:
            if self._is_book:
                yield from self._chapters()
                return
            for info in sorted(self._zip.infolist(), key=lambda info: info.filename):
                parts = info.filename.split("/")
                if info.is_dir() or parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts):
                    continue
                self._check(info)
                with self._zip.open(info) as file:
                    yield f"{self._name}/{info.filename}", file  # type: ignore[misc]
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ElementTree.ParseError, KeyError) as error:
            raise self._damaged(error) from None

    def _check(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & 1:
            raise CorpusError(
                f"{self._name}: {info.filename} is encrypted. Unpack the archive with its password, and pass the text "
                "files.",
                code="encrypted_archive",
                path=self._name,
                member=info.filename,
            )
        if info.file_size > max(_MIN_SUSPICIOUS, _MAX_RATIO * info.compress_size):
            raise CorpusError(
                f"{self._name}: {info.filename} expands to {info.file_size:,} bytes, more than {_MAX_RATIO:,} times "
                "its compressed size. If this is intended, unpack the archive, and pass the text files.",
                code="suspicious_archive",
                path=self._name,
                member=info.filename,
                size=info.file_size,
            )

    def _chapters(self) -> Iterator[tuple[str, str]]:
        """Yield the chapters of an e-book in reading order."""
        container = self._xml("META-INF/container.xml")
        package_path = next(node.attrib["full-path"] for node in container.iter() if node.tag.endswith("rootfile"))
        package = self._xml(package_path)
        items = {n.attrib["id"]: n.attrib["href"] for n in package.iter() if n.tag.endswith("}item")}
        for node in package.iter():
            if node.tag.endswith("itemref"):
                path = posixpath.join(posixpath.dirname(package_path), unquote(items[node.attrib["idref"]]))
                yield f"{self._name}/{path}", html_text(self._read(path).decode("utf-8", "replace"))

    def _xml(self, member: str) -> ElementTree.Element:
        return ElementTree.fromstring(self._read(member))

    def _read(self, member: str) -> bytes:
        info = self._zip.getinfo(member)
        self._check(info)
        if info.file_size > _MAX_XML:
            raise self._damaged(f"{member} has {info.file_size:,} bytes")
        return self._zip.read(info)

    def _damaged(self, reason: object) -> CorpusError:
        return CorpusError(
            f"{self._name} is a damaged zip archive or e-book ({reason}). Use a complete copy.",
            code="damaged_archive",
            path=self._name,
            reason=str(reason),
        )


def html_text(markup: str) -> str:
    """Return the text of an HTML or XHTML document, one line per block such as a paragraph."""
    parser = _TextParser()
    parser.feed(markup)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line) + "\n"


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data.replace("\n", " "))
