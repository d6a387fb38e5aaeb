"""Indexes of texts in memory and on disk: cached, reused, resumed after a crash, and never stale."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.corpus import Corpus
from charloom.data.index import cache
from charloom.data.index.index import CodesFile, IndexBuilder, MappedIds
from charloom.data.text_format import TextFormat
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError
from support.errors import codes, raises_code
from support.reliability import counts


@pytest.fixture(autouse=True)
def disk_cache(tmp_path, monkeypatch):
    """Keep indexes of more than 1,000 characters on disk, in a separate cache folder."""
    monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 1000)
    return tmp_path


def write(path, text):
    path.write_text(text, newline="")
    return path


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_index_reproduces_the_text(text, cuts):
    builder = IndexBuilder()
    edges = [0, *sorted(p % (len(text) + 1) for p in cuts), len(text)]
    for a, b in pairwise(edges):
        builder.add(text[a:b])
    index = builder.build()
    assert index.symbols(0, len(index)) == text
    assert index.sha256 == hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if text:
        vocabulary = Vocabulary.from_text(text)
        assert np.array_equal(index.ids(vocabulary), vocabulary.encode(text))


@pytest.mark.parametrize(("characters", "width"), [(253, 1), (254, 1), (255, 2), (70_000, 4)])
def test_code_width_depends_on_the_number_of_characters(disk_cache, characters, width):
    usable = (c for c in range(32, 32 + characters + 3000) if not 0xD800 <= c < 0xE000 and c != 0xFEFF)
    alphabet = "".join(map(chr, usable))[:characters]  # reading removes U+FEFF
    path = write(disk_cache / "book.txt", "ab\n" * 2000 + alphabet)  # the line feed is one more distinct character
    corpus = Corpus.read(path)
    assert isinstance(corpus.index.codes, np.memmap) and corpus.index.codes.itemsize == width
    assert corpus.text == "ab\n" * 2000 + alphabet
    ids = corpus.parts(0.0).training.ids(corpus.vocabulary)
    assert isinstance(ids, MappedIds)
    expected, positions = corpus.vocabulary.encode(corpus.text), np.array([[5, 0], [6001, 2]])
    assert np.array_equal(ids[:], expected) and np.array_equal(ids[positions], expected[positions])


def test_index_is_cached_and_reused(disk_cache, monkeypatch):
    path = write(disk_cache / "book.txt", "some words\n" * 500)
    first = Corpus.read(path)
    notice = first.notices[-1]
    assert notice.code == "index_cached" and notice.data["bytes"] == 5500
    monkeypatch.setattr(cache, "text_pieces", lambda *_, **__: pytest.fail("the text was indexed twice"))
    again = Corpus.read(path)
    assert again.text == first.text and again.sha256 == first.sha256 and again.notices == ()
    elsewhere = write(disk_cache / "copy.txt", "some words\n" * 500)
    assert Corpus.read(elsewhere).text == first.text  # indexes are looked up by content, not by path


def test_cached_index_keeps_the_notices_with_their_codes(disk_cache):
    path = disk_cache / "book.txt"
    path.write_bytes("\ufeff".encode() + b"some words\n" * 500)
    first, second = Corpus.read(path), Corpus.read(path)
    assert codes(first.notices) == ["byte_order_mark_removed", "index_cached"]
    (notice,) = second.notices
    assert (notice, notice.code, notice.data) == (first.notices[0], first.notices[0].code, {"path": str(path)})


def test_changed_text_is_indexed_again(disk_cache):
    path = write(disk_cache / "book.txt", "some words\n" * 500)
    before = path.stat()
    Corpus.read(path)
    write(path, "more words\n" * 500)  # same size and same modification time
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Corpus.read(path).text == "more words\n" * 500
    assert Corpus.read(path, text_format=TextFormat(newlines="lf")).format.newlines == "lf"
    write(path, "some words\r\n" * 500)
    assert Corpus.read(path, text_format=TextFormat(newlines="lf")).text == "some words\n" * 500
    assert Corpus.read(path).text == "some words\r\n" * 500


@pytest.mark.parametrize("damage", ["codes truncated", "codes missing", "metadata changed", "metadata missing"])
def test_damaged_index_is_rebuilt(disk_cache, damage):
    path = write(disk_cache / "book.txt", "some words\n" * 500)
    Corpus.read(path)
    (folder,) = (f for f in cache.texts_folder().iterdir() if f.is_dir())
    if damage == "codes truncated":
        (folder / "codes1.bin").write_bytes((folder / "codes1.bin").read_bytes()[:-1])
    elif damage == "codes missing":
        (folder / "codes1.bin").unlink()
    elif damage == "metadata changed":
        (folder / "index.json").write_bytes((folder / "index.json").read_bytes().replace(b"5500", b"5501"))
    else:
        (folder / "index.json").unlink()
    assert Corpus.read(path).text == "some words\n" * 500


def test_long_standard_input_is_indexed_on_disk(disk_cache, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some words\n" * 500)))
    corpus = Corpus.read("-")
    assert corpus.text == "some words\n" * 500 and isinstance(corpus.index.codes, np.memmap)
    assert not list(cache.texts_folder().glob("part-stdin-*/"))


def test_full_disk_is_reported(disk_cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CodesFile, "write", full)
    with raises_code("cache_not_writable", CorpusError, reason="No space left on device") as caught:
        Corpus.read(write(disk_cache / "book.txt", "some words\n" * 500))
    assert "CHARLOOM_CACHE" in str(caught.value)
    monkeypatch.undo()


def test_too_little_free_space_is_reported(disk_cache, monkeypatch):
    monkeypatch.setattr(cache, "_CHECKPOINT_INTERVAL", 2000)
    monkeypatch.setattr("charloom.data.reading.reader._CHUNK", 700)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with raises_code("disk_full", CorpusError, free_bytes=0):
        Corpus.read(write(disk_cache / "book.txt", "some words\n" * 5000))


def test_unusable_cache_folder_is_reported(disk_cache, monkeypatch):
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 1000)
    (disk_cache / "file").write_text("")
    monkeypatch.setenv("CHARLOOM_CACHE", str(disk_cache / "file"))
    with raises_code("cache_not_writable", CorpusError, path=str(disk_cache / "file" / "texts")):
        Corpus.read(write(disk_cache / "book.txt", "some words\n" * 500))


_DRIVER = """
import sys
from charloom.data.index import cache
cache.MAX_IN_MEMORY, cache._CHECKPOINT_INTERVAL = 1 << 16, 1 << 20
from charloom.data.corpus import Corpus
print("ready", flush=True)
corpus = Corpus.read(sys.argv[1])
print(corpus.sha256, len(corpus))
"""


@counts(3, 20)
def test_killed_indexing_is_resumed(disk_cache, report_trials, count):
    text = "".join(f"line {i} of a long text, with a word now and then: ñ\n" for i in range(600_000))
    path = write(disk_cache / "book.txt", text)
    expected = hashlib.sha256(text.encode()).hexdigest()
    rng, resumed, killed = np.random.default_rng(0), 0, 0
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _DRIVER, str(path)], check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - began
    _forget_texts()
    while killed < count:
        process = subprocess.Popen([sys.executable, "-c", _DRIVER, str(path)], stdout=subprocess.PIPE)
        with process:
            process.stdout.readline()
            if killed == 0:  # kill at least once after a checkpoint
                while not any(cache.texts_folder().glob("part-*/index.json")) and process.poll() is None:
                    time.sleep(0.001)
            else:
                time.sleep(rng.uniform(0, whole))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:  # indexing finished before the kill
            _forget_texts()
            continue
        killed += 1
        resumed += any(cache.texts_folder().glob("part-*/index.json"))
    done = subprocess.run([sys.executable, "-c", _DRIVER, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ready", expected, str(len(text))]
    corpus = Corpus.read(path)
    assert corpus.text == text and not list(cache.texts_folder().glob("part-*/"))
    assert resumed, "no kill left an unfinished index"
    result = f"the same index; {resumed} times indexing resumed from a partial index"
    report_trials("corpus_sizes", "SIGKILL while a text is indexed", count, result)


def _forget_texts():
    for folder in cache.texts_folder().iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()


def test_unfinished_index_of_a_changed_text_is_not_resumed(disk_cache, monkeypatch):
    path = write(disk_cache / "book.txt", "some words\n" * 5000)
    monkeypatch.setattr(cache, "_CHECKPOINT_INTERVAL", 2000)
    monkeypatch.setattr(cache, "BLOCK", 500)
    monkeypatch.setattr(cache, "_publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    import charloom.data.reading.reader

    monkeypatch.setattr(charloom.data.reading.reader, "_CHUNK", 700)
    with pytest.raises(KeyboardInterrupt):
        Corpus.read(path)
    assert list(cache.texts_folder().glob("part-*/index.json"))
    monkeypatch.undo()
    monkeypatch.setenv("CHARLOOM_CACHE", str(disk_cache / "cache"))
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 1000)
    monkeypatch.setattr(charloom.data.reading.reader, "_CHUNK", 700)
    write(path, "more words\n" * 5000)
    assert Corpus.read(path).text == "more words\n" * 5000


@pytest.mark.parametrize("where", ["while widening", "before the checkpoint", "after the checkpoint", "codes missing"])
def test_killed_widening_of_codes_is_resumed(disk_cache, monkeypatch, where):
    text = "some words\n" * 3000 + "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 20
    path = write(disk_cache / "book.txt", text)
    monkeypatch.setattr(cache, "_CHECKPOINT_INTERVAL", 2000)
    monkeypatch.setattr("charloom.data.reading.reader._CHUNK", 700)
    widen, duplicate = CodesFile._widen, CodesFile.duplicate

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "while widening":
            patched.setattr(CodesFile, "_widen", lambda self, dtype: stop(widen(self, dtype)))
        elif where == "before the checkpoint":
            patched.setattr(CodesFile, "duplicate", lambda self: stop() if self.itemsize == 2 else duplicate(self))
        else:
            patched.setattr(cache, "_publish", stop)
        with pytest.raises(KeyboardInterrupt):
            Corpus.read(path)
    (part,) = cache.texts_folder().glob("part-*/")
    assert (part / "index.json").exists()
    if where == "codes missing":
        for codes in part.glob("codes*"):
            codes.unlink()
    corpus = Corpus.read(path)
    assert corpus.text == text and corpus.index.codes.itemsize == 2
    (folder,) = (f for f in cache.texts_folder().iterdir() if f.is_dir())
    assert {f.name for f in folder.iterdir()} == {"codes2.bin", "index.json"}


def test_training_from_a_disk_index_gives_the_same_model(disk_cache, monkeypatch):
    import charloom

    text = "the cat sat on the mat, and the dog on the log.\n" * 60
    path = write(disk_cache / "book.txt", text)
    sizes = {"hidden_size": 16, "embedding_size": 8, "steps": 30, "num_layers": 1}
    for recipe in ("auto", "tutorial-gru"):
        settings = sizes | ({"seq_length": 20, "batch_size": 4} if recipe == "tutorial-gru" else {})
        on_disk = charloom.train(path, recipe=recipe, run=disk_cache / f"disk-{recipe}", progress=False, **settings)
        in_memory = charloom.train(
            Corpus(text, "book"), recipe=recipe, run=disk_cache / f"memory-{recipe}", progress=False, **settings
        )
        assert all(np.array_equal(on_disk.saved.weights[k], v) for k, v in in_memory.saved.weights.items())
        assert on_disk.facts["val_loss"] == in_memory.facts["val_loss"]
