"""Recognize archives, documents and markup by their content; read the texts inside zip archives and e-books."""

import lzma
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote
from xml.etree import ElementTree

from charloom.data.reading.decoding import marked_encoding
from charloom.errors import CorpusError

_MAX_RATIO = 200  # decompressed bytes per byte of an archive; text reaches about 20
_MIN_SUSPICIOUS = 1 << 28  # decompressed bytes; smaller archives are read at any ratio
_MAX_MEDIA_TYPE = 100  # bytes
_MAX_XML = 1 << 24  # bytes of a chapter or of the metadata of an e-book

_SAVE = "Open it with its program and save it as plain text (UTF-8)."
UNPACK = "Unpack it, and pass the text files or their folder."
_SIGNATURES = (
    (b"%PDF-", "a PDF document", "Convert it to plain text, for example with pdftotext."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an older Office program (.doc, .xls)", _SAVE),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
)
_LATER_SIGNATURES = (  # offset, signature
    (60, b"BOOKMOBI", "a Kindle e-book", "Convert it to plain text or EPUB, for example with Calibre."),
    (257, b"ustar", "a tar archive", UNPACK),
)
_DOCUMENTS = (  # a member of a zip archive that identifies a document
    ("word/document.xml", "a Word document (.docx)"),
    ("xl/workbook.xml", "an Excel workbook (.xlsx)"),
    ("ppt/presentation.xml", "a PowerPoint presentation (.pptx)"),
)
_CHAPTERS = ("application/xhtml+xml", "text/html")  # media types of the chapters of an e-book
_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]*\sencoding=["']([\w.-]+)["']""")
_SPACES = re.compile(r"[ \t\n\r\f]+")  # the white space of HTML; no-break and ideographic spaces are text
_ERRORS = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError)
_LINES = "p div br li tr h1 h2 h3 h4 h5 h6 blockquote pre section article title dt dd hr td th"
_BLOCKS = frozenset(_LINES.split())  # elements that begin and end a line
_HIDDEN = frozenset(("script", "style", "head"))


def unreadable_document(start: bytes) -> tuple[str, str] | None:
    """Return what a file with these first bytes is and what to do, if it is a document or archive other than zip."""
    for signature, name, advice in _SIGNATURES:
        if start.startswith(signature):
            return name, advice
    for offset, signature, name, advice in _LATER_SIGNATURES:
        if start.startswith(signature, offset):
            return name, advice
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
        self._name, self._size = name, path.stat().st_size
        self._expanded = 0  # decompressed bytes of the members so far, which a damaged archive cannot exceed
        try:
            self._zip = zipfile.ZipFile(path)
            names = set(self._zip.namelist())
            is_typed = "mimetype" in names and self._zip.getinfo("mimetype").file_size <= _MAX_MEDIA_TYPE
            media_type = self._zip.read("mimetype") if is_typed else b""
        except (*_ERRORS, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # an error of the disk
            raise self._damaged(error) from None
        document = next((title for member, title in _DOCUMENTS if member in names), None)
        if media_type.startswith(b"application/vnd.oasis.opendocument"):
            document = "an OpenDocument file (.odt, .ods)"
        if document is not None:
            raise CorpusError(f"{name} is {document}. {_SAVE}", code="document", path=name, kind=document)
        self._is_book = media_type.startswith(b"application/epub+zip") or "META-INF/container.xml" in names

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()

    def texts(self, omitted: list[str]) -> Iterator[tuple[str, BinaryIO | str]]:
        """Yield the name of each member, and its open file, or the text of a chapter of an e-book.

        The members of an archive are sorted by name; folders and hidden files are omitted.

        Args:
            omitted: Receives the names of the hidden members, and of the parts of an e-book that are not chapters.

        Raises:
            CorpusError: If the archive is damaged, encrypted or expands suspiciously.
        """
        if self._is_book:
            yield from self._chapters(omitted)
            return
        for info in sorted(self._zip.infolist(), key=lambda info: info.filename):
            name, parts = f"{self._name}/{info.filename}", info.filename.split("/")
            if info.is_dir():
                continue
            if parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts):
                omitted.append(name)
                continue
            self._check(info)
            try:
                file = self._zip.open(info)
            except _ERRORS as error:
                raise self._damaged(error) from None
            with file:
                yield name, cast(BinaryIO, file)

    def checked(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield the pieces of a member; raise ``CorpusError`` if it is damaged."""
        try:
            yield from pieces
        except _ERRORS as error:
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
        self._expanded += info.file_size
        if self._expanded > max(_MIN_SUSPICIOUS, _MAX_RATIO * self._size):
            raise CorpusError(
                f"{self._name} expands to at least {self._expanded:,} bytes, more than {_MAX_RATIO:,} times its size. "
                "If this is intended, unpack the archive, and pass the text files.",
                code="suspicious_archive",
                path=self._name,
                member=info.filename,
                size=self._expanded,
            )

    def _chapters(self, omitted: list[str]) -> Iterator[tuple[str, str]]:
        """Yield the chapters of an e-book in reading order."""
        try:
            package, paths = self._package()
            encrypted = self._encrypted()
            items = {n.attrib["id"]: n.attrib for n in package.iter() if n.tag.endswith("}item")}
            spine = [items[node.attrib["idref"]] for node in package.iter() if node.tag.endswith("}itemref")]
            chapters = [(paths(item["href"]), item.get("media-type", _CHAPTERS[0])) for item in spine]
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise self._damaged(error) from None
        if not chapters:
            raise self._damaged("it lists no chapters")
        for path, media_type in chapters:
            name = f"{self._name}/{path}"
            if media_type not in _CHAPTERS:
                omitted.append(name)
                continue
            if path in encrypted:
                raise CorpusError(
                    f"{self._name}: {path} is encrypted, so the e-book is copy-protected. Provide an unprotected copy.",
                    code="encrypted_archive",
                    path=self._name,
                    member=path,
                )
            yield name, html_text(self._decoded(path))

    def _package(self) -> tuple[ElementTree.Element, Callable[[str], str]]:
        """Return the package document, and a function that resolves its references to members."""
        container = self._xml("META-INF/container.xml")
        path = next((node.attrib["full-path"] for node in container.iter() if node.tag.endswith("}rootfile")), None)
        if path is None:
            raise ValueError("META-INF/container.xml names no package")
        folder = posixpath.dirname(path)
        return self._xml(path), lambda href: posixpath.normpath(posixpath.join(folder, unquote(href)))

    def _encrypted(self) -> set[str]:
        """Return the encrypted members of an e-book."""
        if "META-INF/encryption.xml" not in self._zip.namelist():
            return set()
        nodes = self._xml("META-INF/encryption.xml").iter()
        return {unquote(node.attrib.get("URI", "")) for node in nodes if node.tag.endswith("}CipherReference")}

    def _xml(self, member: str) -> ElementTree.Element:
        return ElementTree.fromstring(self._read(member))

    def _decoded(self, member: str) -> str:
        data = self._read(member)
        declared = _XML_ENCODING.match(data)
        encoding = marked_encoding(data) or (declared[1].decode() if declared else "utf-8")
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except (LookupError, ValueError) as error:
            raise self._damaged(f"{member}: {error}") from None

    def _read(self, member: str) -> bytes:
        try:
            info = self._zip.getinfo(member)
            self._check(info)
            if info.file_size > _MAX_XML:
                raise self._damaged(f"{member} has {info.file_size:,} bytes")
            return self._zip.read(info)
        except (*_ERRORS, KeyError) as error:
            raise self._damaged(error) from None

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
    lines = (line.strip(" ") for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line) + "\n"


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in _HIDDEN
        self._preformatted += tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        self._preformatted -= tag == "pre" and self._preformatted > 0
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data if self._preformatted else _SPACES.sub(" ", data))
