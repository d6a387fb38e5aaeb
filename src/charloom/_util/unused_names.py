"""Pick an unused name by appending -2, -3, ..."""

from collections.abc import Callable
from itertools import count


def unused_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return a name, or the first of it with -2, -3 ... behind it that is not taken.

    >>> unused_name("book", {"book", "book-2"}.__contains__)
    'book-3'
    """
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(name for name in names if not is_taken(name))
