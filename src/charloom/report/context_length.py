"""Effective context length: loss as a function of the number of preceding characters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.engines.base import Engine
from charloom.inference.scoring import surprisals_of

_WINDOWS = 96  # windows of the text that are averaged
_MAX_CONTEXT = 256  # characters of context
_GROWTH = 1.5  # ratio of the context lengths of consecutive points of the curve
_MAX_LOGITS = 4_000_000  # logits in memory at once: 16 MB


@dataclass(frozen=True)
class ContextPoint:
    """Mean surprisal over a range of context lengths.

    Attributes:
        characters: Longest context of the range, in characters. The range starts one above the previous point's.
        bits_per_char: Mean surprisal over the windows and the range.
    """

    characters: int
    bits_per_char: float


def loss_by_context_length(engine: Engine, vocabulary: Vocabulary, text: str) -> list[ContextPoint]:
    """Measure the mean surprisal as a function of the context length.

    The model reads evenly spaced windows of up to 256 characters, each from the zero state. The effective context
    length is where the curve becomes flat.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least two characters.
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
    """Compute surprisals in bits (B, T) of windows (B, T + 1): every character except the first."""
    logits, _ = engine.forward(windows[:, :-1], engine.initial_state(len(windows)))
    flat = surprisals_of(logits.reshape(-1, logits.shape[2]), windows[:, 1:].reshape(-1))
    return flat.reshape(len(windows), -1)


def _points(bits: NDArray[np.float64]) -> list[ContextPoint]:
    """Average surprisals by context length (T,) over ranges that grow by ``_GROWTH``."""
    points, start = [], 0
    while start < len(bits):
        stop = min(len(bits), max(start + 1, int(start * _GROWTH)))
        points.append(ContextPoint(stop, float(bits[start:stop].mean())))
        start = stop
    return points
