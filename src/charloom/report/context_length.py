"""How much context a model uses: its loss after so many characters from nowhere."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.engines.base import Engine
from charloom.inference.scoring import surprisals_of

_WINDOWS = 96
_MAX_CONTEXT = 256  # characters of context
_GROWTH = 1.5  # from one point of the curve to the next
_LOGITS = 4_000_000  # held at once


@dataclass(frozen=True)
class ContextPoint:
    """The loss after a certain length of context.

    Attributes:
        characters: Of context, at most; the point before had fewer.
        bits_per_char: Mean over windows from everywhere in the text.
    """

    characters: int
    bits_per_char: float


def loss_by_context_length(engine: Engine, vocabulary: Vocabulary, text: str) -> list[ContextPoint]:
    """Return how the loss falls as more and more of a text has been read.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        text: Windows of up to 256 characters are taken from all over it; at least two characters.
    """
    ids = vocabulary.encode(text).astype(np.intp)
    longest = min(_MAX_CONTEXT, len(ids) - 1)
    count = min(_WINDOWS, max(1, len(ids) - longest))
    starts = np.linspace(0, len(ids) - longest - 1, count).astype(int)
    windows = ids[starts[:, None] + np.arange(longest + 1)]
    together = max(1, _LOGITS // (longest * len(vocabulary)))
    bits = [_surprisals(engine, windows[i : i + together]) for i in range(0, count, together)]
    return _points(np.concatenate(bits).mean(axis=0))


def _surprisals(engine: Engine, windows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the bits (B, T) of all but the first character of windows (B, T + 1), each read from the zero state."""
    logits, _ = engine.forward(windows[:, :-1], engine.initial_state(len(windows)))
    flat = surprisals_of(logits.reshape(-1, logits.shape[2]), windows[:, 1:].reshape(-1))
    return flat.reshape(len(windows), -1)


def _points(bits: NDArray[np.float64]) -> list[ContextPoint]:
    points, before = [], 0
    while before < len(bits):
        upto = min(len(bits), max(before + 1, int(before * _GROWTH)))
        points.append(ContextPoint(upto, float(bits[before:upto].mean())))
        before = upto
    return points
