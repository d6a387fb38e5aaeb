"""Baseline losses that a model must beat: uniform, unigram and n-gram."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids, blocks

_MAX_ORDER = 6  # characters of context
_DISCOUNT = 0.8  # subtracted from every count; 0.5 gave losses 0.02 to 0.12 nats higher on four texts
_MAX_TRAINING = 1_000_000  # training characters used for the n-gram model: 1 to 2 s
_MAX_EVALUATED = 200_000  # characters scored by the n-gram model, in _BLOCKS evenly spaced blocks
_BLOCKS = 20


@dataclass(frozen=True)
class Baselines:
    """Losses of simple models, in nats per character.

    Attributes:
        uniform: Loss of predicting all V characters with equal probability, ln V.
        unigram: Loss of predicting each character with its frequency in the training text.
        ngrams: Loss of the best n-gram model (see ``ngram_loss``); None if it was not computed.
    """

    uniform: float
    unigram: float
    ngrams: float | None = None


def baselines(training: Ids, evaluation: Ids, size: int) -> Baselines:
    """Compute the uniform and unigram baselines.

    Add-one smoothing keeps the loss of characters finite that do not occur in the training text.

    Args:
        training: Ids of the training text (N,).
        evaluation: Ids of the text on which the losses are computed (M,), M >= 1.
        size: Vocabulary size V.
    """
    counts = _counts(training, size) + 1.0
    log_probs = np.log(counts / counts.sum())
    frequencies = _counts(evaluation, size) / len(evaluation)
    return Baselines(uniform=math.log(size), unigram=float(-(frequencies @ log_probs)))


def _counts(ids: Ids, size: int) -> NDArray[np.intp]:
    counts = np.zeros(size, np.intp)
    for block in blocks(ids):
        counts += np.bincount(block, minlength=size)
    return counts


def ngram_loss(training: Ids, evaluation: Ids, size: int) -> float:
    """Compute the lowest loss of n-gram models with 0 to 6 characters of context, in nats per character.

    The models use interpolated absolute discounting.

    Args:
        training: Ids of the training text (N,), N >= 1; the last 1,000,000 are used.
        evaluation: Ids of the text on which the loss is computed (M,), M >= 1. Of a longer text, 200,000 ids in evenly
            spaced blocks are scored.
        size: Vocabulary size V.

    Source: interpolated absolute discounting, section 2 of Chen & Goodman 1999 (doi:10.1006/csla.1999.0128).
    """
    training, evaluation = training[max(0, len(training) - _MAX_TRAINING) :], _sample_blocks(evaluation)
    ids = np.concatenate([training, evaluation]).astype(np.int64)
    first = len(training)
    gram = np.zeros(len(ids), np.int64)  # index of the n-gram that ends at each position
    probability = np.full(len(evaluation), 1 / size)
    lowest = math.log(size)
    for _ in range(_MAX_ORDER + 1):
        # 1. Number the n-grams that are one character longer than the previous ones.
        context = np.concatenate([[0], gram[:-1]])
        distinct, gram = np.unique(context * size + ids, return_inverse=True)
        context_of_gram = distinct // size
        # 2. Count them in the training text.
        counts = np.bincount(gram[:first], minlength=len(distinct))
        totals = np.bincount(context_of_gram, weights=counts)
        continuations = np.bincount(context_of_gram, weights=counts > 0)  # distinct characters after each context
        # 3. Interpolate with the shorter model; it remains in use after contexts that the training text lacks.
        here = context[first:]
        numerator = np.maximum(counts[gram[first:]] - _DISCOUNT, 0) + _DISCOUNT * continuations[here] * probability
        seen = totals[here] > 0
        probability[seen] = numerator[seen] / totals[here][seen]
        lowest = min(lowest, -float(np.log(probability).mean()))
    return lowest


def _sample_blocks(ids: Ids) -> NDArray[np.unsignedinteger]:
    """Return all ids, or of a long text at most ``_MAX_EVALUATED`` in evenly spaced blocks."""
    if len(ids) <= _MAX_EVALUATED:
        return ids[:]
    length = _MAX_EVALUATED // _BLOCKS
    starts = np.linspace(0, len(ids) - length, _BLOCKS).astype(int)
    return np.concatenate([ids[start : start + length] for start in starts])
