"""What is known and nearest to what is not: a plain quote for a curly one, e for é, a name for a mistyped one."""

import unicodedata
from collections.abc import Callable, Container, Iterable
from difflib import get_close_matches

_QUOTES = {"\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'", "\u00b4": "'", "`": "'"}
_LIKE = {"Pd": "-", "Zs": " ", "Zl": "\n", "Zp": "\n", "Pi": '"', "Pf": '"'}  # by category


def near_character(character: str, known: Container[str]) -> str | None:
    """Return a character that is known and looks or means much the same; None if there is none.

    Args:
        character: One that is not known.
        known: Those that are.
    """
    return next((c for c in _candidates(character) if c != character and c in known), None)


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return " Did you mean ...?", to be put behind a sentence about a name that is not known; "" if none is near.

    Args:
        name: What was given.
        known: Names that there are.
        shown: From the nearest of them to how it is written there.
    """
    near = get_close_matches(name, list(known), 1)
    return f" Did you mean {shown(near[0])}?" if near else ""


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
