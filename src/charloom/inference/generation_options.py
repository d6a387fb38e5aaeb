"""Generation options with their defaults and valid ranges."""

import math
import reprlib
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
MAX_PENALTY = 2.0  # of presence_penalty and frequency_penalty: the range of OpenAI's API
PRECISIONS = ("auto", "int8", "float32")
UNKNOWN = ("error", "skip", "replace")
OTHER_NAMES = {
    "max_token": "length",
    "max_tokens": "length",
    "max_new_tokens": "length",
    "max_completion_tokens": "length",
    "max_length": "length",
    "max_len": "length",
    "num_tokens": "length",
    "num_characters": "length",
    "n_predict": "length",
    "num_predict": "length",
    "num_generate": "length",
    "n": "samples",
    "num_samples": "samples",
    "num_return_sequences": "samples",
    "best_of": "samples",
    "k": "top_k",
    "p": "top_p",
    "nucleus": "top_p",
    "temp": "temperature",
    "random_seed": "seed",
    "random_state": "seed",
    "manual_seed": "seed",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "repetition_window",
    "stop_sequences": "stop",
    "stop_strings": "stop",
    "start": "prompt",
    "start_string": "prompt",
    "primetext": "prompt",
    "prefix": "prompt",
    "text": "prompt",
    "inputs": "prompt",
    "dtype": "precision",
}
"""What other libraries (OpenAI, Hugging Face, llama.cpp, Keras' examples) call the generation options."""

MAX_SEED = 2**53 - 1  # the largest integer that JSON numbers (doubles) represent exactly


@dataclass(frozen=True)
class Sampling:
    """Sampling options, listed in the order in which they are applied to the logits.

    Attributes:
        allow: Characters that may be sampled; None allows all.
        forbid: Characters that are never sampled.
        repetition_penalty: Penalty on characters among the last ``repetition_window``: a positive logit is divided by
            it, a negative logit is multiplied by it. In [0.01, 100]; 1 turns it off, values below 1 favor repetition.
        repetition_window: Number of preceding characters that ``repetition_penalty`` applies to, in [1, 4096].
        presence_penalty: Subtracted from the logit of each character that was already generated in this text, in
            [-2, 2].
        frequency_penalty: Subtracted from the logit of each character once per time it was generated in this text, in
            [-2, 2].
        temperature: Divisor of the logits, in [0, 100]. 1 samples from the model's distribution, lower values sharpen
            it, higher values flatten it. 0 always takes the most probable character (ties: the lowest id).
        top_k: Sample from the k most probable characters only, k >= 1; None turns it off.
        top_p: Then sample from the smallest set of most probable characters whose total probability is at least this,
            in (0, 1].
        min_p: Then exclude characters whose probability is below this fraction of the highest one, in [0, 1].

    Raises:
        SettingsError: If a value is out of range.

    Sources: top-k: Fan et al. 2018, arXiv:1805.04833. Top-p: Holtzman et al. 2019, arXiv:1904.09751. Min-p: Nguyen
    et al. 2024, arXiv:2407.01082. Repetition penalty: Keskar et al. 2019, arXiv:1909.05858.
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
        for name in ("allow", "forbid"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        for name in ("presence_penalty", "frequency_penalty"):
            _check_number(name, getattr(self, name), -MAX_PENALTY, MAX_PENALTY, "0 turns it off.")

    @property
    def window(self) -> int:
        """Number of preceding ids that sampling depends on; 0 without a repetition penalty."""
        return self.repetition_window if self.repetition_penalty != 1 else 0

    @property
    def counts(self) -> bool:
        """Whether sampling needs the number of times each character was generated."""
        return bool(self.presence_penalty or self.frequency_penalty)


@dataclass(frozen=True)
class Ending:
    """Stop conditions, which end a text before it reaches its length.

    Attributes:
        stop: Stop sequences. The text ends before the first one that is completed after the prompt.
        max_lines: Maximum number of lines, 1 or more; the continuation of the prompt's last line counts as one.

    Raises:
        SettingsError: If a stop sequence is empty or ``max_lines`` is out of range.
    """

    stop: tuple[str, ...] = ()
    max_lines: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str) or not all(isinstance(string, str) for string in self.stop):
            raise SettingsError(
                f"Stop sequences must be a list of strings, got {self.stop!r}.",
                code="invalid_setting",
                name="stop",
                value=json_value(self.stop),
            )
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
    """Check that an option is an integer in a range, and return it as an ``int``.

    Args:
        name: Name of the option, for the error.
        value: The value; NumPy integers are accepted, ``bool`` is not.
        minimum: Smallest accepted value.
        maximum: Largest accepted value.

    Raises:
        SettingsError: If the value is out of range or not an integer.
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


def check_text(name: str, value: str) -> str:
    """Check that an argument is a string, and return it.

    Args:
        name: Name of the argument, for the error.
        value: The value.

    Raises:
        SettingsError: If it is of another type.
    """
    if isinstance(value, str):
        return value
    hint = " Decode bytes first, such as with .decode('utf-8')." if isinstance(value, (bytes, bytearray)) else ""
    raise SettingsError(
        f"{name} must be a string, got {reprlib.repr(value)}.{hint}",
        code="invalid_setting",
        name=name,
        value=json_value(value),
    )


def check_seed(seed: int) -> int:
    """Check a seed: an integer from 0 to 2**53 - 1, else ``SettingsError``."""
    return check_whole("seed", seed, 0, MAX_SEED)


def check_length(length: int) -> int:
    """Check a number of characters to generate: an integer of at least 0, else ``SettingsError``."""
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
    """Check a number of samples: an integer from 1 to 1024, else ``SettingsError``."""
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
