"""How files become text: newlines, normal forms, compression, columns, boundaries, bytes."""

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


def cut(text, places):
    """Cut a text into pieces at these places."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def read(path, **values):
    return Corpus.read(path, text_format=TextFormat(**values))


newlines = st.text(st.sampled_from("a\r\n"), max_size=40)
_JOINING = "aeé\u0301\u0323A\u030a\u1100\u1161\u11a8\uac00\u0627\u0653한n\u0303\u2126 \n"
accents = st.text(st.sampled_from(_JOINING), max_size=30)
places = st.lists(st.integers(0, 100), max_size=6)


@given(newlines, places)
def test_line_ends_become_line_feeds_however_the_text_is_cut(text, places):
    assert "".join(normalize_newlines(cut(text, places))) == text.replace("\r\n", "\n").replace("\r", "\n")


@given(accents, places)
def test_the_normal_form_is_the_same_however_the_text_is_cut(text, places):
    assert "".join(normalize_nfc(cut(text, places))) == unicodedata.normalize("NFC", text)


@given(st.text(max_size=30), places)
def test_any_text_is_composed_as_unicodedata_does_it(text, places):
    assert "".join(normalize_nfc(cut(text, places))) == unicodedata.normalize("NFC", text)


def test_a_long_run_of_accents_does_not_fill_the_memory():
    pieces = list(normalize_nfc("a" if i == 0 else "\u0300" * 10_000 for i in range(30)))
    assert len("".join(pieces)) == 290_000  # one accent joins the letter before it


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstd])
def test_compressed_files_are_read_as_what_is_in_them(tmp_path, compress):
    text = "Ünïcödé lines\n" * 30_000
    (tmp_path / "book.txt.packed").write_bytes(compress(text.encode()))
    corpus = read(tmp_path / "book.txt.packed")
    assert corpus.text == text and "Decompressed" in corpus.notices[0]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zstd])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compressed_files_are_told(tmp_path, compress, damage):
    data = bytearray(compress(np.random.default_rng(0).integers(97, 120, 200_000, np.uint8).tobytes()))
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0xFF
        data[len(data) // 2 + 1] ^= 0xFF
    (tmp_path / "book.gz").write_bytes(data)
    if damage == "changed" and compress is zstd:
        pytest.skip("these frames hold no checksum")
    with pytest.raises(CorpusError, match="damaged or cut short"):
        read(tmp_path / "book.gz")


def test_two_compressed_parts_behind_each_other_are_both_read(tmp_path):
    (tmp_path / "book.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert read(tmp_path / "book.gz").text == "one\ntwo\n"
    packed = pytest.importorskip("zstandard").ZstdCompressor()
    (tmp_path / "book.zst").write_bytes(packed.compress(b"one\n") + packed.compress(b"two\n"))
    assert read(tmp_path / "book.zst").text == "one\ntwo\n"


def test_newlines_and_accents_are_kept_unless_asked(tmp_path):
    (tmp_path / "a.txt").write_bytes("e\u0301\r\nn\r".encode())
    assert read(tmp_path / "a.txt").text == "e\u0301\r\nn\r"
    assert read(tmp_path / "a.txt", newlines="lf", normalize="nfc").text == "\u00e9\nn\n"


def test_a_boundary_stands_between_files(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two\n")
    (tmp_path / "c.txt").write_text("three")
    corpus = read([tmp_path / f"{name}.txt" for name in "abc"], boundary="\f")
    assert corpus.text == "one\ftwo\n\fthree" and corpus.notices == ()


def test_bytes_are_any_file(tmp_path):
    data = bytes(range(256)) * 3
    (tmp_path / "any").write_bytes(data)
    corpus = read(tmp_path / "any", unit="byte")
    assert len(corpus) == 768 and len(corpus.vocabulary) == 256
    ids = corpus.parts(0.0).training.ids(corpus.vocabulary)
    assert ids.tobytes() == data == corpus.text.encode("utf-8", "surrogateescape")
    with pytest.raises(CorpusError, match="--unit byte"):
        read(tmp_path / "any")


def test_lines_of_a_column(tmp_path):
    (tmp_path / "a.csv").write_text('name,year\nAda,1815\n"Grace ""Amazing"" Hopper",1906\n"two\nlines",1\n')
    corpus = read(tmp_path / "a.csv", lines=True, column="name")
    assert corpus.text == 'Ada\nGrace "Amazing" Hopper\ntwo lines\n' and "1 values" in corpus.notices[0]
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"n\tm\nx\ty\n"))
    assert read(tmp_path / "a.tsv.gz", lines=True, column="m").text == "y\n"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"t": t}) + "\n" for t in ("é", "b")))
    assert read(tmp_path / "a.jsonl", lines=True, column="t").text == "é\nb\n"


@pytest.mark.parametrize(
    ("name", "text", "column", "message"),
    [
        ("a.csv", "name,year\nAda,1\n", "nam", "Did you mean 'name'"),
        ("a.csv", "a,b\n1\n", "b", "line 2, has 1 fields"),
        ("a.csv", 'a\n"open\n', "a", "not valid"),
        ("a.jsonl", '{"a": 1}\n', "a", "which is no text"),
        ("a.jsonl", '{"a": "x"}\n[1]\n', "a", "line 2, has no column"),
        ("a.jsonl", "nothing\n", "a", "line 1, is not JSON"),
        ("a.txt", "x\n", "a", "ends? with .csv|end with .csv"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, name, text, column, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / name, lines=True, column=column)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"newlines": "crlf"}, "keep, lf"),
        ({"normalize": "nfkc"}, "none, nfc"),
        ({"unit": "word"}, "char, byte"),
        ({"unit": "byte", "normalize": "nfc"}, "--normalize cannot"),
        ({"unit": "byte", "encoding": "latin-1"}, "--encoding cannot"),
        ({"column": "a"}, "goes with --lines"),
        ({"lines": True, "boundary": "x"}, "--boundary"),
    ],
)
def test_what_does_not_go_together_is_told(values, message):
    with pytest.raises(CorpusError, match=message):
        TextFormat(**values)


def test_a_file_that_ends_within_a_character_is_told(tmp_path):
    (tmp_path / "a.txt").write_bytes("né".encode()[:-1])
    with pytest.raises(CorpusError, match="middle of a character"):
        read(tmp_path / "a.txt")
