import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import SettingsError
from charloom.runtime.options import MAX_SEED, Sampling, check_seed
from charloom.runtime.sampling import draw, probabilities, sample_seeds, uniforms

LOGITS = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))


def test_probabilities_are_the_softmax_at_a_temperature():
    np.testing.assert_allclose(probabilities(LOGITS, 1.0), [[0.5, 0.25, 0.125, 0.125]], rtol=1e-14)
    squared = np.array([0.25, 0.0625, 0.015625, 0.015625])  # temperature 1/2 squares them
    np.testing.assert_allclose(probabilities(LOGITS, 0.5), [squared / squared.sum()], rtol=1e-14)


@pytest.mark.parametrize(("number", "id"), [(0.0, 0), (0.49, 0), (0.5, 1), (0.74, 1), (0.76, 2), (0.99, 3)])
def test_the_draw_inverts_the_cumulative_distribution(number, id):
    assert draw(LOGITS, Sampling(1.0), np.array([number])).tolist() == [id]


def test_frequencies_are_the_probabilities():
    """A chi-square test over 3 degrees of freedom: 21.1 is exceeded once in 10,000 runs; the seed is fixed."""
    count = 20_000
    numbers = uniforms(np.array([11], np.uint64), 0, count)[0]
    drawn = draw(np.repeat(LOGITS, count, axis=0), Sampling(1.0), numbers)
    expected = count * probabilities(LOGITS, 1.0)[0]
    observed = np.bincount(drawn, minlength=4)
    assert ((observed - expected) ** 2 / expected).sum() < 21.1


def test_temperature_zero_takes_the_likeliest_and_the_lowest_of_equals():
    logits = np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]])
    assert draw(logits, Sampling(0), np.array([0.99, 0.99])).tolist() == [1, 0]


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20), st.floats(1e-300, 100), st.floats(0, 1, exclude_max=True)
)
def test_a_draw_is_always_a_character_that_has_a_probability(logits, temperature, number):
    row = np.array([logits], np.float32)
    drawn = int(draw(row, Sampling(temperature), np.array([number]))[0])
    assert probabilities(row, temperature)[0, drawn] > 0


def test_a_character_that_cannot_come_never_comes_even_at_the_last_number():
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]])
    for number, expected in ((0.0, 1), (0.5, 3), (1 - 2**-53, 3)):
        assert draw(logits, Sampling(1.0), np.array([number])).tolist() == [expected]


@given(st.integers(0, MAX_SEED), st.integers(0, 10**6), st.integers(1, 40))
def test_a_number_depends_on_seed_and_position_alone(seed, position, count):
    seeds = np.array([seed, 5], np.uint64)
    together = uniforms(seeds, position, count)
    alone = [uniforms(seeds[:1], position + i, 1)[0, 0] for i in range(count)]
    assert together[0].tolist() == alone
    assert (together >= 0).all() and (together < 1).all()


def philox(counter, key):
    """Philox 4x64-10, from the paper, in Python's whole numbers."""
    mask = 2**64 - 1
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(b >> 64) ^ counter[1] ^ key[0], b & mask, (a >> 64) ^ counter[3] ^ key[1], a & mask]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


@pytest.mark.parametrize("position", [0, 1, 1000])
def test_the_numbers_are_philoxs(position):
    expected = (philox([position + 1, 0, 0, 0], [42, 0])[0] >> 11) * 2.0**-53
    assert uniforms(np.array([42], np.uint64), position, 1)[0, 0] == expected


def test_a_samples_seed_does_not_depend_on_how_many_there_are():
    assert sample_seeds(9, 1) == [9]
    assert sample_seeds(9, 3) == sample_seeds(9, 8)[:3]
    assert len(set(sample_seeds(9, 1000) + sample_seeds(10, 1000))) == 2000


@pytest.mark.parametrize("temperature", [-0.1, 100.1, math.nan, math.inf])
def test_temperatures_out_of_range_are_refused(temperature):
    with pytest.raises(SettingsError, match="from 0 to 100"):
        Sampling(temperature)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.0, True])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(SettingsError, match="seed must be"):
        check_seed(seed)
