import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training.batches import make_batches
from charloom.training.batches.base import Position
from charloom.training.batches.windows import shuffled_order

IDS = np.arange(1000, dtype=np.uint16)  # each id is its position, so batches show which positions were read


def settings(batching, **values):
    return Settings(batching=batching, seq_length=10, batch_size=4, shuffle_buffer=20).with_values(values)


both_batchings = pytest.mark.parametrize("batching", ["streams", "windows"])


@both_batchings
def test_targets_are_shifted_inputs(batching):
    batches = make_batches(IDS, settings(batching))
    for _ in range(60):
        batch = next(batches)
        assert batch.inputs.shape == batch.targets.shape == (4, 10)
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)
        np.testing.assert_array_equal(np.diff(batch.inputs), 1)


def test_streams_are_contiguous_within_an_epoch():
    batches = make_batches(IDS, settings("streams"))
    before = next(batches)
    assert before.resets_state
    starts = set()
    for batch in (next(batches) for _ in range(200)):
        if batch.index == 0:
            assert batch.resets_state and before.ends_epoch and batch.epoch == before.epoch + 1
            starts.add(int(batch.inputs[0, 0]))
        else:
            assert not batch.resets_state and not before.ends_epoch
            np.testing.assert_array_equal(batch.inputs[:, 0], before.inputs[:, -1] + 1)
        before = batch
    assert len(starts) > 3  # each epoch draws the start of the first stream


def test_stream_epoch_covers_the_text_without_repeats():
    batches = make_batches(IDS, settings("streams"))
    read = np.concatenate([next(batches).inputs.ravel() for _ in range(batches.batches_per_epoch)])
    assert len(np.unique(read)) == len(read) > len(IDS) - 1 - 4 * 10


def test_window_epochs_have_different_orders():
    batches = make_batches(IDS, settings("windows"))
    epochs = []
    for _ in range(2):
        epochs.append([int(row[0]) for _ in range(batches.batches_per_epoch) for row in next(batches).inputs])
    for starts in epochs:
        assert len(set(starts)) == len(starts) == 88  # 90 windows of 11, in batches of 4
        assert all(start % 11 == 0 for start in starts)
    assert epochs[0] != epochs[1] != sorted(epochs[1])


def test_shuffle_once_repeats_the_order():
    batches = make_batches(IDS, settings("windows", shuffle="once"))
    epochs = [[next(batches).inputs.tolist() for _ in range(batches.batches_per_epoch)] for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] != sorted(epochs[0])
    again = make_batches(IDS, settings("windows"))
    assert [next(again).inputs.tolist() for _ in range(batches.batches_per_epoch)] == epochs[0]


@both_batchings
@pytest.mark.parametrize(("reset", "at"), [("never", {0}), ("epoch", {0, 22, 44}), ("window", set(range(50)))])
def test_reset_state_setting(batching, reset, at):
    if batching == "streams":
        at = {place // 22 * 24 if reset == "epoch" else place for place in at}
    batches = make_batches(IDS, settings(batching, reset_state=reset))
    assert {i for i in range(50) if next(batches).resets_state} == at


@both_batchings
@given(skipped=st.integers(0, 70), seed=st.integers(0, 9))
def test_position_can_be_saved_and_restored(batching, skipped, seed):
    first = make_batches(IDS, settings(batching, seed=seed))
    for _ in range(skipped):
        next(first)
    second = make_batches(IDS, settings(batching, seed=seed))
    second.position = Position(first.position.epoch, first.position.index)
    for _ in range(30):
        a, b = next(first), next(second)
        np.testing.assert_array_equal(a.inputs, b.inputs)
        assert (a.epoch, a.index, a.ends_epoch) == (b.epoch, b.index, b.ends_epoch)


@both_batchings
def test_different_seeds_give_different_orders(batching):
    a, b = (make_batches(IDS, settings(batching, seed=seed)) for seed in (1, 2))
    assert any((next(a).inputs != next(b).inputs).any() for _ in range(5))


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 99))
def test_shuffle_buffer_is_a_bounded_permutation(count, size, seed):
    order = shuffled_order(count, size, np.random.default_rng(seed))
    assert sorted(order) == list(range(count))
    assert all(
        item < given + size for given, item in enumerate(order)
    )  # item i enters the buffer after i - size items have left


def test_large_shuffle_buffer_is_uniform():
    """Each of 5 items comes first in about 400 of 2,000 orders (binomial, sd 17.9; tolerance 5 sd)."""
    first = [shuffled_order(5, 9, np.random.default_rng(seed))[0] for seed in range(2000)]
    assert (abs(np.bincount(first, minlength=5) - 400) < 90).all()


def test_windows_equal_those_of_the_tutorial(shakespeare):
    recipe = RECIPES["tutorial-gru"].settings
    ids = shakespeare.vocabulary.encode(shakespeare.text)
    batches = make_batches(ids, recipe)
    assert (len(batches.windows), batches.batches_per_epoch) == (11_043, 172)
    first = shakespeare.vocabulary.decode(batches.windows[0])
    assert len(first) == 101 and first.endswith("First Citizen:\nYou ")
    assert next(batches).inputs.shape == (64, 100)
