"""Suggest the nearest known name for one that is unknown: "Did you mean ...?"."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return " Did you mean ...?", to be put behind a sentence about a name that is not known; "" if none is near.

    Args:
        name: What was given.
        known: Names that there are.
        shown: From the nearest of them to how it is written there.
    """
    near = get_close_matches(name, list(known), 1)
    return f" Did you mean {shown(near[0])}?" if near else ""
