"""Suggestions for a misspelled name: "Did you mean ...?"."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def suggestions(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name that is closest to ``name``, as a list of one; an empty list if none is close."""
    return get_close_matches(name, list(known), 1)


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return " Did you mean ...?" with the closest known name, or "" if none is close.

    Meant to be appended to a sentence that reports an unknown name.

    Args:
        name: The unknown name.
        known: All known names.
        shown: Converts the closest known name to the form in which the user would write it.
    """
    closest = suggestions(name, known)
    return f" Did you mean {shown(closest[0])}?" if closest else ""
