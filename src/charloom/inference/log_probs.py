"""Compute log-probabilities from logits, in float64."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_softmax(logits: NDArray[np.float32]) -> Floats:
    """Compute the log-probability of every character from logits (..., V), in nats."""
    exact, total = _shifted(logits)
    exact -= total
    return exact


def log_probs_of(logits: NDArray[np.float32], ids: NDArray[np.integer]) -> Floats:
    """Compute the log-probability in nats of one id per position: ids (...,) under logits (..., V)."""
    exact, total = _shifted(logits)
    log_probs: Floats = np.take_along_axis(exact, ids[..., None].astype(np.intp), axis=-1) - total
    return log_probs[..., 0]


def nats_to_bits(log_probs: Floats) -> Floats:
    """Convert log-probabilities in nats to surprisals in bits; probability 1 gives 0, never -0."""
    bits: Floats = (0.0 - log_probs) / math.log(2)
    return bits


def _shifted(logits: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return logits minus their row maximum, which prevents overflow in exp, and the log-sum-exp of the result."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    return exact, np.log(np.exp(exact).sum(axis=-1, keepdims=True))
