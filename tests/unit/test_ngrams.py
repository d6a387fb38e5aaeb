"""The n-gram baseline, against a reference implementation with dictionaries."""

import math
from collections import Counter

import numpy as np
import pytest

from charloom.data.baselines import ngram_loss


def reference_loss(training, evaluated, size, longest, discount=0.8):
    """Return the lowest loss of interpolated absolute discounting with contexts of 0 to ``longest`` characters."""
    text = [*training, *evaluated]
    losses = []
    for order in range(longest + 1):
        counts = [Counter(tuple(training[i - k : i + 1]) for i in range(k, len(training))) for k in range(order + 1)]
        contexts = [Counter() for _ in counts]
        distinct = [Counter() for _ in counts]
        for k, grams in enumerate(counts):
            for gram, count in grams.items():
                contexts[k][gram[:-1]] += count
                distinct[k][gram[:-1]] += 1
        total = 0.0
        for i in range(len(training), len(text)):
            p = 1 / size
            for k in range(order + 1):
                gram = tuple(text[i - k : i + 1])
                if contexts[k][gram[:-1]]:
                    mass = max(counts[k][gram] - discount, 0) + discount * distinct[k][gram[:-1]] * p
                    p = mass / contexts[k][gram[:-1]]
            total -= math.log(p)
        losses.append(total / len(evaluated))
    return min(losses)


@pytest.mark.parametrize("size", [3, 20])
def test_ngram_loss_is_interpolated_absolute_discounting(size):
    rng = np.random.default_rng(3)
    ids = np.cumsum(rng.integers(0, 3, 3000)) % size
    training, evaluated = ids[:2500].astype(np.uint16), ids[2500:].astype(np.uint16)
    # the results differ only in contexts that extend before the start of the text
    assert ngram_loss(training, evaluated, size) == pytest.approx(
        reference_loss(training, evaluated, size, 6), abs=2e-3
    )


def test_the_loss_of_a_repeating_text_is_close_to_zero():
    ids = np.array(list(range(10)) * 500, np.uint8)
    assert ngram_loss(ids[:4000], ids[4000:], 10) < 0.02


def test_the_loss_of_random_text_is_at_most_the_uniform_baseline():
    ids = np.random.default_rng(0).integers(0, 50, 4000).astype(np.uint8)
    assert ngram_loss(ids[:2000], ids[2000:], 50) <= math.log(50)


def test_the_loss_on_tiny_shakespeare_is_slightly_above_that_of_a_trained_model(shakespeare):
    ids = shakespeare.vocabulary.encode(shakespeare.text)
    split = len(ids) * 9 // 10
    assert 1.5 < ngram_loss(ids[:split], ids[split:], 65) < 1.7
