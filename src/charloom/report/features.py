"""Features of a text that neurons may follow: quotes, lines, words, capitals, brackets.

Each feature is an array (T,) with one value per character of the text.
"""

import re
import unicodedata
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Feature = NDArray[np.float64]

_CLOSING = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", '"': '"', "'": "'"}
_OPENING_BRACKETS, _CLOSING_BRACKETS = "([{（［｛", ")]}）］｝"
_MAX_LINE, _MAX_PARAGRAPH, _MAX_WORD, _MAX_DEPTH = 80, 200, 12, 8  # caps of counts: neurons saturate
_VOWELS = frozenset("aeiouаеёиоуыэюяαεηιουω")
_HEADING = re.compile(r"(?:\A|\n\n)([^\n:]{1,30}):\n")  # a speaker in a play


def features(text: str) -> dict[str, Feature]:
    """Compute all features of a text of T characters, each (T,), without those that are constant in it.

    Two features look one character ahead, because the model predicts it: "word ends next" and "line ends next".
    """
    computed = {name: np.asarray(compute(text), np.float64) for name, compute in _FEATURES.items()}
    return {name: values for name, values in computed.items() if values.std() > 0}


def _flags(text: str, condition: Callable[[str], bool]) -> Feature:
    """Return 1 for each character that satisfies the condition, else 0."""
    values = {c: float(condition(c)) for c in set(text)}
    return np.array([values[c] for c in text])


def _since(marks: Feature, maximum: int) -> Feature:
    """Return the distance of each character to the last marked one, 0 on a mark, capped at ``maximum``."""
    positions = np.arange(len(marks))
    last = np.maximum.accumulate(np.where(marks > 0, positions, -1))
    distance: Feature = np.minimum(positions - last, maximum).astype(np.float64)
    return distance


def _line_position(text: str) -> Feature:
    return _since(_flags(text, lambda c: c == "\n"), _MAX_LINE)


def _paragraph_position(text: str) -> Feature:
    newlines = _flags(text, lambda c: c == "\n")
    return _since(newlines * np.append(0.0, newlines[:-1]), _MAX_PARAGRAPH)


def _headings(text: str) -> Feature:
    """Return 1 inside a heading: the first line of a paragraph if it ends with a colon, without the colon."""
    flags = np.zeros(len(text))
    for heading in _HEADING.finditer(text):
        flags[heading.start(1) : heading.end(1)] = 1
    return flags


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character.lower())[0] in _VOWELS


def _word_position(text: str) -> Feature:
    return _since(1 - _flags(text, str.isalpha), _MAX_WORD)


def _ahead(flags: Feature, at_end: float) -> Feature:
    """Return the flags of the next characters; ``at_end`` follows the last one."""
    return np.append(flags[1:], at_end)


def _word_ends(text: str) -> Feature:
    letters = _flags(text, str.isalpha)
    return letters * (1 - _ahead(letters, 1.0))


def _capital_run(text: str) -> Feature:
    """Return 1 for each capital letter that follows a capital letter, 0 for all other characters."""
    capitals = _flags(text, str.isupper)
    run: Feature = capitals * np.append(0.0, capitals[:-1])
    return run


def _indentation(text: str) -> Feature:
    """Return the width of the line's leading whitespace up to the current character, capped at ``_MAX_LINE``."""
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
    """Return 1 from an opening quotation mark up to the character before the closing one.

    An apostrophe inside a word opens no quotation. An unclosed quotation ends with its paragraph; one in single quotes
    ends with its line.
    """
    flags, closing = np.zeros(len(text)), ""
    for i, c in enumerate(text):
        previous = text[i - 1] if i else "\n"
        if closing:
            is_closed = c == closing and previous != "\\"
            is_unclosed = c == "\n" and (previous == "\n" or closing == "'")
            closing = "" if is_closed or is_unclosed else closing
        elif c in _CLOSING and not (c == "'" and previous.isalnum()):
            closing = _CLOSING[c]
        flags[i] = bool(closing)
    return flags


def _bracket_depth(text: str) -> Feature:
    """Return the number of open brackets, capped at ``_MAX_DEPTH``; the end of a paragraph closes all."""
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
    """Return 1 inside a line comment: from a # that starts a line, possibly indented, to the end of the line."""
    flags = np.zeros(len(text))
    for comment in re.finditer(r"^[ \t]*#[^\n]*", text, re.MULTILINE):
        flags[comment.start() : comment.end()] = 1
    return flags


_FEATURES: dict[str, Callable[[str], Feature]] = {
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
