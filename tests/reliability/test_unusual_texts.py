"""Unusual files, tiny texts and arbitrary prompts give a result or a clear error, never a traceback."""

import gzip
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.data.vocabulary.characters import Vocabulary, similar_character
from charloom.errors import CharloomError, CorpusError, SettingsError, UnknownCharacterError
from charloom.planning.recipes import RECIPES
from support.errors import raises_code
from support.reliability import counts

PROSE = "It was a dark and stormy night; the rain fell in torrents.\n" * 5

# The bytes of the file, the text format, and the resulting text or the expected error (code, data).
FILES = {
    "plain": (PROSE.encode(), {}, PROSE),
    "UTF-8 with a byte order mark": (b"\xef\xbb\xbf" + PROSE.encode(), {}, PROSE),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbfa", {}, "a"),
    "only a byte order mark": (b"\xef\xbb\xbf", {}, ("empty_corpus", {})),
    "a byte order mark inside": ("a\ufeffb".encode(), {}, "ab"),
    "UTF-16 little-endian": (b"\xff\xfe" + PROSE.encode("utf-16-le"), {"encoding": "utf-16"}, PROSE),
    "UTF-16 big-endian": (b"\xfe\xff" + PROSE.encode("utf-16-be"), {"encoding": "utf-16"}, PROSE),
    "UTF-16 read as UTF-8": (
        b"\xff\xfe" + PROSE.encode("utf-16-le"),
        {},
        ("undecodable_text", {"suggested_encoding": "utf-16"}),
    ),
    "UTF-16 cut within a character": (b"\xff\xfea\0b", {"encoding": "utf-16"}, ("incomplete_text_file", {})),
    "UTF-32": (PROSE.encode("utf-32"), {"encoding": "utf-32"}, PROSE),
    "Latin-1": (b"d\xe9j\xe0 vu", {"encoding": "latin-1"}, "déjà vu"),
    "Latin-1 read as UTF-8": (b"plain, then d\xe9j\xe0 vu" * 9, {}, ("undecodable_text", {"offset": 13, "byte": 0xE9})),
    "GB18030": ("床前明月光".encode("gb18030"), {"encoding": "gb18030"}, "床前明月光"),
    "Shift-JIS": ("いろは".encode("shift_jis"), {"encoding": "shift_jis"}, "いろは"),
    "NUL bytes": (b"a\0b", {}, ("binary_file", {})),
    "NUL bytes, as bytes": (b"a\0b", {"unit": "byte"}, "a\0b"),
    "a NUL byte late in the file": (b"a\n" * 300_000 + b"b\0", {}, ("nul_byte", {"line": 300_001})),
    "NUL bytes, omitted": (b"a\0b", {"errors": "skip"}, "ab"),
    "NUL bytes, replaced": (b"a\0b", {"errors": "replace"}, "a\ufffdb"),
    "CR LF": (b"a\r\nb\r\n", {}, "a\r\nb\r\n"),
    "CR LF, normalized": (b"a\r\nb\r\n", {"newlines": "lf"}, "a\nb\n"),
    "lone CR": (b"a\rb\r", {}, "a\rb\r"),
    "lone CR, normalized": (b"a\rb\r", {"newlines": "lf"}, "a\nb\n"),
    "line and paragraph separators": ("a\u2028b\u2029c\x85d".encode(), {}, "a\u2028b\u2029c\x85d"),
    "beyond the first plane": ("🌍🧵𝔘".encode(), {}, "🌍🧵𝔘"),
    "an emoji sequence": ("👩‍👩‍👧".encode(), {}, "👩‍👩‍👧"),
    "combining marks": (b"e\xcc\x81", {}, "e\u0301"),
    "combining marks, composed": (b"e\xcc\x81", {"normalize": "nfc"}, "é"),
    "surrogates in UTF-8": (b"a\xed\xa0\x80b", {}, ("undecodable_text", {"offset": 1})),
    "an overlong encoding": (b"a\xc0\xafb", {}, ("undecodable_text", {"offset": 1})),
    "beyond Unicode": (b"\xf4\x90\x80\x80", {}, ("undecodable_text", {"offset": 0})),
    "cut within a character": ("né".encode()[:-1], {}, ("incomplete_text_file", {"offset": 1})),
    "one long line": (b"x" * 300_000, {}, "x" * 300_000),
    "no newline at the end": (b"a\nb", {}, "a\nb"),
    "controls and escapes": (b"\x1b[2J\x07\x00"[:-1], {}, "\x1b[2J\x07"),
    "right to left": ("שלום\u202eabc".encode(), {}, "שלום\u202eabc"),
    "gzip": (gzip.compress(PROSE.encode()), {}, PROSE),
    "gzip of binary data": (gzip.compress(b"\0\1\2"), {}, ("binary_file", {})),
    "gzip, truncated": (gzip.compress(PROSE.encode())[:-9], {}, ("damaged_compressed_file", {"compression": "gzip"})),
    "a file that claims to be gzip": (b"\x1f\x8bnot at all", {}, ("damaged_compressed_file", {})),
    "empty": (b"", {}, ("empty_corpus", {})),
    "only line feeds, as lines": (b"\n\n\n", {"lines": True}, "\n\n\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_unusual_files_are_read_or_rejected(tmp_path, name, report_trials):
    data, values, expected = FILES[name]
    (tmp_path / "strange.txt").write_bytes(data)
    if isinstance(expected, tuple):
        code, data = expected
        with raises_code(code, CorpusError, **data):
            Corpus.read(tmp_path / "strange.txt", text_format=TextFormat(**values))
    else:
        corpus = Corpus.read(tmp_path / "strange.txt", text_format=TextFormat(**values))
        assert corpus.text == expected
        ids = corpus.vocabulary.encode(corpus.text)
        assert corpus.vocabulary.decode(ids) == expected
    report_trials(
        "unusual_texts",
        "unusual files: byte order marks, encodings, line ends, truncated characters, compressed files",
        1,
        "read correctly, or refused with a reason",
        added=True,
    )


def test_unknown_characters_are_reported_with_similar_known_ones():
    known = Vocabulary("abceABE'\"- .\n")
    with raises_code("unknown_character", UnknownCharacterError, known_in_nfc=False) as caught:
        known.encode("é\u2019\u201d\u2014\u00a0Cß")
    suggestions = [(c["position"], c["character"], c["suggestion"]) for c in caught.value.data["characters"]]
    assert suggestions == [
        (0, "é", "e"),
        (1, "\u2019", "'"),
        (2, "\u201d", '"'),
        (3, "\u2014", "-"),
        (4, "\u00a0", " "),
        (5, "C", "c"),
        (6, "ß", None),
    ]
    message = str(caught.value)
    assert "LATIN SMALL LETTER SHARP S" in message and "HYPHEN-MINUS" in message
    assert similar_character("é", set("e")) == "e" and similar_character("ß", set("abc")) is None
    assert similar_character("\t", set(" ")) == " " and similar_character("Ａ", set("A")) == "A"
    pairs = [
        ("'", "\u2019"),
        ("\u2019", "\u2018"),
        ('"', "\u201c"),
        ("\u201e", "\u201d"),
        ("-", "\u2014"),
        ("\u2013", "\u2014"),
    ]
    assert [similar_character(unknown, set("a" + known)) for unknown, known in pairs] == [known for _, known in pairs]
    assert similar_character("'", set("`\u2019")) == "\u2019"  # the most usual one
    assert similar_character("\u2026", set(".")) == "..." and similar_character("\u2026", set("a")) is None
    with raises_code("unknown_character", UnknownCharacterError, known_in_nfc=True):
        Vocabulary("é").encode("e\u0301")


@counts(300, 10_000)
def test_arbitrary_prompts_are_continued_or_rejected(run, report_trials, count):
    """Prompts of any Unicode characters, and of known ones: continued, or rejected with the unknown characters."""
    import charloom

    model = charloom.load(run)
    some, refused = st.text(max_size=30), [0]

    @settings(max_examples=count, deadline=None, database=None)
    @given(some | st.text(st.sampled_from(model.vocabulary.characters), max_size=30))
    def check(prompt):
        try:
            assert model.generate(prompt, length=3, seed=0).startswith(prompt)
        except UnknownCharacterError as error:
            refused[0] += 1
            assert error.code in ("unknown_character", "lone_surrogate")
        for unknown in ("skip", "replace"):
            assert model.generate(prompt, length=2, seed=0, unknown=unknown).startswith(prompt)

    check()
    report_trials(
        "unusual_texts",
        "prompts of arbitrary characters",
        count,
        f"continued, or refused with the unknown character named ({refused[0]:,})",
    )


def test_unusual_prompts_on_the_command_line(cli, run):
    for prompt in ("", "\x1b[31m", "é" * 3000, "\U0010ffff", "日本", "-", "--", "\n\n", "a\tb"):
        done = cli("generate", run, "-n", 5, "--seed", 1, f"--prompt={prompt}")
        assert done.code in (0, 2) and "Traceback" not in done.err


_TINY = [
    (text, recipe, values)
    for text in ("", "a", "ab", "a" * 32, "ab" * 17, "abcab" * 10, "a" * 400)
    for recipe in ("auto", "tutorial-gru")
    for values in ({}, {"val_fraction": 0.0})
]
_TINY += [("a\nb\n", "auto", {"batching": "lines"}), ("x" * 101, "tutorial-gru", {"batch_size": 1})]
_TINY += [("x" * 100, "tutorial-gru", {"batch_size": 1}), ("hello " * 500, "auto", {"val_fraction": 0.0001})]


_TOO_SHORT = ("held_out_text_too_short", "text_shorter_than_window", "text_shorter_than_batch")


@pytest.mark.parametrize(("text", "recipe", "values"), _TINY)
def test_tiny_texts_are_trained_on_or_rejected_quickly(tmp_path, text, recipe, values, report_trials):
    """Training succeeds, or an error tells within a second what to change, and no run folder remains."""
    from charloom.training.run import run_training

    began = time.perf_counter()
    try:
        lines = values.get("batching") == "lines"
        corpus = Corpus(text, text_format=TextFormat(lines=lines))
        chosen = RECIPES[recipe].with_values({"hidden_size": 8, "steps": 2, **values})
        records = list(run_training(corpus, chosen, str(tmp_path / "run")))
        assert 1 <= records[-1].steps <= 2 and np.isfinite(records[-1].train_loss)
    except CharloomError as error:
        assert isinstance(error, (CorpusError, SettingsError)) and time.perf_counter() - began < 1
        assert error.code in _TOO_SHORT or not text, error.to_dict()
        assert not (tmp_path / "run").exists()
    report_trials(
        "corpus_sizes",
        "tiny texts, from empty to a few characters",
        1,
        "trained, or refused with the required length",
        added=True,
    )


def test_control_characters_are_escaped_on_a_terminal(cli, tmp_path):
    """On a terminal, control characters are shown as escapes; in a pipe, the text is unchanged."""
    Path("hostile.txt").write_text("\x1b]0;gone\x07 \u202e evil\rgood\n" * 30)
    assert "\x1b]0;gone\x07" in cli("corpus", "hostile.txt").out
    pexpect = pytest.importorskip("pexpect")
    child = pexpect.spawn(sys.executable, ["-m", "charloom", "corpus", "hostile.txt"], encoding="utf-8", timeout=60)
    child.expect(pexpect.EOF)
    assert "\x1b]0" not in child.before and "\\x1b]0;gone\\x07" in child.before and "\u202e" not in child.before


def test_pipe_that_delivers_single_bytes_is_read(tmp_path):
    packed = gzip.compress(PROSE.encode())
    code = f"import os; [os.write(1, bytes([b])) for b in {packed!r}]"
    read = "from charloom.data.corpus import Corpus; print(Corpus.read('-').sha256)"
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    done = subprocess.run([sys.executable, "-c", read], stdin=writer.stdout, capture_output=True, text=True, check=True)
    writer.stdout.close()
    assert writer.wait() == 0
    assert done.stdout.strip() == Corpus(PROSE).sha256
