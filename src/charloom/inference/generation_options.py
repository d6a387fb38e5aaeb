"""Options of generation with their ranges and defaults."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from charloom.errors import SettingsError

DEFAULT_TEMPERATURE = 0.8
DEFAULT_LENGTH = 1000
MAX_TEMPERATURE = 100.0
MAX_SAMPLES = 1024
MAX_TOP_K = 65_536
MAX_REPETITION_WINDOW = 4096
MAX_PENALTY = 2.0  # of presence and frequency: OpenAI's range
PRECISIONS = ("auto", "int8", "float32")
UNKNOWN = ("error", "skip", "replace")
MAX_SEED = 2**53 - 1  # every seed is exact in JSON, whose numbers are doubles


@dataclass(frozen=True)
class Sampling:
    """Sampling options, applied to the logits in this order.

    Attributes:
        allow: If given, only these characters are sampled.
        forbid: These characters are never sampled.
        repetition_penalty: Characters among the last ``repetition_window`` become less likely: a positive logit is
            divided by it, a negative one multiplied; 1 leaves them, below 1 they become likelier. In [0.01, 100].
        repetition_window: In [1, 4096].
        presence_penalty: Taken from the logit of every character that was drawn for this text before. In [-2, 2].
        frequency_penalty: Likewise, as often as it was drawn. In [-2, 2].
        temperature: Logits are divided by it: 1 draws as the model predicts, less is safer, more is wilder; 0
            takes the likeliest character, and of equals the one with the lowest id. In [0, 100].
        top_k: If given, only the k likeliest are drawn, 1 or more.
        top_p: Of these only the likeliest that together have at least this share of the probability. In (0, 1].
        min_p: Of these only those at least this many times as likely as the likeliest. In [0, 1].

    Raises:
        SettingsError: If a value is out of range.

    Source: top-k: Fan et al. 2018, arXiv:1805.04833; top-p: Holtzman et al. 2019, arXiv:1904.09751; min-p: Nguyen
    et al. 2024, arXiv:2407.01082; the penalty: Keskar et al. 2019, arXiv:1909.05858.
    """

    temperature: float = DEFAULT_TEMPERATURE
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repetition_window: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    allow: str | None = None
    forbid: str | None = None

    def __post_init__(self) -> None:
        _check_number(
            "temperature",
            self.temperature,
            0,
            MAX_TEMPERATURE,
            "0 always takes the most probable character; 1 samples the model's own distribution.",
        )
        if self.top_k is not None:
            check_whole("top_k", self.top_k, 1, MAX_TOP_K)
        _check_number("top_p", self.top_p, 0, 1, "1 keeps all characters.")
        if self.top_p == 0:
            raise SettingsError(
                "top_p must be greater than 0, got 0. For the most probable character only, set temperature to 0.",
                code="invalid_setting",
                name="top_p",
                value=0,
            )
        _check_number("min_p", self.min_p, 0, 1, "0 keeps all characters.")
        _check_number("repetition_penalty", self.repetition_penalty, 0.01, 100, "1 turns it off.")
        check_whole("repetition_window", self.repetition_window, 1, MAX_REPETITION_WINDOW)
        for name in ("presence_penalty", "frequency_penalty"):
            _check_number(name, getattr(self, name), -MAX_PENALTY, MAX_PENALTY, "0 turns it off.")

    @property
    def window(self) -> int:
        """Number of recent characters that sampling depends on, besides the state: 0 without a repetition penalty."""
        return self.repetition_window if self.repetition_penalty != 1 else 0

    @property
    def counts(self) -> bool:
        """Whether sampling depends on how often each character was sampled before."""
        return bool(self.presence_penalty or self.frequency_penalty)


@dataclass(frozen=True)
class Ending:
    """Stop conditions: when a text ends before its length is reached.

    Attributes:
        stop: A text ends before the first of these strings that becomes complete after the prompt.
        max_lines: It ends after so many lines, 1 or more; the rest of the prompt's last line counts as one.

    Raises:
        SettingsError: If a string is empty or a number out of range.
    """

    stop: tuple[str, ...] = ()
    max_lines: int | None = None

    def __post_init__(self) -> None:
        if not all(self.stop):
            raise SettingsError(
                "stop must not contain an empty string: it would match everywhere.",
                code="invalid_setting",
                name="stop",
                value=list(self.stop),
            )
        if self.max_lines is not None:
            check_whole("max_lines", self.max_lines, 1, MAX_SEED)


def _check_number(name: str, value: float, minimum: float, maximum: float, hint: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not minimum <= value <= maximum:
        raise SettingsError(
            f"{name} must be a number from {minimum:g} to {maximum:g}, got {value!r}. {hint}",
            code="invalid_setting",
            name=name,
            value=json_value(value),
            minimum=minimum,
            maximum=maximum,
        )


def check_whole(name: str, value: int, minimum: int, maximum: int) -> int:
    """Return an integer, which may be NumPy's, if it is in range.

    Raises:
        SettingsError: If it is not; the message calls it ``name``.
    """
    if not _is_whole(value) or not minimum <= value <= maximum:
        raise SettingsError(
            f"{name} must be an integer from {minimum} to {maximum}, got {value!r}.",
            code="invalid_setting",
            name=name,
            value=json_value(value),
            minimum=minimum,
            maximum=maximum,
        )
    return int(value)


def check_seed(seed: int) -> int:
    """Return the seed if it is one; ``SettingsError`` if it is not a whole number from 0 to 2**53 - 1."""
    return check_whole("seed", seed, 0, MAX_SEED)


def check_length(length: int) -> int:
    """Return the number of characters to draw if it is one; ``SettingsError`` if it is negative or not whole."""
    if not _is_whole(length) or length < 0:
        raise SettingsError(
            f"length must be an integer of at least 0, got {length!r}.",
            code="invalid_setting",
            name="length",
            value=json_value(length),
            minimum=0,
        )
    return int(length)


def check_samples(samples: int) -> int:
    """Return the number of texts if it is one; ``SettingsError`` if it is not from 1 to 1024."""
    return check_whole("samples", samples, 1, MAX_SAMPLES)


def invalid_choice(name: str, value: object, accepted: Sequence[str]) -> SettingsError:
    """Return the error for an option whose value is not one of the accepted strings."""
    return SettingsError(
        f"{name} must be one of {', '.join(accepted)}, got {value!r}.",
        code="invalid_setting",
        name=name,
        value=json_value(value),
        accepted=list(accepted),
    )


def json_value(value: object) -> bool | int | float | str | None:
    """Return a rejected value for the data of an error: unchanged if JSON can represent it, else its ``repr``."""
    is_plain = (
        value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    )
    return value if is_plain else repr(value)  # type: ignore[return-value]


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
