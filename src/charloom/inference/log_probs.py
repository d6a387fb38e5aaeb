"""From logits to log-probabilities, in float64: what every cost of a character is counted by."""

import math

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]


def log_softmax(logits: NDArray[np.float32]) -> Costs:
    """Return the natural logarithm of each character's probability, (..., V), under logits (..., V)."""
    exact, total = _shifted(logits)
    exact -= total
    return exact


def log_probs_of(logits: NDArray[np.float32], ids: NDArray[np.integer]) -> Costs:
    """Return the natural logarithm of the probability of one character each, ids (...,), under logits (..., V)."""
    exact, total = _shifted(logits)
    log_probs: Costs = np.take_along_axis(exact, ids[..., None].astype(np.intp), axis=-1) - total
    return log_probs[..., 0]


def nats_to_bits(log_probs: Costs) -> Costs:
    """Return what characters of these log-probabilities cost in bits: 0, never -0, where one was certain."""
    costs: Costs = (0.0 - log_probs) / math.log(2)
    return costs


def _shifted(logits: NDArray[np.float32]) -> tuple[Costs, Costs]:
    """Return logits less the largest of each row, so that no exponential overflows, and the logarithm of their sum."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    return exact, np.log(np.exp(exact).sum(axis=-1, keepdims=True))
