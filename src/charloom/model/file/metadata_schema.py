"""What a model file tells of its past, checked once, so that nothing that reads it has to doubt it.

Facts that are not known here are let through as they are: they are only kept.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, ModelFileError

_LONGEST = 1_000  # characters of a name
_LONGEST_PATH = 4_096
_LARGEST = 1e300  # of numbers: divided by log(2) they are finite still
_MOST = 2**53  # whole numbers up to it are exact in JSON
_FILE_OF_LINES = re.compile(r"[a-z_-]{1,40}\.(jsonl|txt)")


@dataclass(frozen=True)
class _Kind:
    """What a value must be: in the words of a message, and as a question that a value is asked."""

    words: str
    holds: Callable[[Any], bool]


def check_facts(facts: Any, needed: Iterable[str] = ()) -> None:
    """Raise ``ModelFileError`` if what a file tells of its model cannot be.

    Args:
        facts: A JSON value.
        needed: Facts that must be there.
    """
    _check_object("facts", facts, _MODEL, needed, optional=True)


def check_training_facts(training: Any, facts: Mapping[str, Any]) -> None:
    """Raise ``ModelFileError`` if what a checkpoint tells of its training does not suffice to go on.

    Args:
        training: A JSON value.
        facts: Those of its model, which must have come through ``check_facts``.
    """
    check_facts(facts, _NEEDED)
    _check_object("training's facts", training, _TRAINING, (name for name in _TRAINING if name not in _OPTIONAL))


def bits_per_char(facts: Mapping[str, Any]) -> float | None:
    """Return what a character costs the model: of text that was held out, else of the training's; None if unknown."""
    loss = facts.get("train_loss") if facts.get("val_loss") is None else facts["val_loss"]
    return None if loss is None else loss / math.log(2)


def _check_object(
    what: str, value: Any, kinds: Mapping[str, _Kind], needed: Iterable[str] = (), optional: bool = False
) -> None:
    if not isinstance(value, dict):
        raise ModelFileError(f"its {what} are no JSON object.")
    for name in needed:
        if value.get(name) is None:
            raise ModelFileError(f"its {what} lack {name!r}.")
    for name, kind in kinds.items():
        if name in value and not kind.holds(value[name]) and not (optional and value[name] is None):
            raise ModelFileError(f"its {what} cannot be right: {name!r} must be {kind.words}.")


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _is_setting(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value) or _is_name(value)


def _are_settings(value: Any) -> bool:
    shares = ("val_fraction", "test_fraction")
    return (
        isinstance(value, dict)
        and all(map(_is_setting, value.values()))
        and all(_is_number(value.get(share, 0)) and 0 <= value.get(share, 0) < 1 for share in shares)
    )


def _is_position(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))


def _are_lengths(value: Any) -> bool:
    """Whether these are lengths of files of lines, in the run folder itself: going on cuts them to that."""
    return isinstance(value, dict) and all(_FILE_OF_LINES.fullmatch(k) and _is_whole(v) for k, v in value.items())


def _are_sources(value: Any) -> bool:
    return value is None or (isinstance(value, list) and bool(value) and all(map(_is_source, value)))


def _is_source(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"name", "path"}:
        return False
    (place,) = value.values()  # a path may hold characters that are not printable
    return isinstance(place, str) and 0 < len(place) <= _LONGEST_PATH and "\0" not in place and place != "-"


def _is_text_format(value: Any) -> bool:
    """Whether this is what ``TextFormat.to_dict`` returns."""
    if not isinstance(value, dict):
        return False
    try:
        return TextFormat.from_dict(value).to_dict() == value
    except CharloomError:
        return False


def _record(**kinds: _Kind) -> _Kind:
    def holds(value: Any) -> bool:
        if value is None:
            return True
        return isinstance(value, dict) and all(kinds[k].holds(v) for k, v in value.items() if k in kinds)

    return _Kind("a record", holds)


_NAME = _Kind(f"printable text of at most {_LONGEST:,} characters", _is_name)
_WHOLE = _Kind("a whole number of 0 or more", _is_whole)
_NUMBER = _Kind("a finite number", _is_number)
_MAYBE = _Kind("a finite number or null", lambda value: value is None or _is_number(value))
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))

_MODEL = {
    "corpus": _NAME,
    "corpus_sha256": _NAME,
    "corpus_characters": _WHOLE,
    "recipe": _NAME,
    "settings": _Kind("settings, each a number or text", _are_settings),
    "step": _WHOLE,
    "epoch": _NUMBER,
    "train_loss": _NUMBER,
    "val_loss": _NUMBER,
    "best_val_loss": _NUMBER,
    "charloom_version": _NAME,
}
_NEEDED = ("corpus", "corpus_sha256", "corpus_characters", "recipe", "settings")  # to go on

_STEP = _record(
    step=_WHOLE, epoch=_NUMBER, loss=_MAYBE, grad_norm=_MAYBE, learning_rate=_NUMBER, seconds=_NUMBER
)  # fmt: skip
_EVALUATION = _record(
    step=_WHOLE, epoch=_NUMBER, train_loss=_MAYBE, val_loss=_MAYBE, bits_per_char=_MAYBE, best_val_loss=_MAYBE,
    is_best=_FLAG, chars_per_second=_MAYBE, seconds=_NUMBER, learning_rate=_NUMBER, grad_norm=_MAYBE,
)  # fmt: skip
_HISTORY = _record(
    step=_STEP, evaluation=_EVALUATION, best=_EVALUATION, sampled=_WHOLE, skipped=_WHOLE, rollbacks=_WHOLE,
    waited=_WHOLE, lowest=_MAYBE, ended=_FLAG, watched=_WHOLE,
)  # fmt: skip
_TRAINING = {
    "step": _WHOLE,
    "position": _Kind("two whole numbers", _is_position),
    "rate_factor": _NUMBER,
    "finished": _FLAG,
    "history": _Kind("what a training remembers", lambda value: isinstance(value, dict) and _HISTORY.holds(value)),
    "files": _Kind("lengths of files of lines by their names", _are_lengths),
    "seconds": _NUMBER,
    "device": _NAME,
    "sources": _Kind("a list of names and paths, or null", _are_sources),
    "text_format": _Kind("how a text is read", _is_text_format),
}
_OPTIONAL = ("sources", "text_format")
