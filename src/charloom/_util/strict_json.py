"""Parse JSON from untrusted files: no duplicate keys, NaN, long numbers, or deep nesting."""

import json
import math
from collections.abc import Iterator
from typing import Any

from charloom.errors import ModelFileError

_MAX_VALUES = 100_000  # bounds the memory that a 2 MB header can take
_MAX_DEPTH = 12  # objects and lists within each other; charloom's own files nest 5 deep
_MAX_DIGITS = 19  # digits of a whole number: as many as 64 bits have


def strict_json(text: str, what: str = "its header", max_depth: int = _MAX_DEPTH) -> Any:
    """Return what a JSON text says.

    Args:
        text: From a file that may be hostile.
        what: Names it in messages.
        max_depth: How many objects and lists may lie within each other.

    Raises:
        ModelFileError: If it is no JSON, names a key twice, or holds more, deeper or larger than a model's header can.
    """
    if sum(map(text.count, ",[{")) > _MAX_VALUES:
        raise ModelFileError(f"{what} holds more than {_MAX_VALUES:,} values.")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{what} is no JSON that can be read ({error}).") from None
    for depth, part in _parts(value):
        if depth > max_depth or (isinstance(part, float) and not math.isfinite(part)):
            raise ModelFileError(f"{what} is nested too deeply, or holds a number that is too large.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands in it twice")
    return value


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _parts(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield all values within a value, each with its depth."""
    waiting = [(0, value)]
    while waiting:
        depth, part = waiting.pop()
        yield depth, part
        if isinstance(part, (dict, list)):
            waiting += [(depth + 1, one) for one in (part.values() if isinstance(part, dict) else part)]
