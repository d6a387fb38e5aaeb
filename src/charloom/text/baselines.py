"""What guessing costs: the losses a model must beat to have learned anything."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def baselines(training: NDArray[np.unsignedinteger], judged: NDArray[np.unsignedinteger], size: int) -> Baselines:
    """Return the baselines for a text.

    Args:
        training: Ids of the training text (N,), from which frequencies are counted; one is added to each
            count, so that a character of the vocabulary that is missing there costs much, not infinitely much.
        judged: Ids of the text that the loss is reported on (M,), M >= 1.
        size: The size V of the vocabulary.
    """
    counts = np.bincount(training, minlength=size) + 1.0
    log_probs = np.log(counts / counts.sum())
    shares = np.bincount(judged, minlength=size) / len(judged)
    return Baselines(uniform=math.log(size), unigram=float(-(shares @ log_probs)))
