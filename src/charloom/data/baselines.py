"""Baseline losses that a model must beat: uniform, unigram and n-gram."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids, blocks

_MAX_ORDER = 6  # characters of context
_DISCOUNT = 0.8  # subtracted from every count, for unseen n-grams; 0.5 was 0.02 to 0.12 nats worse on four texts
_MAX_COUNTED = 1_000_000  # characters of training text that are counted: a second or two
_MAX_JUDGED = 200_000  # characters that are scored, in _BLOCKS evenly spaced blocks
_BLOCKS = 20


@dataclass(frozen=True)
class Baselines:
    """Losses of models that need no training, in nats per character.

    Attributes:
        uniform: All characters of the vocabulary equally likely: ln V.
        unigram: Each character as likely as it is frequent in the training text.
        ngrams: Loss of the best n-gram model (see ``ngram_loss``); None if it was not computed.
    """

    uniform: float
    unigram: float
    ngrams: float | None = None


def baselines(training: Ids, judged: Ids, size: int) -> Baselines:
    """Compute the uniform and unigram baselines.

    Args:
        training: Ids of the training text (N,). Add-one smoothing keeps the loss of characters finite that do not occur
            in it.
        judged: Ids of the text that the loss is of (M,), M >= 1.
        size: Vocabulary size V.
    """
    counts = _counts(training, size) + 1.0
    log_probs = np.log(counts / counts.sum())
    shares = _counts(judged, size) / len(judged)
    return Baselines(uniform=math.log(size), unigram=float(-(shares @ log_probs)))


def _counts(ids: Ids, size: int) -> NDArray[np.intp]:
    counts = np.zeros(size, np.intp)
    for block in blocks(ids):
        counts += np.bincount(block, minlength=size)
    return counts


def ngram_loss(training: Ids, judged: Ids, size: int) -> float:
    """Compute the loss of the best n-gram model with absolute discounting, orders 0 to 6, in nats per character.

    Args:
        training: Ids of the training text (N,), N >= 1; the last million are used.
        judged: Ids of the text that the loss is of (M,), M >= 1; at most 200,000 evenly spaced ones are scored.
        size: Vocabulary size V.

    Source: interpolated absolute discounting, section 2 of Chen & Goodman 1999 (doi:10.1006/csla.1999.0128).
    """
    counted, judged = training[max(0, len(training) - _MAX_COUNTED) :], _spread(judged)
    ids = np.concatenate([counted, judged]).astype(np.int64)
    first = len(counted)
    gram = np.zeros(len(ids), np.int64)  # number of the n-gram that ends at each position
    probability = np.full(len(judged), 1 / size)
    lowest = math.log(size)
    for _ in range(_MAX_ORDER + 1):
        context = np.concatenate([[0], gram[:-1]])
        distinct, gram = np.unique(context * size + ids, return_inverse=True)
        owner = distinct // size
        counts = np.bincount(gram[:first], minlength=len(distinct))
        totals = np.bincount(owner, weights=counts)
        kinds = np.bincount(owner, weights=counts > 0)
        here = context[first:]
        numerator = np.maximum(counts[gram[first:]] - _DISCOUNT, 0) + _DISCOUNT * kinds[here] * probability
        known = totals[here] > 0
        probability[known] = numerator[known] / totals[here][known]
        lowest = min(lowest, -float(np.log(probability).mean()))
    return lowest


def _spread(ids: Ids) -> NDArray[np.unsignedinteger]:
    if len(ids) <= _MAX_JUDGED:
        return ids[:]
    starts = np.linspace(0, len(ids) - _MAX_JUDGED // _BLOCKS, _BLOCKS).astype(int)
    return np.concatenate([ids[start : start + _MAX_JUDGED // _BLOCKS] for start in starts])
