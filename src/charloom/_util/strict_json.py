"""Parse JSON from untrusted files; reject duplicate keys, NaN, long numbers and deep nesting."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from charloom._util.printable import quoted, shortened
from charloom.errors import ModelFileError

_MAX_VALUES = 100_000  # values; bounds the memory used for a 2 MB header
_MAX_DEPTH = 12  # nesting levels of objects and lists; files written by charloom have 5
_MAX_DIGITS = 19  # digits of an integer; a 64-bit integer has at most 19


class _DuplicateKeyError(Exception):
    """A JSON object contains a key twice; the argument is the key."""


def strict_json(text: str, subject: str = "The header", max_depth: int = _MAX_DEPTH) -> Any:
    """Parse JSON from an untrusted file.

    Args:
        text: The JSON text.
        subject: The subject of error messages, such as "The header".
        max_depth: The maximum nesting depth of objects and lists.

    Raises:
        ModelFileError: If the text is not JSON, contains a duplicate key, NaN, infinity or a number of more than 19
            digits, or has more than 100,000 values or more than ``max_depth`` levels.
    """
    if sum(map(text.count, ",[{")) > _MAX_VALUES:
        raise ModelFileError(
            f"{subject} contains more than {_MAX_VALUES:,} values.", code="too_many_values", maximum=_MAX_VALUES
        )
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_reject_constant, parse_int=_parse_int)
    except _DuplicateKeyError as error:
        raise ModelFileError(
            f"{subject} contains the key {quoted(error)} more than once.", code="duplicate_key", key=shortened(error)
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{subject} is not valid JSON: {error}.", code="invalid_json", reason=shortened(error)
        ) from None
    for depth, part in _nested_values(value):
        if depth > max_depth:
            raise ModelFileError(
                f"{subject} is nested more than {max_depth} levels deep.", code="json_too_deep", maximum=max_depth
            )
        if isinstance(part, float) and not math.isfinite(part):
            raise ModelFileError(f"{subject} contains a number that is too large.", code="number_too_large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _DuplicateKeyError(key)
    return value


def _reject_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has more than {_MAX_DIGITS} digits")
    return int(digits)


def _nested_values(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield a JSON value and all values inside it, each with its nesting depth."""
    pending = [(0, value)]
    while pending:
        depth, part = pending.pop()
        yield depth, part
        if isinstance(part, (dict, list)):
            pending += [(depth + 1, child) for child in (part.values() if isinstance(part, dict) else part)]
