"""Effective context length: loss by the number of preceding characters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.engines.base import Engine
from charloom.inference.scoring import surprisals_of

_WINDOWS = 96
_MAX_CONTEXT = 256  # characters of context
_GROWTH = 1.5  # ratio of consecutive points of the curve
_MAX_LOGITS = 4_000_000  # logits held at once


@dataclass(frozen=True)
class ContextPoint:
    """The loss at a range of context lengths.

    Attributes:
        characters: Longest context of the range, in characters; the shortest is one more than that of the point before.
        bits_per_char: Mean surprisal over windows from the whole text.
    """

    characters: int
    bits_per_char: float


def loss_by_context_length(engine: Engine, vocabulary: Vocabulary, text: str) -> list[ContextPoint]:
    """Measure the mean surprisal as a function of the length of the context.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least two characters; evenly spaced windows of up to 256 characters are read.
    """
    ids = vocabulary.encode(text).astype(np.intp)
    longest = min(_MAX_CONTEXT, len(ids) - 1)
    count = min(_WINDOWS, max(1, len(ids) - longest))
    starts = np.linspace(0, len(ids) - longest - 1, count).astype(int)
    windows = ids[starts[:, None] + np.arange(longest + 1)]
    windows_at_once = max(1, _MAX_LOGITS // (longest * len(vocabulary)))
    bits = [_surprisals(engine, windows[i : i + windows_at_once]) for i in range(0, count, windows_at_once)]
    return _points(np.concatenate(bits).mean(axis=0))


def _surprisals(engine: Engine, windows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the surprisal (B, T), in bits, of windows (B, T + 1) after their first character, from the zero state."""
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
