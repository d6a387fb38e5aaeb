"""Sample the next character from logits. This module is the reference of the native engine.

The steps are pure functions, applied in this order: bias, repetition penalty, presence and frequency penalty,
temperature, top-k, top-p, min-p, draw. From the temperature step on, a distribution is represented by integer weights,
the largest of which is 2^40. Sums of integers do not depend on their order, so every engine draws the same character
from the same logits.

Random numbers come from the counter-based generator Philox. The random number for a position of a text depends only on
the seed of the text and on the position. The same seed therefore gives the same text in any batch and with any chunk
size.
"""

import math

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.data.vocabulary.unknown import UnknownCharacters
from charloom.errors import SettingsError
from charloom.inference.engines.int8_reference import power_of_two
from charloom.inference.generation_options import Sampling, check_seed

Logits = NDArray[np.float32]
Weights = NDArray[np.uint64]

ONE = 2.0**40
"""Weight of the most probable character."""


def sample_seeds(seed: int, samples: int) -> list[int]:
    """Derive the seed of each sample; the first sample has ``seed`` itself.

    The seed of a sample does not depend on the number of samples. Generating a single text with that seed gives the
    same text.

    Args:
        seed: Seed, in [0, 2**53 - 1].
        samples: Number of samples, 1 or more.
    """
    seed = check_seed(seed)
    if samples == 1:
        return [seed]  # saves 0.1 s: the import of NumPy's generators
    words = np.random.Philox(key=[seed, 1]).random_raw(samples - 1)
    return [seed, *(int(word) >> 32 for word in words.tolist())]


def random_words(seeds: NDArray[np.uint64], positions: NDArray[np.uint64] | int, count: int) -> NDArray[np.uint64]:
    """Return 64 random bits for each of the positions ``position`` to ``position + count - 1`` of each text.

    Each word is the first of the four words that Philox 4x64 generates for the counter ``position + 1`` and the key
    (seed, 0).

    Args:
        seeds: Seed of each text, (B,).
        positions: Number of characters already sampled: one for each text, (B,), or one for all.
        count: Number of positions, 0 or more.

    Returns:
        Random words, (B, count).

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    each = zip(seeds.tolist(), np.broadcast_to(positions, len(seeds)).tolist(), strict=True)
    rows = [np.random.Philox(key=[seed, 0], counter=position).random_raw(4 * count)[::4] for seed, position in each]
    return np.array(rows, np.uint64).reshape(len(seeds), count)


def allowed_bias(vocabulary: Vocabulary, sampling: Sampling) -> Logits | None:
    """Return the bias of ``allow`` and ``forbid`` on the logits, (V,): 0 or minus infinity; None if all are allowed.

    Raises:
        UnknownCharacterError: If an allowed or forbidden character is not in the vocabulary.
        SettingsError: If no character is left.
    """
    if sampling.allow is None and sampling.forbid is None:
        return None
    allowed = np.full(len(vocabulary), sampling.allow is None)
    for name, is_allowed in (("allow", True), ("forbid", False)):
        characters = getattr(sampling, name) or ""
        if vocabulary.unknown(characters):
            found = UnknownCharacters(vocabulary, f"option {name}")
            found.add(characters)
            raise found.error()
        allowed[vocabulary.encode(characters)] = is_allowed
    if not allowed.any():
        raise SettingsError(
            "allow and forbid leave no character to sample. Allow at least one character that is not forbidden.",
            code="no_allowed_characters",
        )
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


def penalize_counts(logits: Logits, counts: NDArray[np.int32], sampling: Sampling) -> Logits:
    """Apply the presence and frequency penalty to logits (B, V).

    Args:
        logits: Logits, (B, V).
        counts: Number of times each character was generated, (B, V).
        sampling: Sampling options.

    Source: OpenAI's API reference, "presence_penalty" and "frequency_penalty".
    """
    presence, frequency = np.float32(sampling.presence_penalty), np.float32(sampling.frequency_penalty)
    return np.where(counts > 0, logits - (presence + frequency * counts.astype(np.float32)), logits)


def penalize_recent(logits: Logits, recent: NDArray[np.int32], penalty: float) -> Logits:
    """Apply the repetition penalty to logits (B, V) for the recent ids (B, W); an id of -1 means none."""
    changed, factor = logits.copy(), np.float32(penalty)
    for row, ids in zip(changed, recent, strict=True):
        seen = np.unique(ids[ids >= 0])
        row[seen] = np.where(row[seen] > 0, row[seen] / factor, row[seen] * factor)
    return changed


def inverse_temperature(temperature: float) -> float:
    """Return log2(e) / temperature as float32: the factor that turns differences of logits into exponents of 2.

    Args:
        temperature: Temperature, in [0, 100]. For 0 the result is 0, which means greedy decoding.
    """
    return float(np.float32(min(math.log2(math.e) / temperature, 3e38))) if temperature > 0 else 0.0


def weigh(logits: Logits, factor: float) -> Weights:
    """Convert logits to integer weights proportional to the probabilities.

    The most probable character has weight 2^40. A character less than 2^-40 times as probable has weight 0.

    Args:
        logits: Logits, (B, V), with at least one finite value in each row.
        factor: ``inverse_temperature`` of a temperature above 0.

    Returns:
        Weights, (B, V).
    """
    with np.errstate(over="ignore"):  # at a tiny temperature all exponents but the largest become -inf, as intended
        exponents = (logits - logits.max(axis=1, keepdims=True)) * np.float32(factor)
    powers = power_of_two(np.maximum(exponents, np.float32(-126)))
    return (powers * np.float32(ONE)).astype(np.uint64)


def keep_top_k(weights: Weights, k: int) -> Weights:
    """Set all but the k largest weights of each row (B, V) to 0; ties go to lower ids."""
    kept = np.zeros_like(weights)
    best = _descending(weights)[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(weights, best, axis=1), axis=1)
    return kept


def keep_top_p(weights: Weights, p: float) -> Weights:
    """Keep the fewest largest weights of each row (B, V) whose sum is at least p times the row's total."""
    kept = np.zeros_like(weights)
    order = _descending(weights)
    sums = np.take_along_axis(weights, order, axis=1).cumsum(axis=1, dtype=np.uint64).astype(np.float64)
    counts = (sums < p * sums[:, -1:]).sum(axis=1) + 1
    for row, source, ids, count in zip(kept, weights, order, counts.tolist(), strict=True):
        row[ids[:count]] = source[ids[:count]]
    return kept


def keep_min_p(weights: Weights, p: float) -> Weights:
    """Set weights (B, V) below p times the weight of the most probable character to 0."""
    return np.where(weights.astype(np.float64) < p * ONE, np.uint64(0), weights)


def choose(weights: Weights, words: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Draw an id for each row by inverting the cumulative weights at (random word / 2^64) of the total.

    Args:
        weights: Weights, (B, V), not all 0 in a row. A character of weight 0 is never drawn.
        words: Random words, (B,), each in [0, 2^64).
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
    """Sample the next id of each text.

    Args:
        logits: Logits, (B, V).
        sampling: Sampling options.
        words: Random word for each text, (B,).
        recent: The last ids of each text, (B, W), W >= ``sampling.window``; -1 before the beginning of a text.
        bias: Bias on the logits, (V,) or (B, V); None for no bias.
        counts: Number of times each character was generated, (B, V); required if ``sampling.counts``.

    Returns:
        Ids, (B,).
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
    """Apply top-k, top-p and min-p to weights (B, V)."""
    if sampling.top_k is not None:
        weights = keep_top_k(weights, sampling.top_k)
    if sampling.top_p < 1:
        weights = keep_top_p(weights, sampling.top_p)
    return keep_min_p(weights, sampling.min_p) if sampling.min_p > 0 else weights


def _descending(weights: Weights) -> NDArray[np.intp]:
    """Return the ids of each row in descending order of weight, ties in ascending order of id."""
    return np.argsort(np.uint64(ONE) - weights, axis=1, kind="stable")
