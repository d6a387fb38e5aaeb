"""Find neurons that follow a feature of the text, such as "inside quotes".

A neuron is chosen by its correlation on the first half of a text and verified on the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.report.features import Feature

_DIRECTIONS = 100  # random linear combinations of neurons that estimate the correlation by chance
_FOLLOWS = 0.3  # minimum absolute correlation of a neuron that follows a feature at all
_CLEAR = 0.5  # minimum absolute correlation of a neuron that gets a name
_BLOCK = 4096  # characters whose states are in memory as float64 at once


@dataclass(frozen=True)
class NamedNeuron:
    """A neuron and the feature that it follows.

    Attributes:
        neuron: Column of the neuron in the states.
        feature: Name of the feature.
        search_correlation: Correlation on the first half of the text, by which the neuron was chosen, in [-1, 1].
        correlation: Correlation on the second half, in [-1, 1].
        chance_correlation: Largest absolute correlation of 100 random linear combinations of all neurons on the second
            half, in [0, 1].
    """

    neuron: int
    feature: str
    search_correlation: float
    correlation: float
    chance_correlation: float

    @property
    def follows(self) -> bool:
        """Whether the neuron follows the feature at all: a correlation of at least 0.3."""
        return abs(self.correlation) >= _FOLLOWS

    @property
    def is_clear(self) -> bool:
        """Whether the correlation is at least 0.5 and stronger than any by chance."""
        return abs(self.correlation) >= _CLEAR and abs(self.correlation) > self.chance_correlation


def name_neurons(states: NDArray[np.floating], features: Mapping[str, Feature], seed: int = 0) -> list[NamedNeuron]:
    """Find the neuron that correlates most with each feature, in descending order of correlation.

    Args:
        states: Activations, (T, N).
        features: Features by name, each (T,).
        seed: Seed of the random linear combinations.

    Returns:
        One neuron per feature; an empty list if T < 4 or there are no features. Features without any correlation, or
        constant on the second half, are left out.
    """
    if len(states) < 4 or not features:
        return []
    half = len(states) // 2
    names, columns = list(features), np.stack(list(features.values()), axis=1)
    first = correlations(states[:half], columns[:half])
    second = correlations(states[half:], columns[half:])
    weights = np.random.default_rng(seed).standard_normal((states.shape[1], _DIRECTIONS))
    chance = np.abs(correlations(_combine(states[half:], weights), columns[half:])).max(axis=1)
    best = np.abs(first).argmax(axis=1)
    named = [
        NamedNeuron(int(n), names[i], float(first[i, n]), float(second[i, n]), float(chance[i]))
        for i, n in enumerate(best)
        if first[i, n] != 0 and columns[half:, i].std() > 0
    ]
    return sorted(named, key=lambda neuron: -abs(neuron.correlation))


def correlations(states: NDArray[np.floating], features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Pearson's correlation of every feature with every neuron.

    Args:
        states: Activations, (T, N), T >= 1.
        features: Features, (T, F).

    Returns:
        Correlations (F, N) in [-1, 1]; 0 where the feature or the neuron is constant.
    """
    length = len(states)
    sums, squares = np.zeros(states.shape[1]), np.zeros(states.shape[1])
    products = np.zeros((features.shape[1], states.shape[1]))
    centered = features - features.mean(axis=0)
    for start in range(0, length, _BLOCK):
        block = states[start : start + _BLOCK].astype(np.float64)
        sums += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
        products += centered[start : start + _BLOCK].T @ block
    spread = np.sqrt(np.maximum(squares / length - (sums / length) ** 2, 0.0))
    deviation = centered.std(axis=0)
    scale = deviation[:, None] * spread[None, :]
    safe = np.where(scale > 1e-9, scale, 1.0)
    return np.where(scale > 1e-9, products / length / safe, 0.0)


def _combine(states: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = [states[i : i + _BLOCK].astype(np.float64) @ weights for i in range(0, len(states), _BLOCK)]
    return np.concatenate(blocks)
