"""The character one knows that is nearest to one that is unknown: a plain quote for a curly one, e for é."""

import unicodedata
from collections.abc import Container

_QUOTES = {"\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'", "\u00b4": "'", "`": "'"}
_LIKE = {"Pd": "-", "Zs": " ", "Zl": "\n", "Zp": "\n", "Pi": '"', "Pf": '"'}  # by category


def near_character(character: str, known: Container[str]) -> str | None:
    """Return a character that is known and looks or means much the same; None if there is none.

    Args:
        character: One that is not known.
        known: Those that are.
    """
    return next((c for c in _candidates(character) if c != character and c in known), None)


def _candidates(character: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", character)[:1]
    found = [
        _QUOTES.get(character, ""),
        _LIKE.get(unicodedata.category(character), ""),
        unicodedata.normalize("NFKC", character),
        character.swapcase(),
        plain,
        plain.swapcase(),
        "\n" if character == "\r" else "",
        " " if character == "\t" else "",
        '"' if character in "\u201e\u2033" else "",
    ]
    return [c for c in found if len(c) == 1]
