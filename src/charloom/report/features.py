"""Features of a text that a neuron may follow: quotes, lines, words, capitals, brackets."""

import re
import unicodedata
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Feature = NDArray[np.float64]

_CLOSING = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", '"': '"', "'": "'"}
_OPENING_BRACKETS, _CLOSING_BRACKETS = "([{（［｛", ")]}）］｝"
_MAX_LINE, _MAX_PARAGRAPH, _MAX_WORD, _MAX_DEPTH = 80, 200, 12, 8  # no neuron counts for ever
_VOWELS = frozenset("aeiouаеёиоуыэюяαεηιουω")
_HEADING = re.compile(r"(?:\A|\n\n)([^\n:]{1,30}):\n")  # who speaks, in a play


def features(text: str) -> dict[str, Feature]:
    """Return each feature over a text of T characters, (T,): what is known once a character has been read.

    Left out are those that never change in it. Two look one character ahead, as a model does when it guesses:
    "word ends next" and "line ends next".
    """
    measured = {name: np.asarray(measure(text), np.float64) for name, measure in _MEASURES.items()}
    return {name: values for name, values in measured.items() if values.std() > 0}


def _flags(text: str, holds: Callable[[str], bool]) -> Feature:
    known = {c: float(holds(c)) for c in set(text)}
    return np.array([known[c] for c in text])


def _since(marks: Feature, maximum: int) -> Feature:
    """Return for each character how many lie after the last that is marked, 0 on it, at most so many."""
    places = np.arange(len(marks))
    last = np.maximum.accumulate(np.where(marks > 0, places, -1))
    counted: Feature = np.minimum(places - last, maximum).astype(np.float64)
    return counted


def _line_position(text: str) -> Feature:
    return _since(_flags(text, lambda c: c == "\n"), _MAX_LINE)


def _paragraph_position(text: str) -> Feature:
    newlines = _flags(text, lambda c: c == "\n")
    return _since(newlines * np.append(0.0, newlines[:-1]), _MAX_PARAGRAPH)


def _headings(text: str) -> Feature:
    """Return 1 in the words before a colon that are a paragraph's first line."""
    flags = np.zeros(len(text))
    for heading in _HEADING.finditer(text):
        flags[heading.start(1) : heading.end(1)] = 1
    return flags


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character.lower())[0] in _VOWELS


def _word_position(text: str) -> Feature:
    return _since(1 - _flags(text, str.isalpha), _MAX_WORD)


def _ahead(flags: Feature, at_end: float) -> Feature:
    return np.append(flags[1:], at_end)


def _word_ends(text: str) -> Feature:
    letters = _flags(text, str.isalpha)
    return letters * (1 - _ahead(letters, 1.0))


def _capital_run(text: str) -> Feature:
    """Return 1 for a capital that follows another."""
    capitals = _flags(text, str.isupper)
    run: Feature = capitals * np.append(0.0, capitals[:-1])
    return run


def _indentation(text: str) -> Feature:
    """Return the width of the blanks at the beginning of the line, as far as it has been read."""
    widths = np.zeros(len(text))
    for line in re.finditer(r"^([ \t]*)[^\n]*\n?", text, re.MULTILINE):
        width = len(line[1].expandtabs(8))
        widths[line.start() : line.end()] = width
        widths[line.start() : line.start() + len(line[1])] = np.arange(1, len(line[1]) + 1)
        if line[0].endswith("\n"):
            widths[line.end() - 1] = 0
    return np.minimum(widths, _MAX_LINE)


def _in_indentation(text: str) -> Feature:
    flags = np.zeros(len(text))
    for blanks in re.finditer(r"^[ \t]+", text, re.MULTILINE):
        flags[blanks.start() : blanks.end()] = 1
    return flags


def _inside_quotes(text: str) -> Feature:
    """Return 1 from behind an opening quote up to the closing one; an apostrophe between letters opens nothing.

    A quote that is left open ends with its paragraph, a single one with its line.
    """
    flags, closing = np.zeros(len(text)), ""
    for i, c in enumerate(text):
        before = text[i - 1] if i else "\n"
        if closing:
            ends_here = c == closing and before != "\\"
            left_open = c == "\n" and (before == "\n" or closing == "'")
            closing = "" if ends_here or left_open else closing
        elif c in _CLOSING and not (c == "'" and before.isalnum()):
            closing = _CLOSING[c]
        flags[i] = bool(closing)
    return flags


def _bracket_depth(text: str) -> Feature:
    """Return how many brackets are open; a paragraph's end closes all."""
    depths, depth = np.zeros(len(text)), 0
    for i, c in enumerate(text):
        if c in _OPENING_BRACKETS:
            depth += 1
        elif c in _CLOSING_BRACKETS:
            depth = max(0, depth - 1)
        elif c == "\n" and i and text[i - 1] == "\n":
            depth = 0
        depths[i] = min(depth, _MAX_DEPTH)
    return depths


def _comment(text: str) -> Feature:
    """Return 1 from a # at the beginning of a line's words to the end of that line."""
    flags = np.zeros(len(text))
    for comment in re.finditer(r"^[ \t]*#[^\n]*", text, re.MULTILINE):
        flags[comment.start() : comment.end()] = 1
    return flags


_MEASURES: dict[str, Callable[[str], Feature]] = {
    "inside quotes": _inside_quotes,
    "position in the line": _line_position,
    "position in the paragraph": _paragraph_position,
    "heading of a paragraph": _headings,
    "after a newline": lambda text: _flags(text, lambda c: c == "\n"),
    "line ends next": lambda text: _ahead(_flags(text, lambda c: c == "\n"), 0.0),
    "capitals": lambda text: _flags(text, str.isupper),
    "run of capitals": _capital_run,
    "vowels": lambda text: _flags(text, _is_vowel),
    "indentation": _indentation,
    "inside indentation": _in_indentation,
    "between words": lambda text: 1 - _flags(text, str.isalnum),
    "word ends next": _word_ends,
    "position in the word": _word_position,
    "bracket depth": _bracket_depth,
    "inside a comment": _comment,
    "numbers": lambda text: _flags(text, str.isdigit),
}
