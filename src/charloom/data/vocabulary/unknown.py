"""Characters of a text that a vocabulary lacks: find them in a stream, report them, and replace or skip them."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from charloom.data.vocabulary.characters import Vocabulary, describe, preview, replacement_character, similar_character
from charloom.errors import Notice, UnknownCharacterError

UNKNOWN = ("error", "skip", "replace")
"""Treatments of unknown characters."""

_HANDLING = {"skip": "are skipped", "replace": "are replaced", "mark": "leave their line or record without a score"}
_MAX_LISTED = 8  # maximum number of unknown characters listed in an error


@dataclass
class Position:
    """Position in a text that is read in pieces, possibly from several files.

    Attributes:
        path: Name of the current file; "" if the text does not come from a file.
        offset: Number of characters read from the text, of all files.
        line: Number of the current line in the current file, from 1.
        column: Number of characters before the current position on its line.
    """

    path: str = ""
    offset: int = 0
    line: int = 1
    column: int = 0

    def start_file(self, path: str) -> None:
        """Continue at the start of another file."""
        self.path, self.line, self.column = path, 1, 0

    def advance(self, text: str) -> None:
        """Move past a piece of the text."""
        feeds = text.count("\n")
        self.offset += len(text)
        self.line += feeds
        self.column = len(text) - text.rfind("\n") - 1 if feeds else self.column + len(text)


@dataclass
class UnknownCharacters:
    """Collects the unknown characters of a text that arrives in pieces.

    Attributes:
        vocabulary: The vocabulary.
        noun: What the text is in the error message: "text", "prompt" or the name of a request field.
        has_lines: Whether the lines of the text are those of its file. They are not for records, whose separators and
            surrounding blank lines are removed while reading; line and column are then None.
        position: The position after the pieces so far; ``start_file`` may be called between two pieces.
        count: Number of occurrences of unknown characters.
        first: For each unknown character, a dictionary with its first position, line, column and path.
    """

    vocabulary: Vocabulary
    noun: str = "text"
    has_lines: bool = True
    position: Position = field(default_factory=Position)
    count: int = 0
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known_in: dict[Literal["NFC", "NFD"], bool] = field(default_factory=lambda: {"NFC": True, "NFD": True})

    def add(self, text: str) -> str:
        """Add the next piece and return its distinct unknown characters."""
        unknown = self.vocabulary.unknown(text)
        for character in unknown:
            self.count += text.count(character)
            if character not in self.first:
                before = text[: text.index(character)]
                here = Position(**vars(self.position))
                here.advance(before)
                self.first[character] = {
                    "position": here.offset,
                    "line": here.line if self.has_lines else None,
                    "column": here.column + 1 if self.has_lines else None,
                    "path": here.path or None,
                }
        if unknown:
            for form, known in self._known_in.items():
                self._known_in[form] = known and not self.vocabulary.unknown(unicodedata.normalize(form, text))
        self.position.advance(text)
        return unknown

    def notice(self, treatment: str) -> Notice:
        """Return a notice with the number of unknown characters and the first one; there must be one.

        Args:
            treatment: What happened to them: "skip", "replace", or "mark" for lines and records without a score.
        """
        first, place = next(iter(self.first.items()))
        where = (
            f"{place['path']}, line {place['line']:,}"
            if place["line"] and place["path"]
            else f"position {place['position']:,}"
        )
        return Notice(
            f"{self.count:,} characters that the model does not know {_HANDLING[treatment]}; the first is "
            f"{describe(first)} ({where}).",
            code="unknown_characters",
            count=self.count,
            unknown=treatment,
            **place,
        )

    def error(self, advice: str = "") -> UnknownCharacterError:
        """Return the error that lists the unknown characters, their first positions and similar known ones.

        Args:
            advice: What else the user can do, as a sentence with a space after it.
        """
        listed, lines = [], []
        for character, place in list(self.first.items())[:_MAX_LISTED]:
            similar = similar_character(character, self.vocabulary)
            where = f"first at position {place['position']} (counted from 0)"
            if not self.has_lines:
                where += f" of the records in {place['path']}" if place["path"] else " of the records"
            elif place["path"]:
                where += f", {place['path']}, line {place['line']:,}, column {place['column']:,}"
            elif self.position.line > 1:
                where += f", line {place['line']:,}, column {place['column']:,}"
            meant = describe(similar) if similar and len(similar) == 1 else repr(similar)
            lines.append(f"  {describe(character)}, {where}{f'; did you mean {meant}?' if similar else ''}")
            listed.append(
                {
                    "character": character,
                    "code_point": f"U+{ord(character):04X}",
                    "name": unicodedata.name(character, None),
                    "suggestion": similar,
                    **place,
                }
            )
        if len(self.first) > _MAX_LISTED:
            lines.append(f"  and {len(self.first) - _MAX_LISTED} more")
        form = next((form for form, known in self._known_in.items() if known), None)
        hint = f"Unicode normalization ({form}) of the {self.noun} makes all of them known. " if form else ""
        size = len(self.vocabulary)
        return UnknownCharacterError(
            f"The {self.noun} contains {_count(len(self.first), 'character')} that the model does not know "
            f"({self.count:,} of the {self.noun}'s {self.position.offset:,} characters):\n"
            + "\n".join(lines)
            + f"\nThe model's vocabulary has {_count(size, 'character')}: {preview(self.vocabulary.characters)}. "
            f"{hint}{advice}Remove the unknown characters, or train on a text that contains them.",
            code="unknown_character",
            count=len(self.first),
            occurrences=self.count,
            total=self.position.offset,
            characters=listed,
            vocabulary_size=size,
            known_in_nfc=self._known_in["NFC"],
            known_in_nfd=self._known_in["NFD"],
        )


def known_pieces(
    pieces: Iterable[str], found: UnknownCharacters, unknown: str = "error", advice: str = ""
) -> Iterator[str]:
    """Yield a text without unknown characters, in pieces.

    Args:
        pieces: The text.
        found: Collects the unknown characters.
        unknown: "error" reads the text to its end and raises an error that counts them; "skip" omits them; "replace"
            converts each piece as ``replace_unknown`` does.
        advice: See ``UnknownCharacters.error``.

    Raises:
        UnknownCharacterError: If ``unknown`` is "error" and the text contains one.
    """
    for piece in pieces:
        if not found.add(piece):
            if not found.first or unknown != "error":
                yield piece
        elif unknown != "error":
            yield replace_unknown(found.vocabulary, piece, unknown)
    if found.first and unknown == "error":
        raise found.error(advice)


def check_known(vocabulary: Vocabulary, text: str, noun: str, advice: str = "") -> None:
    """Raise ``UnknownCharacterError`` if a text contains an unknown character.

    Args:
        vocabulary: The vocabulary.
        text: The text.
        noun: See ``UnknownCharacters``.
        advice: See ``UnknownCharacters.error``.
    """
    found = UnknownCharacters(vocabulary, noun)
    if found.add(text):
        raise found.error(advice)


def replace_unknown(vocabulary: Vocabulary, text: str, unknown: str) -> str:
    """Return a text without unknown characters.

    The text is first converted to Unicode normalization form C or D if fewer characters are unknown then.

    Args:
        vocabulary: The vocabulary.
        text: The text.
        unknown: "skip" to omit unknown characters, or "replace" to replace them by ``replacement_character``.
    """
    text = best_form(vocabulary, text)
    replacement = replacement_character(vocabulary) if unknown == "replace" else ""
    return text.translate({ord(c): replacement for c in vocabulary.unknown(text)})


def best_form(vocabulary: Vocabulary, text: str) -> str:
    """Return the text, or its normalization form C or D if that has fewer unknown characters."""
    if not vocabulary.unknown(text):
        return text
    forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
    return min(forms, key=lambda form: sum(map(form.count, vocabulary.unknown(form))))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
