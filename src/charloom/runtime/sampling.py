"""Logits to the next character: pure functions, in a fixed order: temperature, then the draw.

Random numbers come from Philox, a counter-based generator: the number that draws character ``position`` of
a text depends on the text's seed and on that position alone. So the same seed gives the same text whatever
the batch, the chunking or what was generated before.
"""

import numpy as np
from numpy.typing import NDArray

from charloom.runtime.options import Sampling, check_seed


def sample_seeds(seed: int, samples: int) -> list[int]:
    """Return the seed of each of several samples: the first has ``seed`` itself.

    Sample k has the same seed however many samples there are, and alone with that seed it is the same text.

    Args:
        seed: In [0, 2**53 - 1].
        samples: How many, 1 or more.
    """
    others = np.random.Philox(key=[check_seed(seed), 1]).random_raw(samples - 1)
    return [seed, *(int(number) >> 32 for number in others.tolist())]


def uniforms(seeds: NDArray[np.uint64], position: int, count: int) -> NDArray[np.float64]:
    """Return the random numbers that draw characters ``position`` to ``position + count - 1``.

    Each is the first of the four words that Philox 4x64 makes for the counter ``position + 1`` under the key
    (seed, 0), as a number with 53 bits.

    Args:
        seeds: (B,).
        position: Characters drawn before, 0 or more.
        count: 0 or more.

    Returns:
        float64 (B, count), each in [0, 1).

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    rows = [np.random.Philox(key=[int(s), 0], counter=position).random_raw(4 * count)[::4] for s in seeds]
    words = np.array(rows, np.uint64).reshape(len(seeds), count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return the distribution that the next character is drawn from.

    Args:
        logits: (B, V).
        temperature: Above 0.

    Returns:
        float64 (B, V), each row summing to 1.
    """
    exact = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # at a tiny temperature all but the likeliest go to -inf, as they should
        scaled = (exact - exact.max(axis=1, keepdims=True)) / temperature
    weights: NDArray[np.float64] = np.exp(scaled)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def draw(logits: NDArray[np.floating], sampling: Sampling, numbers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the next id of each text.

    The draw inverts the cumulative distribution: the lowest id whose cumulative probability exceeds the
    random number. A character of probability 0 is never drawn.

    Args:
        logits: (B, V).
        sampling: How to draw.
        numbers: One random number in [0, 1) for each text, (B,).

    Returns:
        Ids (B,).
    """
    if sampling.temperature == 0:
        return np.asarray(logits.argmax(axis=1), np.intp)
    cumulative = probabilities(logits, sampling.temperature).cumsum(axis=1)
    # scaling by the last sum keeps the number below it, whatever the sum's rounding
    below = cumulative <= numbers[:, None] * cumulative[:, -1:]
    last = (cumulative < cumulative[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(below.sum(axis=1), last), np.intp)
