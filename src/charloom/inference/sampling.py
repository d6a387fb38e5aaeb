"""Logits to the next character: filters as pure functions in a fixed order. Reference of the native engine.

Bias, repetition penalty, presence and frequency penalty, temperature, top-k, top-p, min-p, draw. From the temperature
on a distribution is a row of whole numbers, the weights, the largest of which is 2^40: their sums do not depend on any
order, so that every engine draws the same character from the same logits.

Random numbers come from Philox, a counter-based generator: the number that draws character ``position`` of
a text depends on the text's seed and on that position alone. So the same seed gives the same text whatever
the batch, the chunking or what was generated before.
"""

import math

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError
from charloom.inference.engines.int8_reference import power_of_two
from charloom.inference.generation_options import Sampling, check_seed

Logits = NDArray[np.float32]
Weights = NDArray[np.uint64]

ONE = 2.0**40
"""The weight of the likeliest character."""


def sample_seeds(seed: int, samples: int) -> list[int]:
    """Return the seed of each of several samples: the first has ``seed`` itself.

    Sample k has the same seed however many samples there are, and alone with that seed it is the same text.

    Args:
        seed: In [0, 2**53 - 1].
        samples: How many, 1 or more.
    """
    seed = check_seed(seed)
    if samples == 1:
        return [seed]  # NumPy's generators take a tenth of a second to import
    others = np.random.Philox(key=[seed, 1]).random_raw(samples - 1)
    return [seed, *(int(number) >> 32 for number in others.tolist())]


def random_words(seeds: NDArray[np.uint64], positions: NDArray[np.uint64] | int, count: int) -> NDArray[np.uint64]:
    """Return the random bits that draw characters ``position`` to ``position + count - 1`` of each text.

    Each is the first of the four words that Philox 4x64 makes for the counter ``position + 1`` under the key
    (seed, 0).

    Args:
        seeds: (B,).
        positions: Characters drawn before for each, (B,), or for all.
        count: 0 or more.

    Returns:
        (B, count).

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    each = zip(seeds.tolist(), np.broadcast_to(positions, len(seeds)).tolist(), strict=True)
    rows = [np.random.Philox(key=[seed, 0], counter=position).random_raw(4 * count)[::4] for seed, position in each]
    return np.array(rows, np.uint64).reshape(len(seeds), count)


def allowed_bias(vocabulary: Vocabulary, sampling: Sampling) -> Logits | None:
    """Return what ``allow`` and ``forbid`` add to logits, (V,): 0, or minus infinity; None if all may be drawn.

    Raises:
        UnknownCharacterError: If a character allowed or forbidden is not in the vocabulary.
        SettingsError: If none is left.
    """
    if sampling.allow is None and sampling.forbid is None:
        return None
    allowed = np.full(len(vocabulary), sampling.allow is None)
    allowed[vocabulary.encode(sampling.allow or "")] = True
    allowed[vocabulary.encode(sampling.forbid or "")] = False
    if not allowed.any():
        raise SettingsError(
            "allow and forbid leave no character to sample. Allow at least one character that is not forbidden.",
            code="no_allowed_characters",
        )
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


def penalize_counts(logits: Logits, counts: NDArray[np.int32], sampling: Sampling) -> Logits:
    """Return logits (B, V) made less by what was drawn before, as often as ``counts`` (B, V) say.

    Source: OpenAI's API reference, "presence_penalty" and "frequency_penalty".
    """
    presence, frequency = np.float32(sampling.presence_penalty), np.float32(sampling.frequency_penalty)
    return np.where(counts > 0, logits - (presence + frequency * counts.astype(np.float32)), logits)


def penalize_recent(logits: Logits, recent: NDArray[np.int32], penalty: float) -> Logits:
    """Return logits (B, V) with those of recent characters, (B, W) with -1 for none, made less likely."""
    changed, factor = logits.copy(), np.float32(penalty)
    for row, ids in zip(changed, recent, strict=True):
        seen = np.unique(ids[ids >= 0])
        row[seen] = np.where(row[seen] > 0, row[seen] / factor, row[seen] * factor)
    return changed


def inverse_temperature(temperature: float) -> float:
    """Return what differences of logits are multiplied by to be powers of two: log2(e) / temperature, as float32.

    Args:
        temperature: In [0, 100]; for 0 the result is 0, which stands for taking the likeliest.
    """
    return float(np.float32(min(math.log2(math.e) / temperature, 3e38))) if temperature > 0 else 0.0


def weigh(logits: Logits, factor: float) -> Weights:
    """Return the weights (B, V) of logits (B, V): 2^40 for the likeliest, 0 below a share of 2^-40 of it.

    Args:
        logits: (B, V), at least one of each row finite.
        factor: ``inverse_temperature`` of a temperature above 0.
    """
    with np.errstate(over="ignore"):  # at a tiny temperature all but the likeliest go to -inf, as they should
        exponents = (logits - logits.max(axis=1, keepdims=True)) * np.float32(factor)
    powers = power_of_two(np.maximum(exponents, np.float32(-126)))
    return (powers * np.float32(ONE)).astype(np.uint64)


def keep_top_k(weights: Weights, k: int) -> Weights:
    """Return weights (B, V) with all but the k largest of each row set to 0; of equals lower ids are larger."""
    kept = np.zeros_like(weights)
    best = _ranked(weights)[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(weights, best, axis=1), axis=1)
    return kept


def keep_top_p(weights: Weights, p: float) -> Weights:
    """Return weights (B, V) with only the fewest of the largest kept whose sum is at least p of the whole."""
    kept = np.zeros_like(weights)
    order = _ranked(weights)
    sums = np.take_along_axis(weights, order, axis=1).cumsum(axis=1, dtype=np.uint64).astype(np.float64)
    needed = (sums < p * sums[:, -1:]).sum(axis=1) + 1
    for row, source, ids, count in zip(kept, weights, order, needed.tolist(), strict=True):
        row[ids[:count]] = source[ids[:count]]
    return kept


def keep_min_p(weights: Weights, p: float) -> Weights:
    """Return weights (B, V) with those below p times the largest possible one set to 0."""
    return np.where(weights.astype(np.float64) < p * ONE, np.uint64(0), weights)


def choose(weights: Weights, words: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Return the id that each row's random bits fall on: the lowest whose cumulative weight exceeds their share.

    Args:
        weights: (B, V), with a sum of each row above 0; a character of weight 0 is never drawn.
        words: (B,), each in [0, 2^64).
    """
    cumulative = weights.cumsum(axis=1, dtype=np.uint64)
    chosen = np.empty(len(weights), np.int32)
    for i, (sums, word) in enumerate(zip(cumulative, words.tolist(), strict=True)):
        chosen[i] = np.searchsorted(sums, np.uint64((word * int(sums[-1])) >> 64), side="right")
    return chosen


def draw(
    logits: Logits,
    sampling: Sampling,
    words: NDArray[np.uint64],
    recent: NDArray[np.int32],
    bias: Logits | None = None,
    counts: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Return the next id of each text.

    Args:
        logits: (B, V).
        sampling: How to draw.
        words: Random bits for each text, (B,).
        recent: The last ids of each text, (B, W), of which those that ``sampling`` asks for are looked at; -1 for none.
        bias: What is added to the logits, (V,) or (B, V); None: nothing.
        counts: How often each character was drawn before, (B, V), where ``sampling`` asks for it.

    Returns:
        Ids (B,).
    """
    if bias is not None:
        logits = logits + bias
    if sampling.repetition_penalty != 1:
        logits = penalize_recent(logits, recent[:, recent.shape[1] - sampling.window :], sampling.repetition_penalty)
    if sampling.counts and counts is not None:
        logits = penalize_counts(logits, counts, sampling)
    if sampling.temperature == 0:
        return np.asarray(logits.argmax(axis=1), np.int32)
    return choose(filtered(weigh(logits, inverse_temperature(sampling.temperature)), sampling), words)


def filtered(weights: Weights, sampling: Sampling) -> Weights:
    """Return the weights (B, V) that top-k, top-p and min-p leave."""
    if sampling.top_k is not None:
        weights = keep_top_k(weights, sampling.top_k)
    if sampling.top_p < 1:
        weights = keep_top_p(weights, sampling.top_p)
    return keep_min_p(weights, sampling.min_p) if sampling.min_p > 0 else weights


def _ranked(weights: Weights) -> NDArray[np.intp]:
    """Return the ids of each row from the largest weight to the smallest, of equals the lower first."""
    return np.argsort(np.uint64(ONE) - weights, axis=1, kind="stable")
