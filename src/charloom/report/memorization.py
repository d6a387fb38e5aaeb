"""Text that a model writes, and how much of it is copied from what it was trained on."""

from collections.abc import Callable
from dataclasses import dataclass

from charloom.data.splits import Part
from charloom.inference.memorization import Novelty, novelty
from charloom.inference.model import Model

TEMPERATURES = (0.5, 0.8, 1.0)
LENGTH = 2000  # characters written at each
_JUDGED = 20_000  # characters of the held-out text


@dataclass(frozen=True)
class Written:
    """A text that a model wrote.

    Attributes:
        temperature: At which.
        text: What.
        novelty: How much of it stands in the training text; None where that is not at hand.
    """

    temperature: float
    text: str
    novelty: Novelty | None


def write(
    model: Model, training: Part | None, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Written]:
    """Return a text at each of several temperatures.

    Args:
        model: Writes.
        training: The text it was trained on.
        seed: Of all of them.
        progress: Told how many are written, and how many there will be.
    """
    found = []
    for number, temperature in enumerate(TEMPERATURES, 1):
        text = model.generate(length=LENGTH, temperature=temperature, seed=seed)
        found.append(Written(temperature, text, None if training is None else novelty(text, training.pieces())))
        if progress is not None:
            progress(number, len(TEMPERATURES))
    return found


def held_out_novelty(held_out: Part, training: Part) -> Novelty | None:
    """Return how much of a held-out text, of its beginning, stands in the training text: what is to be expected."""
    return novelty(held_out.head(_JUDGED), training.pieces()) if len(held_out) else None
