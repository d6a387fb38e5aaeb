import hashlib
import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import datasets as named
from charloom.data.corpus import Corpus
from charloom.data.reading.sources import corpus_name
from charloom.errors import CorpusError, SettingsError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"second\n")
    (tmp_path / "a.txt").write_bytes(b"first")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.md").write_bytes(b"third\r\n")
    (tmp_path / ".hidden").write_bytes(b"no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    return tmp_path


def test_a_folder_is_read_in_order_and_what_was_done_is_said(folder):
    corpus = Corpus.read(folder)
    assert corpus.text == "first\nsecond\nthird\r\n"
    assert corpus.name == folder.name
    assert any("image.png" in notice and "not text" in notice for notice in corpus.notices)
    assert any("Put a newline after 1 of 3 files" in notice for notice in corpus.notices)


def test_the_folders_of_earlier_runs_are_no_part_of_a_text(folder):
    (folder / "runs" / "old" / "checkpoints").mkdir(parents=True)
    (folder / "runs" / "old" / "metrics.jsonl").write_text("{}")
    (folder / "runs" / "old" / "samples.txt").write_text("generated")
    corpus = Corpus.read(folder)
    assert corpus.text == "first\nsecond\nthird\r\n"
    assert any("it is the folder of a run" in notice for notice in corpus.notices)


def test_closed_standard_input_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="is closed"):
        Corpus.read("-")


def test_several_files_and_a_glob(folder):
    assert Corpus.read([folder / "b.txt", folder / "a.txt"]).text == "second\nfirst"
    assert Corpus.read(str(folder / "*.txt")).text == "first\nsecond\n"
    assert Corpus.read(str(folder / "**" / "*.md")).text == "third\r\n"


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode())))
    assert Corpus.read("-").text == "naïve"


def test_newlines_are_kept_and_a_byte_order_mark_is_dropped_and_said(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthree\n\u2028".encode())
    corpus = Corpus.read(path)
    assert corpus.text == "one\r\ntwo\rthree\n\u2028"
    assert corpus.notices == (f"Dropped the byte order mark at the start of {path}.",)


def test_utf_16_is_read_when_named(tmp_path):
    (tmp_path / "book.txt").write_text("Ωμέγα\n", encoding="utf-16")
    corpus = Corpus.read(tmp_path / "book.txt", encoding="utf-16")
    assert corpus.text == "Ωμέγα\n" and "byte order mark" in corpus.notices[0]
    with pytest.raises(CorpusError, match="try --encoding utf-16"):
        Corpus.read(tmp_path / "book.txt")


def test_bytes_that_are_not_utf_8_are_placed_and_their_encoding_guessed(tmp_path):
    path = tmp_path / "old.txt"
    good = "Un café à la crème, s’il vous plaît — déjà vu à Besançon.\n"
    path.write_bytes(b"plain line\n" + (good * 20).encode("cp1252"))
    with pytest.raises(CorpusError) as caught:
        Corpus.read(path)
    message = str(caught.value)
    offset = path.read_bytes().index(b"\xe9")
    assert str(path) in message and f"byte 0xE9 at offset {offset} (line 2)" in message
    assert "--encoding cp1252" in message
    assert Corpus.read(path, encoding="cp1252").text == "plain line\n" + good * 20


@pytest.mark.parametrize(("language", "encoding"), [
    ("Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n", "cp1251"),
    ("Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n", "koi8-r"),
    ("床前明月光，疑是地上霜。举头望明月，低头思故乡。春眠不觉晓，处处闻啼鸟。\n", "gb18030"),
    ("人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。\n", "big5"),
    ("すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である。\n", "shift-jis"),
    ("すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である。\n", "euc-jp"),
    ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n", "euc-kr"),
    ("Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.\n", "cp1250"),
    ("Alle Menschen sind frei und gleich an Würde und Rechten geboren: „groß“, „Übermut“.\n", "cp1252"),
    ("“It’s all the same,” she said—and “it’s” was all she said.\n", "cp1252"),
])  # fmt: skip
def test_the_guess_decodes_the_text(tmp_path, language, encoding):
    path = tmp_path / "book.txt"
    path.write_bytes((language * 20).encode(encoding))
    with pytest.raises(CorpusError, match="try --encoding") as caught:
        Corpus.read(path)
    guess = str(caught.value).split("--encoding ")[1].split(",")[0]
    assert Corpus.read(path, encoding=guess).text == language * 20


def test_an_encoding_is_suggested_only_where_one_is_plausible(tmp_path):
    path = tmp_path / "noise.txt"
    path.write_bytes(np.random.default_rng(0).integers(1, 256, 5000, np.uint8).tobytes())
    with pytest.raises(CorpusError, match="or name its encoding with --encoding"):
        Corpus.read(path)


def test_an_encoding_is_guessed_from_the_place_that_does_not_fit(tmp_path):
    path, start = tmp_path / "book.txt", "ASCII alone.\n" * 50_000
    russian = "Все счастливые семьи похожи друг на друга.\n" * 2000
    path.write_bytes((start + russian).encode("cp1251"))
    with pytest.raises(CorpusError, match=f"at offset {len(start)} .line 50001.*try --encoding cp1251"):
        Corpus.read(path)


def test_a_binary_file_is_called_one(tmp_path):
    (tmp_path / "music.mp3").write_bytes(b"ID3\x03\0\0\xff\xfb\x90")
    (tmp_path / "archive.tar").write_bytes(b"only ASCII, and so UTF-8 too\0\0\0")
    for name in ("music.mp3", "archive.tar"):
        with pytest.raises(CorpusError, match="probably not a text file"):
            Corpus.read(tmp_path / name)


def test_nul_bytes_are_part_of_utf_16_without_a_mark(tmp_path):
    (tmp_path / "book.txt").write_bytes("plain".encode("utf-16-le"))
    assert Corpus.read(tmp_path / "book.txt", encoding="utf-16-le").text == "plain"


@pytest.mark.parametrize(("source", "message"), [
    ("nothing.txt", "There is no file, folder or named corpus 'nothing.txt'"),
    ("shakespear", "Did you mean shakespeare?"),
    ("*.none", "No file matches"),
    ("empty.txt", "is empty"),
    ("images", "every file there is binary"),
    ("bare", "holds no files"),
    ("", "is no name of a file"),
    ("To be, or not to be. " * 20, "a text itself goes through standard input"),
])  # fmt: skip
def test_what_cannot_be_read_is_explained(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bare").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.bin").write_bytes(b"\0\1")
    with pytest.raises(CorpusError) as caught:
        Corpus.read(source)
    assert message in str(caught.value)


def test_a_near_miss_of_a_file_name_is_suggested(tmp_path):
    (tmp_path / "my_book.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"Did you mean my_book\.txt\?"):
        Corpus.read(tmp_path / "my_bok.txt")


def test_an_unknown_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for encoding in ("utf-9", "rot13", "a\0b"):
        with pytest.raises(CorpusError, match="Unknown encoding"):
            Corpus.read(tmp_path / "a.txt", encoding=encoding)


@given(st.text(min_size=1), st.floats(0, 0.4), st.floats(0, 0.4))
def test_the_split_cuts_by_position_and_loses_nothing(text, validation, test):
    split = Corpus(text).split(validation, test)
    assert split.training + split.validation + split.test == text


def test_the_split_of_tiny_shakespeare_is_the_one_others_use(shakespeare):
    split = shakespeare.split(0.1)
    assert (len(split.training), len(split.validation), len(split.test)) == (1_003_854, 111_540, 0)


@pytest.mark.parametrize("fractions", [(-0.1, 0), (1, 0), (0, 1), (0.5, 0.5), (float("nan"), 0)])
def test_fractions_out_of_range_are_refused(fractions):
    with pytest.raises(SettingsError):
        Corpus("text").split(*fractions)


def test_the_digest_is_the_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("größer\n".encode())
    assert Corpus.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("argument", "name"), [
    ("books/my book.txt", "my_book"), ("-", "stdin"), ("books/*.txt", "books"), ("*.txt", "corpus"),
    ("python-docs", "python-docs"), ("a.b.txt", "a.b"),
])  # fmt: skip
def test_a_corpus_has_a_name_that_a_folder_can_have(argument, name):
    assert corpus_name(argument) == name


def test_the_python_docs_are_always_there():
    corpus = Corpus.read("python-docs")
    assert len(corpus.text) > 400_000 and "statement" in corpus.text


class TestDownload:
    """The named corpus that is loaded, from files that stand in for its addresses."""

    @pytest.fixture(autouse=True)
    def places(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("CHARLOOM_CORPORA", raising=False)
        self.folder = tmp_path
        self.data = b"To be, or not to be\n" * 9000

    def corpus(self, *addresses, sha256=None):
        digest = sha256 or hashlib.sha256(self.data).hexdigest()
        return named.Download("play.txt", addresses, len(self.data), digest)

    def address(self, data):
        path = self.folder / f"{len(data)}.txt"
        path.write_bytes(data)
        return path.as_uri()

    def test_it_is_loaded_once_checked_and_kept(self, monkeypatch):
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(self.address(b"not it"), self.address(self.data)))
        seen = []
        assert named.read_dataset("shakespeare", lambda done, total: seen.append((done, total))) == self.data
        assert seen[-1] == (len(self.data), len(self.data)) and len(seen) > 2
        monkeypatch.setattr(named, "_fetch", lambda *_: pytest.fail("it was loaded twice"))
        assert named.read_dataset("shakespeare") == self.data

    def test_a_cached_file_that_was_changed_is_not_believed(self, monkeypatch):
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(self.address(self.data)))
        (named.cache_folder() / "corpora").mkdir(parents=True)
        (named.cache_folder() / "corpora" / "play.txt").write_bytes(self.data[:-1] + b"!")
        assert named.read_dataset("shakespeare") == self.data

    def test_wrong_bytes_and_missing_addresses_are_told(self, monkeypatch):
        missing = (self.folder / "gone.txt").as_uri()
        large = self.address(self.data * 3)
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(self.address(b"not it"), missing, large))
        with pytest.raises(CorpusError) as caught:
            named.read_dataset("shakespeare")
        message = str(caught.value)
        assert "another SHA-256" in message and "gone.txt" in message and "much larger" in message
        assert "CHARLOOM_CORPORA" in message
