"""What guessing costs: the losses a model must beat to have learned anything."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids, blocks


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
