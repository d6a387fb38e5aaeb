"""One form for what looks the same: newlines and accents, in a text that comes in pieces."""

import unicodedata
from collections.abc import Iterable, Iterator

_JAMO = range(0x1160, 0x1200)  # Hangul vowels and final consonants: letters that join the letter before them
_ALONE = "LNPZS"  # first letters of the categories of characters that begin something; marks (M) do not
_MAX_HELD = 1 << 16  # characters kept back at most: a longer run of accents is cut where it is


def with_line_feeds(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text with CR LF, and a CR alone, turned into LF."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
    if held:
        yield "\n"


def composed(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text in Unicode's normal form C, the same however it is cut into pieces.

    Source: Unicode Standard Annex 15. A text may be cut before a character that never joins what is before it.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        cut = _last_beginning(text)
        held = text[cut:]
        if cut:
            yield unicodedata.normalize("NFC", text[:cut])
    if held:
        yield unicodedata.normalize("NFC", held)


def _last_beginning(text: str) -> int:
    for place in range(len(text) - 1, max(0, len(text) - _MAX_HELD), -1):
        if _begins(text[place]):
            return place
    return max(0, len(text) - _MAX_HELD)


def _begins(character: str) -> bool:
    if character.isascii():
        return True
    return unicodedata.category(character)[0] in _ALONE and ord(character) not in _JAMO
