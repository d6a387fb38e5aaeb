import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError, UnknownCharacterError
from charloom.inference import sampling as s
from charloom.inference.generation_options import MAX_SEED, Ending, Sampling, check_seed
from support.errors import raises_code

LOGITS = np.log(np.array([[0.5, 0.25, 0.125, 0.125]])).astype(np.float32)
NONE = np.empty((1, 0), np.int32)
rows = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20).map(lambda x: np.array([x], np.float32))


def weights_of(*values):
    return np.array([values], np.uint64)


def one_draw(logits, sampling, word, recent=NONE, bias=None, counts=None):
    return int(s.draw(logits, sampling, np.array([word], np.uint64), recent, bias, counts)[0])


@given(rows, st.floats(0.05, 100))
def test_weights_are_the_softmax_at_a_temperature(logits, temperature):
    weights = s.weigh(logits, s.inverse_temperature(temperature))[0].astype(np.float64)
    exact = logits[0].astype(np.float64) / temperature
    expected = np.exp(exact - exact.max())
    # float32: relative errors of 2^-24 in the exponent (absolute value at most 87) and in the polynomial
    np.testing.assert_allclose(weights / 2.0**40, expected, rtol=2e-5, atol=2.0**-40)
    assert weights.max() == 2**40


@pytest.mark.parametrize(("share", "id"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (0.99, 3)])
def test_the_draw_inverts_the_cumulative_distribution(share, id):
    assert one_draw(LOGITS, Sampling(1.0), int(share * 2**64)) == id


def test_frequencies_match_the_probabilities():
    """A chi-square test with 3 degrees of freedom: 21.1 is its 0.9999 quantile; the seed is fixed."""
    count = 20_000
    words = s.random_words(np.array([11], np.uint64), 0, count)[0]
    drawn = s.draw(np.repeat(LOGITS, count, axis=0), Sampling(1.0), words, np.empty((count, 0), np.int32))
    expected = count * np.array([0.5, 0.25, 0.125, 0.125])
    observed = np.bincount(drawn, minlength=4)
    assert ((observed - expected) ** 2 / expected).sum() < 21.1


def test_temperature_zero_takes_the_most_probable_id_and_the_lowest_of_ties():
    logits = np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]], np.float32)
    words = np.array([2**63, 2**63], np.uint64)
    assert s.draw(logits, Sampling(0), words, np.empty((2, 0), np.int32)).tolist() == [1, 0]


@given(rows, st.floats(1e-300, 100), st.integers(0, 2**64 - 1))
def test_a_drawn_character_has_a_positive_weight(logits, temperature, word):
    weights = s.weigh(logits, s.inverse_temperature(temperature))
    assert weights[0, one_draw(logits, Sampling(temperature), word)] > 0


def test_weight_zero_is_never_drawn_even_with_extreme_random_words():
    for word, expected in ((0, 1), (2**63, 3), (2**64 - 1, 3)):
        assert s.choose(weights_of(0, 5, 0, 5, 0), np.array([word], np.uint64)).tolist() == [expected]


def test_filters_on_hand_computed_examples():
    weights = weights_of(10, 40, 30, 20)
    assert s.keep_top_k(weights, 2).tolist() == [[0, 40, 30, 0]]
    assert s.keep_top_k(weights_of(5, 5, 5), 2).tolist() == [[5, 5, 0]]  # ties: the lower ids
    assert s.keep_top_p(weights, 0.4).tolist() == [[0, 40, 0, 0]]  # the sum is exactly p
    assert s.keep_top_p(weights, 0.41).tolist() == [[0, 40, 30, 0]]
    assert s.keep_top_p(weights, 0.95).tolist() == weights.tolist()
    big = weights_of(2**40, 2**39, 2**38)
    assert s.keep_min_p(big, 0.5).tolist() == [[2**40, 2**39, 0]]
    assert s.keep_min_p(big, 1.0).tolist() == [[2**40, 0, 0]]


def test_ties_go_to_lower_ids():
    equals = np.full((2, 500), 2**30, np.uint64)
    for kept in (s.keep_top_k(equals, 7), s.keep_top_p(equals, 7 / 500)):
        assert kept[:, :7].all() and not kept[:, 7:].any()


@given(rows, st.integers(1, 20), st.floats(0.01, 1), st.floats(0, 1))
def test_filters_satisfy_their_definitions(logits, k, p, min_p):
    weights = s.weigh(logits, s.inverse_temperature(1.0))
    best = np.sort(weights[0])[::-1]
    assert np.sort(s.keep_top_k(weights, k)[0])[::-1][:k].tolist() == best[:k].tolist()
    kept = s.keep_top_p(weights, p)[0]
    total = float(weights.sum())
    assert kept.sum() >= p * total or math.isclose(kept.sum(), p * total)
    smallest = kept[kept > 0].min()
    assert kept.sum() - smallest < p * total  # minimal: without the smallest weight the sum is too low
    assert ((s.keep_min_p(weights, min_p)[0] > 0) == (weights[0] >= min_p * 2**40) & (weights[0] > 0)).all()
    filtered = s.filtered(weights, Sampling(1.0, top_k=k, top_p=p, min_p=min_p))
    assert filtered.max() == weights.max()  # the most probable character is always kept


def test_allowed_and_forbidden_characters():
    vocabulary = Vocabulary("abcd")
    allowed = s.allowed_bias(vocabulary, Sampling(allow="abc", forbid="b"))
    assert allowed.tolist() == [0, -np.inf, 0, -np.inf]
    for word in range(0, 2**64, 2**60):
        assert one_draw(LOGITS, Sampling(5.0), word, NONE, allowed) in (0, 2)
    assert s.allowed_bias(vocabulary, Sampling()) is None
    with raises_code("no_allowed_characters", SettingsError):
        s.allowed_bias(vocabulary, Sampling(forbid="abcd"))
    with pytest.raises(UnknownCharacterError):
        s.allowed_bias(vocabulary, Sampling(allow="z"))


def test_the_repetition_penalty_lowers_positive_and_negative_logits():
    logits = np.array([[2.0, -2.0, 1.0, -1.0]], np.float32)
    recent = np.array([[-1, 0, 1, 0]], np.int32)
    assert s.penalize_recent(logits, recent, 2.0).tolist() == [[1.0, -4.0, 1.0, -1.0]]
    assert logits[0, 0] == 2.0  # the input is not modified
    assert one_draw(logits, Sampling(0, repetition_penalty=4.0), 0, recent) == 2
    logits[0, 2] = 1.5
    for penalty, expected in ((1.0, 0), (1.3, 0), (1.4, 2), (2.0, 2)):  # compares 2 / penalty with 1.5
        assert one_draw(logits, Sampling(0, repetition_penalty=penalty), 0, recent) == expected


@given(st.integers(0, MAX_SEED), st.integers(0, 10**6), st.integers(1, 40))
def test_a_random_number_depends_only_on_seed_and_position(seed, position, count):
    expected = s.random_words(np.array([seed, 5], np.uint64), position, count)
    single = [s.random_words(np.array([seed], np.uint64), position + i, 1)[0, 0] for i in range(count)]
    assert expected[0].tolist() == single


def philox(counter, key):
    """Philox 4x64-10 as in the paper, with Python integers."""
    mask = 2**64 - 1
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(b >> 64) ^ counter[1] ^ key[0], b & mask, (a >> 64) ^ counter[3] ^ key[1], a & mask]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


@pytest.mark.parametrize("position", [0, 1, 1000])
def test_random_numbers_are_those_of_philox(position):
    expected = philox([position + 1, 0, 0, 0], [42, 0])[0]
    assert s.random_words(np.array([42], np.uint64), position, 1)[0, 0] == expected


def test_the_seed_of_a_sample_is_the_upper_half_of_a_philox_word():
    words = [philox([1 + k // 4, 0, 0, 0], [9, 1])[k % 4] for k in range(7)]
    for samples in (1, 2, 5, 8):
        assert s.sample_seeds(9, samples) == [9, *(word >> 32 for word in words)][:samples]


def test_the_seed_of_a_sample_does_not_depend_on_the_number_of_samples():
    assert s.sample_seeds(9, 1) == [9]
    assert s.sample_seeds(9, 3) == s.sample_seeds(9, 8)[:3]
    assert len(set(s.sample_seeds(9, 1000) + s.sample_seeds(10, 1000))) == 2000


INVALID = [
    *[("temperature", value) for value in (-0.1, 100.1, math.nan, math.inf)],
    *[("top_k", value) for value in (0, -1, 1.5, True)],
    *[("top_p", value) for value in (0, -0.1, 1.1, math.nan)],
    *[("min_p", value) for value in (-0.1, 1.1)],
    *[("repetition_penalty", value) for value in (0, -1, 101, math.inf)],
    *[("repetition_window", value) for value in (0, 5000)],
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_values_out_of_range_are_rejected(name, value):
    reported = value if math.isfinite(value) else repr(value)
    with raises_code("invalid_setting", SettingsError, name=name, value=reported):
        replace(Sampling(), **{name: value})


@pytest.mark.parametrize("ending", [{"stop": ("a", "")}, {"max_lines": 0}])
def test_invalid_stop_conditions_are_rejected(ending):
    with raises_code("invalid_setting", SettingsError, name=next(iter(ending))):
        Ending(**ending)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.0, True])
def test_seeds_out_of_range_are_rejected(seed):
    with raises_code("invalid_setting", SettingsError, name="seed", value=seed, minimum=0, maximum=MAX_SEED):
        check_seed(seed)
