"""Normalize newlines and Unicode forms in text that arrives in pieces."""

import unicodedata
from collections.abc import Iterable, Iterator

_JAMO = range(0x1160, 0x1200)  # Hangul vowels and final consonants: letters that join the letter before them
_ALONE = "LNPZS"  # first letters of the categories of characters that begin something; marks (M) do not
_MAX_HELD = 1 << 16  # characters held back: a longer run of combining marks is cut


def normalize_newlines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text with CR LF, and a CR alone, turned into LF."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
    if held:
        yield "\n"


def normalize_nfc(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text in Unicode normal form C, independently of how it is cut into pieces.

    Source: Unicode Standard Annex 15. A text may be cut before a character that never joins what is before it.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        cut = _last_boundary(text)
        held = text[cut:]
        if cut:
            yield unicodedata.normalize("NFC", text[:cut])
    if held:
        yield unicodedata.normalize("NFC", held)


def _last_boundary(text: str) -> int:
    for place in range(len(text) - 1, max(0, len(text) - _MAX_HELD), -1):
        if _starts_segment(text[place]):
            return place
    return max(0, len(text) - _MAX_HELD)


def _starts_segment(character: str) -> bool:
    if character.isascii():
        return True
    return unicodedata.category(character)[0] in _ALONE and ord(character) not in _JAMO
