"""Normalize newlines and Unicode characters in text that arrives in pieces."""

import unicodedata
from collections.abc import Iterable, Iterator

_JAMO = range(0x1160, 0x1200)  # Hangul vowels and final consonants, which combine with the preceding letter
_STARTERS = "LNPZS"  # first letters of Unicode categories that never combine with the preceding character, unlike M
_MAX_HELD = 1 << 16  # maximum number of characters held back; a longer run of combining marks is split


def normalize_newlines(pieces: Iterable[str]) -> Iterator[str]:
    """Convert CR LF and lone CR to LF in a text that arrives in pieces."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
    if held:
        yield "\n"


def normalize_nfc(pieces: Iterable[str]) -> Iterator[str]:
    """Convert a text that arrives in pieces to Unicode normalization form C.

    The result does not depend on the piece boundaries: text is held back from the last character that cannot combine
    with its predecessor. Source: Unicode Standard Annex 15.
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
    for position in range(len(text) - 1, max(0, len(text) - _MAX_HELD), -1):
        if _starts_segment(text[position]):
            return position
    return max(0, len(text) - _MAX_HELD)


def _starts_segment(character: str) -> bool:
    if character.isascii():
        return True
    return unicodedata.category(character)[0] in _STARTERS and ord(character) not in _JAMO
