"""Reading files with mixed or broken encodings, remainders after compressed data, archives, e-books and documents."""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zipfile
from threading import Thread

import pytest

from charloom.data.corpus import Corpus
from charloom.data.reading.reader import text_pieces
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError
from support.errors import codes, raises_code

FRENCH = "été déjà garçon naïve forêt où leçon mère père être\n" * 30


def read(*paths, **options):
    return Corpus.read([str(path) for path in paths], text_format=TextFormat(**options))


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


# --- encodings


def mixed(folder):
    return write(folder, {"texts/a.txt": FRENCH, "texts/b.txt": FRENCH.encode("cp1252"), "texts/sub/c.txt": FRENCH})


def test_advice_about_a_file_of_a_folder_concerns_that_file(tmp_path):
    folder = mixed(tmp_path)
    name = str(folder / "texts" / "b.txt")
    with raises_code("undecodable_text", CorpusError, path=name, suggested_encoding="cp1252") as caught:
        read(folder / "texts")
    assert f'--encoding "{name}=cp1252"' in str(caught.value)
    corpus = read(folder / "texts", encodings=((name, "cp1252"),))
    assert corpus.text == FRENCH * 3 and not corpus.notices


def test_advice_concerns_all_files_if_no_other_file_can_be_decoded(tmp_path):
    files = {f"{name}.txt": FRENCH.encode("cp1252") for name in "abc"}
    with raises_code("undecodable_text", CorpusError, suggested_encoding="cp1252") as caught:
        read(write(tmp_path, files))
    assert "--encoding cp1252" in str(caught.value)
    assert read(tmp_path, encoding="cp1252").text == FRENCH * 3


@pytest.mark.parametrize("name", ["a[1].txt", "what?.txt", "*.txt"])
def test_advice_for_one_file_matches_only_this_file(name, tmp_path):
    folder = write(tmp_path, {name: FRENCH.encode("cp1252"), "a1.txt": FRENCH, "whatx.txt": FRENCH})
    with raises_code("undecodable_text", CorpusError) as caught:
        read(folder)
    (rule,) = re.findall('--encoding "(.*?)"', str(caught.value))
    assert read(folder, encodings=(tuple(rule.rsplit("=", 1)),)).text == FRENCH * 3


def test_advice_for_a_member_of_an_archive_concerns_the_member(tmp_path):
    path = write(tmp_path, {"a.zip": archive({"a.txt": FRENCH, "b.txt": b"x\n" + FRENCH.encode("cp1252")})}) / "a.zip"
    with raises_code("undecodable_text", CorpusError, line=2) as caught:
        read(path)
    assert f'"{path}/b.txt=cp1252"' in str(caught.value)
    assert read(path, encodings=(("b.txt", "cp1252"),)).text == FRENCH + "x\n" + FRENCH
    with raises_code("unused_encoding_pattern", CorpusError):
        read(path, encodings=(("b.txt", "cp1252"), ("c.txt", "cp1252")))


@pytest.mark.parametrize("options", [{"encoding": "cp1252"}, {"errors": "replace"}, {"errors": "skip"}, {}])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf16_files_are_not_read_in_a_narrow_encoding(encoding, options, tmp_path):
    path = write(tmp_path, {"a.txt": FRENCH.encode(encoding)}) / "a.txt"
    with raises_code("undecodable_text", CorpusError, suggested_encoding=encoding, offset=0):
        read(path, **options)


def test_a_pipe_is_read_from_its_first_byte(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_bytes, args=(b"one\ntwo\xff\n",))
    writer.start()
    pieces = text_pieces([str(tmp_path / "pipe")], TextFormat(errors="skip"), notices := [])
    assert "".join(pieces) == "one\ntwo\n" and notices[0].data["line"] == 2
    writer.join()


@pytest.mark.parametrize("pattern", ["b.txt", "*b.txt", "b.*", "*/texts/b*", "texts/b.txt"])
def test_encodings_are_chosen_by_patterns_of_names_and_paths(pattern, tmp_path):
    assert read(mixed(tmp_path) / "texts", encodings=((pattern, "cp1252"),)).text == FRENCH * 3


def test_the_last_matching_pattern_wins(tmp_path):
    assert read(mixed(tmp_path) / "texts", encodings=(("b*", "utf-16"), ("*.txt", "utf-8"), ("b.txt", "cp1252")))


def test_patterns_that_match_no_file_and_unknown_encodings_are_refused(tmp_path):
    with raises_code("unused_encoding_pattern", CorpusError, pattern="letters/*"):
        read(write(tmp_path, {"a.txt": "abc"}) / "a.txt", encodings=(("letters/*", "cp1252"),))
    with raises_code("unknown_encoding", CorpusError, encoding="cp9999"):
        read(tmp_path / "a.txt", encodings=(("*", "cp9999"),))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1251", "koi8-r"])
def test_valid_utf8_that_is_read_in_another_encoding_is_reported(encoding, tmp_path):
    folder = write(tmp_path, {"a.txt": "été" * 100_000, "b.txt": "ASCII only", "c.txt": FRENCH.encode("latin-1")})
    notices = (
        read(folder, encoding=encoding).notices if encoding != "cp1252" else read(folder, encoding="cp1252").notices
    )
    (notice,) = [notice for notice in notices if notice.code == "utf8_read_in_another_encoding"]
    assert notice.data["paths"] == [str(folder / "a.txt")]


@pytest.mark.parametrize("bad", [b"\xe9", b"\xff\xfe", b"\xc3"])
@pytest.mark.parametrize("place", [0, 10, 300_000])
def test_a_few_undecodable_bytes_get_advice_that_keeps_the_rest(bad, place, tmp_path):
    text = (FRENCH * 400).encode()
    place = text.rfind(b"\n", 0, place) + 1
    path = write(tmp_path, {"a.txt": text[:place] + bad + b"\n" + text[place:]}) / "a.txt"
    with raises_code("undecodable_text", CorpusError, suggested_encoding=None) as caught:
        read(path)
    assert caught.value.data["undecodable"] >= 1 and caught.value.data["line"] == text[:place].count(b"\n") + 1
    for errors, replacement in (("replace", "\ufffd"), ("skip", "")):
        corpus = read(path, errors=errors)
        count = caught.value.data["undecodable"]
        assert corpus.text == text[:place].decode() + replacement * count + "\n" + text[place:].decode()
        (notice,) = corpus.notices
        assert (notice.code, notice.data["count"]) == ("undecodable_bytes_changed", count)
        assert notice.data["line"] == caught.value.data["line"]


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "utf-16", "gb18030"])
def test_undecodable_bytes_of_other_encodings_can_be_replaced(encoding, tmp_path):
    data = "abc\n".encode(encoding) + (b"\x81" if encoding != "utf-16" else b"\x00\xd8\x41\x00")
    path = write(tmp_path, {"a.txt": data}) / "a.txt"
    assert "\ufffd" in read(path, encoding=encoding, errors="replace").text


@pytest.mark.parametrize("joined", ["\ufeffone\n\ufefftwo\n", "one\n\ufefftwo\n", "one\n" * 90_000 + "\ufefftwo\n"])
def test_byte_order_marks_inside_a_file_are_removed_and_counted(joined, tmp_path):
    corpus = read(write(tmp_path, {"a.txt": joined}) / "a.txt")
    assert corpus.text == joined.replace("\ufeff", "")
    expected = ["byte_order_mark_removed"] * joined.startswith("\ufeff") + ["byte_order_marks_inside_removed"]
    assert codes(corpus.notices) == expected and corpus.notices[-1].data["count"] == 1
    assert corpus.notices[-1].data["line"] == joined.count("\n")  # the mark is in the last line


def test_a_byte_model_reads_byte_order_marks_unchanged(tmp_path):
    path = write(tmp_path, {"a.txt": "one\n\ufefftwo\0"}) / "a.txt"
    assert "".join(text_pieces([str(path)], TextFormat(), [], errors="surrogateescape")) == "one\n\ufefftwo\0"


def test_files_with_nul_bytes_are_skipped_in_a_folder_and_late_ones_are_errors(tmp_path):
    folder = write(tmp_path, {"a.txt": "text\n", "b.bin": b"x" * 100_000 + b"\0"})
    assert codes(read(folder).notices) == ["binary_file_skipped"] and read(folder).text == "text\n"
    write(folder, {"c.txt": b"line\n" * 100_000 + b"\0\n"})
    with raises_code("nul_byte", CorpusError, line=100_001):
        read(folder)
    path = write(tmp_path / "z", {"a.zip": archive({"c.txt": b"line\n" * 100_000 + b"\0\n"})}) / "a.zip"
    with raises_code("nul_byte", CorpusError, line=100_001):
        read(path)
    corpus = read(path, errors="skip")
    assert corpus.text == "line\n" * 100_000 + "\n" and corpus.notices[-1].data["line"] == 100_001


def test_only_commands_that_can_read_bytes_advise_it(tmp_path, cli):
    path = write(tmp_path, {"a.bin": b"a\0b"}) / "a.bin"
    with raises_code("binary_file", CorpusError) as caught:
        list(text_pieces([str(path)], TextFormat(), []))
    assert "--unit byte" not in str(caught.value)
    assert "--unit byte" in cli("corpus", path).err and "--unit byte" not in cli("score", "shakespeare", path).err


# --- compressed data

COMPRESS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
RAIN, MORE = b"rain on the road\n" * 300, b"second part\n" * 300


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor(write_content_size=True).compress(data)


@pytest.mark.parametrize("kind", [*COMPRESS, "zstd"])
@pytest.mark.parametrize("rest", [b"\x01\x02rest", MORE, b"x", b"\0\0\0x"])
def test_bytes_after_compressed_data_are_left_out_and_counted(kind, rest, tmp_path):
    compress = COMPRESS.get(kind, zstd)
    corpus = read(write(tmp_path, {"a": compress(RAIN) + rest}) / "a")
    assert corpus.text == RAIN.decode()
    assert codes(corpus.notices) == ["decompressed", "bytes_after_compressed_data"]
    assert corpus.notices[1].data["count"] == len(rest)


@pytest.mark.parametrize("kind", [*COMPRESS, "zstd"])
def test_members_of_the_same_format_are_read_one_after_the_other(kind, tmp_path):
    compress = COMPRESS.get(kind, zstd)
    corpus = read(write(tmp_path, {"a": compress(RAIN) + compress(MORE) + compress(b"")}) / "a")
    assert corpus.text == (RAIN + MORE).decode() and codes(corpus.notices) == ["decompressed"]


@pytest.mark.parametrize("kind", ["gzip", "xz"])
@pytest.mark.parametrize("size", [4, 512, 300_000])
def test_zero_padding_belongs_to_the_format(kind, size, tmp_path):
    corpus = read(write(tmp_path, {"a": COMPRESS[kind](RAIN) + bytes(size)}) / "a")
    assert corpus.text == RAIN.decode() and codes(corpus.notices) == ["decompressed"]


def test_another_format_after_compressed_data_is_left_out(tmp_path):
    rest = gzip.compress(MORE)
    corpus = read(write(tmp_path, {"a": bz2.compress(RAIN) + rest}) / "a")
    assert corpus.text == RAIN.decode() and corpus.notices[1].data["count"] == len(rest)


# --- archives and documents


def archive(members, **options):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content, **options)
    return data.getvalue()


def test_texts_inside_a_zip_archive_are_read_in_the_order_of_their_names(tmp_path):
    members = {
        "b/two.txt": "two",
        "a.txt": "één\n",
        "__MACOSX/._a.txt": "x",
        ".hidden": "y",
        "c.gz": gzip.compress(b"3\n"),
    }
    folder = write(tmp_path, {"chat.zip": archive({**members, "photo.jpg": b"\xff\xd8\xff\0\0"})})
    corpus = read(folder / "chat.zip")
    assert corpus.text == "één\ntwo\n3\n"
    assert codes(corpus.notices) == ["decompressed", "archive_members_skipped", "newline_added"]
    names = [str(folder / "chat.zip" / name) for name in (".hidden", "__MACOSX/._a.txt", "photo.jpg")]
    assert corpus.notices[1].data == {"path": str(folder / "chat.zip"), "count": 3, "members": names}


def test_zip_archives_in_folders_tables_and_records_are_read(tmp_path):
    folder = write(tmp_path, {"t/a.zip": archive({"x.csv": "text\none\n"}), "t/b.csv": "text\ntwo\n"})
    assert read(folder / "t", column="text", lines=True).text == "one\ntwo\n"
    poems = write(tmp_path, {"p.zip": archive({"1.txt": "a\n%\nb", "2.txt": "c"})}) / "p.zip"
    assert len(read(poems, records="%").records[0].starts) == 3


@pytest.mark.parametrize(
    ("name", "members", "code"),
    [
        ("a.docx", {"word/document.xml": "<x/>", "[Content_Types].xml": ""}, "document"),
        ("a.xlsx", {"xl/workbook.xml": "<x/>"}, "document"),
        ("a.odt", {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": ""}, "document"),
    ],
)
def test_documents_are_refused_by_name_and_skipped_in_folders(name, members, code, tmp_path):
    write(tmp_path, {f"t/{name}": archive(members), "t/b.txt": "text\n"})
    with raises_code(code, CorpusError, path=str(tmp_path / "t" / name)):
        read(tmp_path / "t" / name)
    corpus = read(tmp_path / "t")
    assert corpus.text == "text\n" and codes(corpus.notices) == ["not_a_text_skipped"]


def tar(mode):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as file:
        file.addfile(tarfile.TarInfo("a.txt"), io.BytesIO(b""))
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"%PDF-1.7\n%\xe2\xe3\n", b"7z\xbc\xaf\x27\x1cxx", b"Rar!\x1a\x07\x01\x00", tar("w"), tar("w:gz"), tar("w:xz"),
     b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", b"A novel".ljust(60, b"\0") + b"BOOKMOBI"],
     ids=["pdf", "7z", "rar", "tar", "tar.gz", "tar.xz", "doc", "mobi"],
)  # fmt: skip
def test_other_archives_and_documents_are_refused_by_their_content(data, tmp_path):
    with raises_code("document", CorpusError):
        read(write(tmp_path, {"book.txt": data}) / "book.txt")


def test_damaged_and_encrypted_archives_are_refused(tmp_path):
    whole = archive({"a.txt": "text " * 1000})
    with raises_code("damaged_archive", CorpusError):
        read(write(tmp_path, {"a.zip": whole[: len(whole) // 2]}) / "a.zip")
    flagged = bytearray(whole)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        flagged[flagged.index(signature) + offset] |= 1
    with raises_code("encrypted_archive", CorpusError, member="a.txt"):
        read(write(tmp_path, {"b.zip": bytes(flagged)}) / "b.zip")


@pytest.mark.parametrize("damage", ["data", "checksum", "method", "member name"])
def test_damaged_members_are_refused(damage, tmp_path):
    data = bytearray(archive({"a.txt": bytes(range(32, 127)) * 50 + os.urandom(2000).hex().encode()}))
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    if damage == "data":
        data[local + 300 : local + 400] = bytes(100)
    elif damage == "checksum":
        data[central + 16] ^= 1
    elif damage == "method":
        data[central + 10] = data[local + 8] = 97
    else:
        data[local + 30] ^= 1
    with raises_code("damaged_archive", CorpusError):
        read(write(tmp_path, {"a.zip": bytes(data)}) / "a.zip")


@pytest.mark.parametrize("members", [{"a.txt": b"0" * 2_000_000}, {f"{i}.txt": b"0" * 200_000 for i in range(10)}])
def test_archives_that_expand_suspiciously_are_refused(members, tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.reading.containers._MIN_SUSPICIOUS", 1_500_000)
    with raises_code("suspicious_archive", CorpusError):
        read(write(tmp_path, {"a.zip": archive(members)}) / "a.zip")


def e_book(chapters, package=None, **members):
    """An e-book with these chapters in reading order, as bytes."""
    manifest = "".join(f'<item id="c{i}" href="{name}"/>' for i, name in enumerate(chapters))
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    package = package or (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{manifest}</manifest><spine>{spine}</spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf"/></rootfiles></container>'
    )
    fixed = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "book.opf": package}
    return archive(fixed | chapters | members)


def test_chapters_keep_lines_and_spaces_that_are_text(tmp_path):
    page = "<body><pre>a  b\nc</pre><p>\u3000\u3000one\xa0two\n  three<br/>four</p><script/>x</body>"
    path = write(tmp_path, {"a.epub": e_book({"a.xhtml": page})}) / "a.epub"
    assert read(path).text == "a  b\nc\n\u3000\u3000one\xa0two three\nfour\nx\n"
    assert len(read(path, lines=True).records[0].starts) == 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_chapters_are_decoded_in_their_declared_encoding(encoding, tmp_path):
    page = f'<?xml version="1.0" encoding="{encoding}"?><p>été</p>'.encode(encoding)
    assert read(write(tmp_path, {"a.epub": e_book({"a.xhtml": page})}) / "a.epub").text == "été\n"


PROTECTED = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><d:CipherReference '
    'xmlns:d="http://www.w3.org/2001/04/xmlenc#" URI="a.xhtml"/></encryption>'
)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (e_book({"a.xhtml": "<p>été</p>".encode("latin-1")}), "damaged_archive"),
        (e_book({"a.xhtml": "x"}, package="<package"), "damaged_archive"),
        (e_book({"a.xhtml": "x"}, package="<package/>"), "damaged_archive"),
        (e_book({"a.xhtml": "x"}, **{"META-INF/container.xml": "<container/>"}), "damaged_archive"),
        (e_book({"a.xhtml": "x"}, **{"META-INF/encryption.xml": PROTECTED}), "encrypted_archive"),
    ],
    ids=["encoding", "malformed package", "no chapters", "no package", "copy protection"],
)
def test_damaged_and_protected_e_books_are_refused(data, code, tmp_path):
    path = write(tmp_path, {"a.epub": data}) / "a.epub"
    with raises_code(code, CorpusError, path=str(path)):
        read(path)


def test_an_e_book_is_not_a_table(tmp_path):
    path = write(tmp_path, {"a.epub": e_book({"a.xhtml": "x"})}) / "a.epub"
    with raises_code("unsupported_table_format", CorpusError):
        read(path, column="text")


def test_chapters_of_an_e_book_are_read_in_order(tmp_path):
    head = "<head><title>T</title><style>p {{}}</style></head>"
    chapter = f"<html>{head}<body><h1>{{0}}</h1><p>One &amp;\n two.</p></body></html>"
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="b" href="text/b%20b.xhtml"/><item id="a" href="text/a.xhtml"/></manifest>'
        '<spine><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/package.opf"/></rootfiles></container>'
    )
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": container,
        "OPS/package.opf": package,
        "OPS/text/a.xhtml": chapter.format("Second"),
        "OPS/text/b b.xhtml": chapter.format("First"),
    }
    path = write(tmp_path, {"book.epub": archive(members)}) / "book.epub"
    assert read(path).text == "First\nOne & two.\nSecond\nOne & two.\n"
    del members["OPS/text/a.xhtml"]
    with raises_code("damaged_archive", CorpusError):
        read(write(tmp_path, {"bad.epub": archive(members)}) / "bad.epub")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("{\\rtf1 text}", "RTF"),
        ("<!DOCTYPE html>\n<p>a", "HTML"),
        ("\ufeff <html>", "HTML"),
        ("<!doctype HTML>", "HTML"),
    ],
)
def test_markup_is_noticed(text, language, tmp_path):
    corpus = read(write(tmp_path, {"a.txt": text}) / "a.txt")
    assert [notice.data["language"] for notice in corpus.notices if notice.code == "markup"] == [language]
