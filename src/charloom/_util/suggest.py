"""Suggestions for a misspelled name: "Did you mean ...?"."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def suggestions(name: str, known: Iterable[str]) -> list[str]:
    """Return a list with the known name most similar to ``name``; an empty list if none is similar."""
    return get_close_matches(name, list(known), 1)


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return " Did you mean ...?" with the most similar known name, or "" if none is similar.

    The result is appended to a sentence that reports an unknown name.

    Args:
        name: The unknown name.
        known: All known names.
        shown: Converts a known name to the form that the user types, such as "--seed" for "seed".
    """
    closest = suggestions(name, known)
    return f" Did you mean {shown(closest[0])}?" if closest else ""
