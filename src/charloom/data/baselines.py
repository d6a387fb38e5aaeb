"""What guessing costs: the losses a model must beat to have learned anything."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids, blocks

_MAX_ORDER = 6  # characters looked back, at most
_DISCOUNT = 0.8  # taken off every count for what was never seen; 0.5 was 0.02 to 0.12 nats worse on four texts
_MAX_COUNTED = 1_000_000  # characters counted, at most: a second or two of work
_MAX_JUDGED = 200_000  # likewise, in blocks from all over the text: its beginning may be harder or easier than the rest
_BLOCKS = 20


@dataclass(frozen=True)
class Baselines:
    """Losses, in nats per character, of models that need no training.

    Attributes:
        uniform: Every character of the vocabulary equally likely: ln V.
        unigram: Every character as likely as it is frequent in the training text.
        ngrams: As frequent as it is there after the few characters before it; None if that was not counted.
    """

    uniform: float
    unigram: float
    ngrams: float | None = None


def baselines(training: Ids, judged: Ids, size: int) -> Baselines:
    """Return the baselines for a text.

    Args:
        training: Ids of the training text (N,), from which frequencies are counted; one is added to each
            count, so that a character of the vocabulary that is missing there costs much, not infinitely much.
        judged: Ids of the text that the loss is reported on (M,), M >= 1.
        size: The size V of the vocabulary.
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
    """Return the loss of n-grams with absolute discounting, of the length that is best, in nats per character.

    Args:
        training: Ids of the training text (N,), N >= 1; the last million are counted.
        judged: Ids that the loss is of (M,), M >= 1; 200,000 from all over it are judged.
        size: The size V of the vocabulary.

    Source: interpolated absolute discounting, section 2 of Chen & Goodman 1999 (doi:10.1006/csla.1999.0128).
    """
    counted, judged = training[max(0, len(training) - _MAX_COUNTED) :], _spread(judged)
    ids = np.concatenate([counted, judged]).astype(np.int64)
    first = len(counted)
    gram = np.zeros(len(ids), np.int64)  # a number for the n characters that end at each place
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
        left = np.maximum(counts[gram[first:]] - _DISCOUNT, 0) + _DISCOUNT * kinds[here] * probability
        known = totals[here] > 0
        probability[known] = left[known] / totals[here][known]
        lowest = min(lowest, -float(np.log(probability).mean()))
    return lowest


def _spread(ids: Ids) -> NDArray[np.unsignedinteger]:
    if len(ids) <= _MAX_JUDGED:
        return ids[:]
    starts = np.linspace(0, len(ids) - _MAX_JUDGED // _BLOCKS, _BLOCKS).astype(int)
    return np.concatenate([ids[start : start + _MAX_JUDGED // _BLOCKS] for start in starts])
