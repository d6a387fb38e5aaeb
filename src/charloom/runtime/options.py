"""What can be asked of generation, with ranges and defaults: the one place they are written. Needs no NumPy."""

import math
from dataclasses import dataclass

from charloom.errors import SettingsError

DEFAULT_TEMPERATURE = 0.8
DEFAULT_LENGTH = 1000
MAX_TEMPERATURE = 100.0
MAX_SAMPLES = 1024
MAX_SEED = 2**53 - 1  # every seed is exact in JSON, whose numbers are doubles


@dataclass(frozen=True)
class Sampling:
    """How the next character is drawn.

    Attributes:
        temperature: Logits are divided by it: 1 draws as the model predicts, less is safer, more is wilder; 0
            takes the likeliest character, and of equals the one with the lowest id. In [0, 100].

    Raises:
        SettingsError: If a value is out of range.
    """

    temperature: float = DEFAULT_TEMPERATURE

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= MAX_TEMPERATURE):
            raise SettingsError(
                f"temperature must be a number from 0 to {MAX_TEMPERATURE:g}; got {self.temperature}. "
                "0 always takes the likeliest character, 1 draws as the model predicts."
            )


def check_seed(seed: int) -> int:
    """Return the seed if it is one.

    Raises:
        SettingsError: If it is not a whole number from 0 to 2**53 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"seed must be a whole number from 0 to {MAX_SEED}; got {seed!r}.")
    return seed


def check_length(length: int) -> int:
    """Return the number of characters to draw if it is one; ``SettingsError`` if it is negative."""
    if length < 0:
        raise SettingsError(f"length must be 0 or more characters; got {length}.")
    return length


def check_samples(samples: int) -> int:
    """Return the number of texts if it is one; ``SettingsError`` if it is not from 1 to 1024."""
    if not 1 <= samples <= MAX_SAMPLES:
        raise SettingsError(f"samples must be from 1 to {MAX_SAMPLES}; got {samples}.")
    return samples
