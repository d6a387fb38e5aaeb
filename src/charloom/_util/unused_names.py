"""Pick an unused name by appending -2, -3, ..."""

from collections.abc import Callable
from itertools import count


def unused_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return ``name``, or ``name`` followed by the first of -2, -3, ... that makes it unused.

    Args:
        name: The preferred name.
        is_taken: Returns whether a name is in use.

    >>> unused_name("book", {"book", "book-2"}.__contains__)
    'book-3'
    """
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(name for name in names if not is_taken(name))
