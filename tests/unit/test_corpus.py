import gzip
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import datasets as named
from charloom.data.corpus import Corpus
from charloom.data.reading.sources import corpus_name
from charloom.errors import CorpusError, SettingsError
from support.errors import codes, raises_code


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"second\n")
    (tmp_path / "a.txt").write_bytes(b"first")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.md").write_bytes(b"third\r\n")
    (tmp_path / ".hidden").write_bytes(b"no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    return tmp_path


def test_folder_is_read_in_path_order_with_notices(folder):
    corpus = Corpus.read(folder)
    assert corpus.text == "first\nsecond\nthird\r\n"
    assert corpus.name == folder.name
    skipped, added = corpus.notices
    assert (skipped.code, skipped.data) == ("binary_file_skipped", {"path": str(folder / "image.png")})
    assert (added.code, added.data) == ("newline_added", {"count": 1, "files": 3})


def test_run_folders_in_a_folder_are_skipped(folder):
    (folder / "runs" / "old" / "checkpoints").mkdir(parents=True)
    (folder / "runs" / "old" / "metrics.jsonl").write_text("{}")
    (folder / "runs" / "old" / "samples.txt").write_text("generated")
    corpus = Corpus.read(folder)
    assert corpus.text == "first\nsecond\nthird\r\n"
    notice = next(notice for notice in corpus.notices if notice.code == "run_folder_skipped")
    assert notice.data == {"path": str(folder / "runs" / "old")}


def test_closed_standard_input_is_rejected(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with raises_code("stdin_closed", CorpusError):
        Corpus.read("-")


def test_several_files_and_globs_are_joined(folder):
    assert Corpus.read([folder / "b.txt", folder / "a.txt"]).text == "second\nfirst"
    assert Corpus.read(str(folder / "*.txt")).text == "first\nsecond\n"
    assert Corpus.read(str(folder / "**" / "*.md")).text == "third\r\n"


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode())))
    assert Corpus.read("-").text == "naïve"


def test_newlines_are_kept_and_byte_order_mark_is_removed_with_a_notice(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthree\n\u2028".encode())
    corpus = Corpus.read(path)
    assert corpus.text == "one\r\ntwo\rthree\n\u2028"
    (notice,) = corpus.notices
    assert (notice.code, notice.data) == ("byte_order_mark_removed", {"path": str(path)})


def test_utf_16_is_read_with_the_encoding_option_and_suggested_without(tmp_path):
    (tmp_path / "book.txt").write_text("Ωμέγα\n", encoding="utf-16")
    corpus = Corpus.read(tmp_path / "book.txt", encoding="utf-16")
    assert corpus.text == "Ωμέγα\n" and codes(corpus.notices) == ["byte_order_mark_removed"]
    with raises_code("undecodable_text", CorpusError, suggested_encoding="utf-16"):
        Corpus.read(tmp_path / "book.txt")


def test_undecodable_bytes_are_reported_with_position_and_likely_encoding(tmp_path):
    path = tmp_path / "old.txt"
    good = "Un café à la crème, s’il vous plaît — déjà vu à Besançon.\n"
    path.write_bytes(b"plain line\n" + (good * 20).encode("cp1252"))
    place = {"path": str(path), "offset": path.read_bytes().index(b"\xe9"), "line": 2, "byte": 0xE9}
    with raises_code("undecodable_text", CorpusError, suggested_encoding="cp1252", **place) as caught:
        Corpus.read(path)
    assert "0xE9" in str(caught.value) and "--encoding cp1252" in str(caught.value)
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
def test_suggested_encoding_decodes_the_text(tmp_path, language, encoding):
    path = tmp_path / "book.txt"
    path.write_bytes((language * 20).encode(encoding))
    with raises_code("undecodable_text", CorpusError) as caught:
        Corpus.read(path)
    assert Corpus.read(path, encoding=caught.value.data["suggested_encoding"]).text == language * 20


def test_no_encoding_is_suggested_for_random_bytes(tmp_path):
    path = tmp_path / "noise.txt"
    path.write_bytes(np.random.default_rng(0).integers(1, 256, 5000, np.uint8).tobytes())
    with raises_code("undecodable_text", CorpusError, suggested_encoding=None):
        Corpus.read(path)


def test_encoding_is_guessed_from_the_bytes_around_the_error(tmp_path):
    path, start = tmp_path / "book.txt", "ASCII only.\n" * 50_000
    russian = "Все счастливые семьи похожи друг на друга.\n" * 2000
    path.write_bytes((start + russian).encode("cp1251"))
    place = {"offset": len(start), "line": 50_001}
    with raises_code("undecodable_text", CorpusError, suggested_encoding="cp1251", **place):
        Corpus.read(path)


def test_binary_files_are_rejected(tmp_path):
    (tmp_path / "music.mp3").write_bytes(b"ID3\x03\0\0\xff\xfb\x90")
    (tmp_path / "archive.tar").write_bytes(b"only ASCII, and so UTF-8 too\0\0\0")
    for name in ("music.mp3", "archive.tar"):
        with raises_code("binary_file", CorpusError, path=str(tmp_path / name)):
            Corpus.read(tmp_path / name)


def test_utf_16_without_byte_order_mark_may_contain_nul_bytes(tmp_path):
    (tmp_path / "book.txt").write_bytes("plain".encode("utf-16-le"))
    assert Corpus.read(tmp_path / "book.txt", encoding="utf-16-le").text == "plain"


@pytest.mark.parametrize(("source", "code", "data"), [
    ("nothing.txt", "file_not_found", {"path": "nothing.txt", "suggestions": []}),
    ("shakespear", "file_not_found", {"suggestions": ["shakespeare"]}),
    ("*.none", "no_matching_files", {"pattern": "*.none"}),
    ("empty.txt", "empty_corpus", {"name": "empty"}),
    ("images", "no_text_files", {"sources": ["images"]}),
    ("bare", "empty_folder", {"path": "bare"}),
    ("", "invalid_path", {"path": ""}),
    ("To be, or not to be. " * 20, "invalid_path", {"path": "To be, or not to be. To be, or not to be"}),
    ([], "missing_corpus", {}),
    (["-", "-"], "repeated_stdin", {}),
])  # fmt: skip
def test_unreadable_sources_are_rejected(tmp_path, monkeypatch, source, code, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bare").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.bin").write_bytes(b"\0\1")
    with raises_code(code, CorpusError, **data):
        Corpus.read(source)


def test_similar_file_name_is_suggested(tmp_path):
    (tmp_path / "my_book.txt").write_text("x")
    with raises_code("file_not_found", CorpusError, suggestions=[str(tmp_path / "my_book.txt")]):
        Corpus.read(tmp_path / "my_bok.txt")


def test_unknown_encodings_are_rejected(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for encoding in ("utf-9", "rot13", "a\0b"):
        with raises_code("unknown_encoding", CorpusError, encoding=encoding):
            Corpus.read(tmp_path / "a.txt", encoding=encoding)


@given(st.text(min_size=1), st.floats(0, 0.4), st.floats(0, 0.4))
def test_split_partitions_the_text_by_position(text, validation, test):
    split = Corpus(text).split(validation, test)
    assert split.training + split.validation + split.test == text


def test_split_of_tiny_shakespeare_has_the_usual_sizes(shakespeare):
    split = shakespeare.split(0.1)
    assert (len(split.training), len(split.validation), len(split.test)) == (1_003_854, 111_540, 0)


@pytest.mark.parametrize("fractions", [(-0.1, 0), (1, 0), (0, 1), (0.5, 0.5), (float("nan"), 0)])
def test_split_rejects_fractions_out_of_range(fractions):
    code = "no_training_text" if fractions == (0.5, 0.5) else "invalid_setting"
    with raises_code(code, SettingsError):
        Corpus("text").split(*fractions)


def test_corpus_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("größer\n".encode())
    assert Corpus.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("argument", "name"), [
    ("books/my book.txt", "my_book"), ("-", "stdin"), ("books/*.txt", "books"), ("*.txt", "corpus"),
    ("python-docs", "python-docs"), ("a.b.txt", "a.b"),
])  # fmt: skip
def test_corpus_name_is_a_valid_folder_name(argument, name):
    assert corpus_name(argument) == name


def test_python_docs_corpus_is_available_offline():
    corpus = Corpus.read("python-docs")
    assert len(corpus.text) > 400_000 and "statement" in corpus.text


def test_shakespeare_comes_with_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHARLOOM_CORPORA", raising=False)
    monkeypatch.setattr(named, "_fetch", lambda *_: pytest.fail("downloaded"))
    data = named.read_dataset("shakespeare")
    assert len(data) == 1_115_394 and hashlib.sha256(data).hexdigest() == named.SHAKESPEARE.sha256
    assert named.is_available_offline("shakespeare") and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:1000], lambda data: b"not gzip", lambda data: gzip.compress(b"x")]
)
def test_a_damaged_text_of_the_package_is_not_used(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHARLOOM_CORPORA", raising=False)
    whole = (named._BUNDLED / "shakespeare.txt.gz").read_bytes()
    (tmp_path / "shakespeare.txt.gz").write_bytes(damage(whole))
    monkeypatch.setattr(named, "_BUNDLED", tmp_path)
    monkeypatch.setattr(named, "_fetch", lambda *_: gzip.decompress(whole))
    assert not named.is_available_offline("shakespeare")
    assert named.read_dataset("shakespeare") == gzip.decompress(whole)


class TestDownload:
    """Downloading a named corpus, with local files in place of its URLs."""

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

    def test_dataset_is_downloaded_once_verified_and_cached(self, monkeypatch):
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(self.address(b"not it"), self.address(self.data)))
        seen = []
        assert named.read_dataset("shakespeare", lambda done, total: seen.append((done, total))) == self.data
        assert seen[-1] == (len(self.data), len(self.data)) and len(seen) > 2
        monkeypatch.setattr(named, "_fetch", lambda *_: pytest.fail("downloaded twice"))
        assert named.read_dataset("shakespeare") == self.data

    def test_changed_cached_file_is_downloaded_again(self, monkeypatch):
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(self.address(self.data)))
        (named.cache_folder() / "corpora").mkdir(parents=True)
        (named.cache_folder() / "corpora" / "play.txt").write_bytes(self.data[:-1] + b"!")
        assert named.read_dataset("shakespeare") == self.data

    def test_failed_downloads_are_reported_with_the_reason_per_url(self, monkeypatch):
        missing = (self.folder / "gone.txt").as_uri()
        large = self.address(self.data * 3)
        wrong = self.address(b"not it")
        monkeypatch.setattr(named, "SHAKESPEARE", self.corpus(wrong, missing, large))
        with raises_code("download_failed", CorpusError, file="play.txt") as caught:
            named.read_dataset("shakespeare")
        problems = [(failure["url"], failure["problem"]) for failure in caught.value.data["failures"]]
        assert problems == [(wrong, "checksum_mismatch"), (missing, "unreachable"), (large, "too_large")]
        data = caught.value.data
        assert data["path"] == str(named.cache_folder() / "corpora" / "play.txt")
        assert all(part in str(caught.value) for part in (wrong, data["path"], data["sha256"], "python-docs"))
        Path(data["path"]).parent.mkdir(parents=True)  # what the message says to do
        Path(data["path"]).write_bytes(self.data)
        assert named.read_dataset("shakespeare") == self.data
