"""The escapes of the options that take text, and stop sequences that can never occur."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError
from charloom.inference.generation import impossible_stops
from charloom.inference.generation_options import Ending
from charloom.terminal.messages import unescape
from support.errors import codes, raises_code


@pytest.mark.parametrize(("typed", "text"), [
    (r"\n\r\t", "\n\r\t"),
    (r"\r\n\r\n", "\r\n\r\n"),
    (r"\\newline", r"\newline"),
    (r"\\noindent\\textbf", r"\noindent\textbf"),
    (r"\\\n", "\\\n"),
    (r"\\\\n", r"\\n"),
    (r"\q\usepackage\U0001", r"\q\usepackage\U0001"),
    (r"\u00e9f\u000A", "éf\n"),
    (r"\ud83d\ude00", "😀"),
    (r"\\u12", r"\u12"),
    ("a\\", "a\\"),
    ("\udc80", "\udc80"),  # an undecodable byte of the command line
    ("", ""),
])  # fmt: skip
def test_escapes_are_replaced_and_other_backslashes_kept(typed, text):
    assert unescape(typed) == text


@pytest.mark.parametrize("typed", [r"\u1", r"\u12", r"x\u123g", r"\ud83d", r"\ude00\ud83d", r"\ud83d \ude00"])
def test_incomplete_escapes_are_refused(typed):
    with raises_code("invalid_escape", InputError, text=typed):
        unescape(typed)


@given(st.text())
def test_every_text_can_be_typed(text):
    assert unescape(text.replace("\\", "\\\\")) == text
    code_units = text.encode("utf-16-be", "surrogatepass").hex()
    if text and text.isprintable():
        assert unescape("".join(f"\\u{code_units[i : i + 4]}" for i in range(0, len(code_units), 4))) == text


@pytest.mark.parametrize(("stop", "characters", "unknown", "suggestion"), [
    ("\n\n", "\n\r ab", [], "\r\n\r\n"),
    ("a\n", "\n\r ab", [], "a\r\n"),
    ("\r\n\r\n", "\n ab", ["\r"], "\n\n"),
    ("\n\n", "\r ab", ["\n"], "\r\r"),
    ("\\r\\n", "\n\r nra", ["\\"], None),
    ("ax", "\n ab", ["x"], None),
])  # fmt: skip
def test_stop_sequences_that_never_occur_are_reported(stop, characters, unknown, suggestion):
    (notice,) = impossible_stops(Ending((stop, "a")), Vocabulary(characters))
    assert notice.code == "stop_never_occurs"
    assert notice.data == {"stop": stop, "characters": unknown, "suggestion": suggestion}


@pytest.mark.parametrize(("stop", "vocabulary", "rules"), [
    ("\n", Vocabulary("\n\rab"), TextRules()),
    ("\r\n\r\n", Vocabulary("\n\rab"), TextRules()),
    ("\r\n", Vocabulary("\nab"), TextRules(newlines="lf")),  # read as the training text was
    ("e\u0301", Vocabulary("é"), TextRules(normalize="nfc")),
    ("☃\n\n", ByteVocabulary(), TextRules()),
])  # fmt: skip
def test_stop_sequences_that_can_occur_are_not_reported(stop, vocabulary, rules):
    assert codes(impossible_stops(Ending((stop,)), vocabulary, rules)) == []
