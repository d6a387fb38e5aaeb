"""Find neurons that follow a named feature: searched on one half of a text, verified on the other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.report.features import Feature

_DIRECTIONS = 100
_CLEAR = 0.5  # a correlation below is not worth a name
_BLOCK = 4096  # characters whose states are held as float64 at once


@dataclass(frozen=True)
class NamedNeuron:
    """A neuron and what it follows.

    Attributes:
        neuron: Its column.
        feature: What it follows.
        found: Its correlation with that on the half of the text it was chosen on, in [-1, 1].
        correlation: Likewise on the other half.
        by_chance: The strongest correlation, on that other half, of a hundred random mixtures of all neurons.
    """

    neuron: int
    feature: str
    found: float
    correlation: float
    by_chance: float

    @property
    def is_clear(self) -> bool:
        """Whether it deserves its name: 0.5 at least, and more than any random mixture."""
        return abs(self.correlation) >= _CLEAR and abs(self.correlation) > self.by_chance


def name_neurons(states: NDArray[np.floating], features: Mapping[str, Feature], seed: int = 0) -> list[NamedNeuron]:
    """Return for each feature the neuron that follows it best, the strongest first.

    Args:
        states: (T, N).
        features: Each (T,).
        seed: Of the random mixtures.
    """
    if len(states) < 4 or not features:
        return []
    half = len(states) // 2
    names, columns = list(features), np.stack(list(features.values()), axis=1)
    first = correlations(states[:half], columns[:half])
    second = correlations(states[half:], columns[half:])
    mixtures = np.random.default_rng(seed).standard_normal((states.shape[1], _DIRECTIONS))
    chance = np.abs(correlations(_mixed(states[half:], mixtures), columns[half:])).max(axis=1)
    best = np.abs(first).argmax(axis=1)
    named = [
        NamedNeuron(int(n), names[i], float(first[i, n]), float(second[i, n]), float(chance[i]))
        for i, n in enumerate(best)
        if first[i, n] != 0 and columns[half:, i].std() > 0
    ]
    return sorted(named, key=lambda one: -abs(one.correlation))


def correlations(states: NDArray[np.floating], features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation of every feature with every neuron; 0 where one of them never changes.

    Args:
        states: (T, N), T >= 1.
        features: (T, F).

    Returns:
        (F, N).
    """
    length = len(states)
    sums, squares = np.zeros(states.shape[1]), np.zeros(states.shape[1])
    products = np.zeros((features.shape[1], states.shape[1]))
    centred = features - features.mean(axis=0)
    for start in range(0, length, _BLOCK):
        block = states[start : start + _BLOCK].astype(np.float64)
        sums += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
        products += centred[start : start + _BLOCK].T @ block
    spread = np.sqrt(np.maximum(squares / length - (sums / length) ** 2, 0.0))
    deviation = centred.std(axis=0)
    scale = deviation[:, None] * spread[None, :]
    safe = np.where(scale > 1e-9, scale, 1.0)
    return np.where(scale > 1e-9, products / length / safe, 0.0)


def _mixed(states: NDArray[np.floating], mixtures: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = [states[i : i + _BLOCK].astype(np.float64) @ mixtures for i in range(0, len(states), _BLOCK)]
    return np.concatenate(blocks)
