"""Reading files as text: newlines, Unicode normalization, compression, columns, boundaries and bytes."""

import bz2
import gzip
import json
import lzma
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.corpus import Corpus
from charloom.data.reading.normalization import normalize_newlines, normalize_nfc
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError
from support.errors import codes, raises_code


def cut(text, positions):
    """Cut a text into pieces at these positions."""
    edges = [0, *sorted(position % (len(text) + 1) for position in positions), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def read(path, **values):
    return Corpus.read(path, text_format=TextFormat(**values))


newlines = st.text(st.sampled_from("a\r\n"), max_size=40)
_JOINING = "aeé\u0301\u0323A\u030a\u1100\u1161\u11a8\uac00\u0627\u0653한n\u0303\u2126 \n"
accents = st.text(st.sampled_from(_JOINING), max_size=30)
cuts = st.lists(st.integers(0, 100), max_size=6)


@given(newlines, cuts)
def test_normalize_newlines_does_not_depend_on_piece_boundaries(text, cuts):
    assert "".join(normalize_newlines(cut(text, cuts))) == text.replace("\r\n", "\n").replace("\r", "\n")


@given(accents, cuts)
def test_normalize_nfc_does_not_depend_on_piece_boundaries(text, cuts):
    assert "".join(normalize_nfc(cut(text, cuts))) == unicodedata.normalize("NFC", text)


@given(st.text(max_size=30), cuts)
def test_normalize_nfc_matches_unicodedata_on_any_text(text, cuts):
    assert "".join(normalize_nfc(cut(text, cuts))) == unicodedata.normalize("NFC", text)


def test_normalize_nfc_splits_a_long_run_of_combining_marks():
    pieces = list(normalize_nfc("a" if i == 0 else "\u0300" * 10_000 for i in range(30)))
    assert len("".join(pieces)) == 290_000  # one accent combines with the letter before it


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstd])
def test_compressed_files_are_decompressed(tmp_path, compress):
    text = "Ünïcödé lines\n" * 30_000
    (tmp_path / "book.txt.packed").write_bytes(compress(text.encode()))
    corpus = read(tmp_path / "book.txt.packed")
    assert corpus.text == text and codes(corpus.notices) == ["decompressed"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstd])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compressed_files_are_rejected(tmp_path, compress, damage):
    data = bytearray(compress(np.random.default_rng(0).integers(97, 120, 200_000, np.uint8).tobytes()))
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0xFF
        data[len(data) // 2 + 1] ^= 0xFF
    (tmp_path / "book.gz").write_bytes(data)
    if damage == "changed" and compress is zstd:
        pytest.skip("these frames have no checksum")
    with raises_code("damaged_compressed_file", CorpusError, path=str(tmp_path / "book.gz")):
        read(tmp_path / "book.gz")


def test_concatenated_compressed_streams_are_all_read(tmp_path):
    (tmp_path / "book.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert read(tmp_path / "book.gz").text == "one\ntwo\n"
    packed = pytest.importorskip("zstandard").ZstdCompressor()
    (tmp_path / "book.zst").write_bytes(packed.compress(b"one\n") + packed.compress(b"two\n"))
    assert read(tmp_path / "book.zst").text == "one\ntwo\n"


def test_newlines_and_accents_are_unchanged_by_default(tmp_path):
    (tmp_path / "a.txt").write_bytes("e\u0301\r\nn\r".encode())
    assert read(tmp_path / "a.txt").text == "e\u0301\r\nn\r"
    assert read(tmp_path / "a.txt", newlines="lf", normalize="nfc").text == "\u00e9\nn\n"


def test_boundary_is_inserted_between_files(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two\n")
    (tmp_path / "c.txt").write_text("three")
    corpus = read([tmp_path / f"{name}.txt" for name in "abc"], boundary="\f")
    assert corpus.text == "one\ftwo\n\fthree" and corpus.notices == ()


def test_byte_unit_reads_any_file(tmp_path):
    data = bytes(range(256)) * 3
    (tmp_path / "any").write_bytes(data)
    corpus = read(tmp_path / "any", unit="byte")
    assert len(corpus) == 768 and len(corpus.vocabulary) == 256
    ids = corpus.parts(0.0).training.ids(corpus.vocabulary)
    assert ids.tobytes() == data == corpus.text.encode("utf-8", "surrogateescape")
    with raises_code("binary_file", CorpusError, path=str(tmp_path / "any")):
        read(tmp_path / "any")


def test_column_values_are_read_as_lines(tmp_path):
    (tmp_path / "a.csv").write_text('name,year\nAda,1815\n"Grace ""Amazing"" Hopper",1906\n"two\nlines",1\n')
    corpus = read(tmp_path / "a.csv", lines=True, column="name")
    assert corpus.text == 'Ada\nGrace "Amazing" Hopper\ntwo lines\n'
    (notice,) = corpus.notices
    assert notice.code == "line_breaks_replaced" and notice.data["count"] == 1
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"n\tm\nx\ty\n"))
    assert read(tmp_path / "a.tsv.gz", lines=True, column="m").text == "y\n"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"t": t}) + "\n" for t in ("é", "b")))
    assert read(tmp_path / "a.jsonl", lines=True, column="t").text == "é\nb\n"


@pytest.mark.parametrize(
    ("name", "text", "column", "code", "data"),
    [
        ("a.csv", "name,year\nAda,1\n", "nam", "unknown_column", {"suggestions": ["name"], "line": None}),
        ("a.csv", "a,b\n1\n", "b", "missing_field", {"line": 2, "fields": 1}),
        ("a.csv", 'a\n"open\n', "a", "invalid_table", {}),
        ("a.jsonl", '{"a": 1}\n', "a", "value_not_text", {"line": 1, "value": "1"}),
        ("a.jsonl", '{"a": "x"}\n[1]\n', "a", "not_a_json_object", {"line": 2, "value": "[1]"}),
        ("a.jsonl", "nothing\n", "a", "invalid_json", {"line": 1}),
        ("a.txt", "x\n", "a", "unsupported_table_format", {}),
    ],
)
def test_invalid_tables_are_rejected(tmp_path, name, text, column, code, data):
    (tmp_path / name).write_text(text)
    with raises_code(code, CorpusError, **{**data, "path": str(tmp_path / name)}):
        read(tmp_path / name, lines=True, column=column)


@pytest.mark.parametrize(
    ("values", "code", "data"),
    [
        ({"newlines": "crlf"}, "invalid_setting", {"name": "newlines", "value": "crlf", "accepted": ["keep", "lf"]}),
        ({"normalize": "nfkc"}, "invalid_setting", {"name": "normalize", "accepted": ["none", "nfc"]}),
        ({"unit": "word"}, "invalid_setting", {"name": "unit", "accepted": ["char", "byte"]}),
        ({"lines": 1}, "invalid_setting", {"name": "lines", "value": "1"}),
        ({"unit": "byte", "normalize": "nfc"}, "conflicting_options", {"options": ["--unit", "--normalize"]}),
        ({"unit": "byte", "encoding": "latin-1"}, "conflicting_options", {"options": ["--unit", "--encoding"]}),
        ({"label": "a"}, "missing_option", {"option": "--column", "required_by": "--label"}),
        ({"label": "a", "column": "b", "lines": True}, "missing_option", {"required_by": "--label"}),
        ({"delimiter": ";"}, "missing_option", {"option": "--column", "required_by": "--delimiter"}),
        ({"column": "a", "delimiter": ";;"}, "invalid_setting", {"name": "delimiter"}),
        ({"column": "a", "quoting": "maybe"}, "invalid_setting", {"accepted": ["auto", "none", "standard"]}),
        ({"column": "a", "table": "xls"}, "invalid_setting", {"name": "table", "value": "xls"}),
        ({"errors": "ignore"}, "invalid_setting", {"accepted": ["strict", "replace", "skip"]}),
        ({"encodings": (("a", 1),)}, "invalid_setting", {"name": "encodings"}),
        ({"records": "%", "lines": True}, "conflicting_options", {"options": ["--lines", "--records"]}),
        ({"records": "%", "column": "a"}, "conflicting_options", {"options": ["--records", "--column"]}),
        ({"records": "%", "boundary": "x"}, "conflicting_options", {"options": ["--boundary", "--records"]}),
        ({"records": "%", "unit": "byte"}, "conflicting_options", {"options": ["--unit", "--records"]}),
        ({"lines": True, "boundary": "x"}, "conflicting_options", {"options": ["--boundary", "--lines"]}),
    ],
)
def test_text_format_rejects_invalid_and_conflicting_values(values, code, data):
    with raises_code(code, CorpusError, **data):
        TextFormat(**values)


def test_file_that_ends_within_a_character_is_rejected(tmp_path):
    (tmp_path / "a.txt").write_bytes("né".encode()[:-1])
    with raises_code("incomplete_text_file", CorpusError, offset=1):
        read(tmp_path / "a.txt")
