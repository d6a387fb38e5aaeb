"""A text as an array of code points and back, at the speed of a copy."""

import numpy as np
from numpy.typing import NDArray


def code_points(text: str) -> NDArray[np.integer]:
    """Return the code point of every character.

    The narrowest encoding that holds the text is used, since a look-up over narrow numbers is faster:
    UTF-16 holds any text without characters beyond U+FFFF in exactly two bytes each.

    Args:
        text: Any string; lone surrogates are passed through, so that they can be named in an error.

    Returns:
        Unsigned integers (T,), 2 or 4 bytes each.
    """
    narrow = text.encode("utf-16-le", "surrogatepass")
    if len(narrow) == 2 * len(text):
        return np.frombuffer(narrow, "<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def text_of(codes: NDArray[np.integer]) -> str:
    """Return the text whose characters have these code points: the inverse of ``code_points``.

    Args:
        codes: Integers (T,), each a code point in [0, 0x10FFFF].
    """
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
