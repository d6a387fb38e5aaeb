"""The rules with which the recipe auto adapts settings to a task."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.planning.cost import memory_bytes, step_operations
from charloom.planning.heuristics import (
    MAX_EPOCHS,
    Task,
    adapt_settings,
    cap_steps_for_overfitting,
    expected_bits,
    expected_epochs,
    limit_held_out,
)
from charloom.planning.schedule import steps_per_epoch
from charloom.planning.settings import Notices, Settings


def adapted(settings, task, fixed=()):
    """Return adapted settings and notices."""
    notices = Notices()
    return adapt_settings(settings, task, fixed, notices), list(notices)


TASKS = st.builds(
    Task, characters=st.integers(40, 10**8), vocabulary_size=st.integers(1, 20_000), speed=st.floats(1e9, 1e14)
)
MINUTES = st.floats(0.1, 1000)


@given(TASKS, MINUTES)
def test_every_task_gets_a_valid_plan(task, minutes):
    settings, _ = adapted(Settings(minutes=minutes), task, {"minutes"})
    assert steps_per_epoch(settings, task.characters) >= 1
    assert settings.minutes == minutes


@given(TASKS)
def test_default_length_is_between_20_seconds_and_20_minutes(task):
    settings, _ = adapted(Settings(), task)
    assert 1 / 3 <= settings.minutes <= 20


@given(TASKS, MINUTES, MINUTES)
def test_more_time_never_gives_a_smaller_model(task, a, b):
    sizes = [adapted(Settings(minutes=m), task, {"minutes"})[0] for m in sorted((a, b))]
    (small, large) = [(s.num_layers, s.hidden_size) for s in sizes]
    assert small <= large


@given(TASKS, MINUTES)
def test_fixed_settings_are_not_adapted(task, minutes):
    chosen = {"hidden_size": 77, "dropout_output": 0.25, "batch_size": 1}
    settings, _ = adapted(Settings(minutes=minutes).with_values(chosen), task, {"minutes", *chosen})
    assert {name: getattr(settings, name) for name in chosen} == chosen


@pytest.mark.parametrize("length", [{"steps": 500}, {"epochs": 3}])
def test_plan_for_steps_or_epochs_does_not_depend_on_speed(length):
    base = Settings().with_values(length)
    plans = {adapted(base, Task(10**6, 65, speed), set(length))[0] for speed in (1e9, 1e12)}
    assert len(plans) == 1


def test_epochs_on_a_short_text_are_capped_with_a_notice():
    notices = Notices()
    assert cap_steps_for_overfitting(1000, 100, 50_000, notices) == 1000 and not len(notices)
    assert cap_steps_for_overfitting(10_000, 100, 50_000, notices) == MAX_EPOCHS * 100
    (notice,) = notices
    assert notice.code == "epochs_limited"
    assert notice.data == {"characters": 50_000, "epochs": MAX_EPOCHS, "epochs_in_time": 100.0}


def test_short_text_gets_fewer_streams_and_more_regularization():
    short, notices = adapted(Settings(minutes=20), Task(2_000, 49), {"minutes"})
    (limited,) = [notice for notice in notices if notice.code == "streams_limited"]
    assert limited.data["batch_size"] == short.batch_size < Settings().batch_size == limited.data["default"]
    long, _ = adapted(Settings(minutes=20), Task(2_000_000, 49), {"minutes"})
    assert short.weight_decay > long.weight_decay and short.dropout_output > long.dropout_output


def test_long_text_gets_no_dropout():
    settings, notices = adapted(Settings(minutes=5), Task(60_000_000, 100), {"minutes"})
    assert expected_epochs(settings, Task(60_000_000, 100)) < 1
    assert settings.dropout_output == settings.dropout_hidden == 0 and not notices


def test_large_vocabulary_gets_smaller_batches_with_a_notice():
    settings, notices = adapted(Settings(), Task(10**6, 5387))
    assert (settings.batch_size, settings.seq_length) == (16, 16)
    assert notices[0].code == "large_vocabulary" and notices[0].data["vocabulary_size"] == 5387
    settings, notices = adapted(Settings(), Task(10**6, 5387), {"batch_size"})
    assert (settings.batch_size, settings.seq_length) == (32, 16)
    assert "batch_size" not in notices[0].data["settings"] and "batch_size" not in notices[0]
    assert not adapted(Settings(), Task(10**6, 999))[1]


def test_held_out_part_of_a_long_text_is_limited():
    base, unchanged = Settings(), Notices()
    assert limit_held_out(base, 3_000_000, 65, (), unchanged) == base
    assert limit_held_out(base, 1_000_000, 5387, (), unchanged) == base
    for characters, alphabet, maximum in ((60_000_000, 65, 300_000), (60_000_000, 3290, 100_000)):
        notices = Notices()
        settings = limit_held_out(base, characters, alphabet, (), notices)
        (notice,) = notices
        assert settings.val_fraction * characters == pytest.approx(maximum)
        assert notice.code == "held_out_text_limited"
        assert notice.data == {"held_out": maximum, "val_fraction": settings.val_fraction}
        assert limit_held_out(base, characters, alphabet, {"val_fraction"}, unchanged) == base
    assert limit_held_out(Settings(val_fraction=0), 10**9, 65, (), unchanged) == Settings(val_fraction=0)
    assert not len(unchanged)


def test_step_operations_count_the_matrix_products():
    """One GRU layer, adamw: 6 * 3 H^2 per character for the state, 6 H V for the output, V input projections."""
    settings = Settings(optimizer="adamw", hidden_size=10, embedding_size=4, batch_size=7, seq_length=11)
    products = 6 * (77 * 3 * 10 * 10 + 77 * 10 * 5 + 5 * 4 * 30)
    assert step_operations(settings, 5) == products
    dropped = Settings(**{**settings.to_dict(), "dropout_input": 0.1})  # one input projection per position
    assert step_operations(dropped, 5) == products + 6 * (77 - 5) * 4 * 30
    two = Settings(**{**settings.to_dict(), "num_layers": 2, "cell": "lstm"})
    assert step_operations(two, 5) == 6 * (77 * 3 * 4 * 10 * 10 + 77 * 10 * 5 + 5 * 4 * 40)


def test_memory_grows_with_the_model_and_the_batch():
    small = memory_bytes(Settings(), 65)
    assert memory_bytes(Settings(hidden_size=1024), 65) > small < memory_bytes(Settings(batch_size=512), 65)


@given(st.floats(0.01, 10), st.floats(1, 3), st.floats(15_000, 1e12))
def test_expected_bits_is_a_range_between_the_baselines(ngrams, ratio, read):
    low, high = expected_bits(ngrams, ratio * ngrams, read)
    assert 0 <= low <= high < 1.2 * ratio * ngrams / math.log(2)


def test_expected_bits_fall_with_characters_read():
    rows = [expected_bits(1.6, 3.2, read)[0] for read in (2e4, 1e5, 3e5, 1e6, 1e7, 1e8)]
    assert rows == sorted(rows, reverse=True) and rows[0] > rows[-1]


def test_no_loss_is_expected_of_a_training_that_is_shorter_than_all_that_were_measured():
    assert expected_bits(1.6, 3.2, 14_000) is None


@pytest.mark.parametrize(("ngrams", "unigram", "read", "bits"), [
    (1.5500, 2.9888, 122_999, 3.16), (1.5500, 2.9888, 512_497, 2.38), (2.0245, 3.1936, 513_383, 2.71),
    (1.5309, 3.2293, 61_460, 4.00),
])  # fmt: skip
def test_measured_losses_are_in_the_expected_range(ngrams, unigram, read, bits):
    """Walden, Poe's poems and Anna Karenina, each trained for up to 500 steps."""
    low, high = expected_bits(ngrams, unigram, read)
    assert low <= bits <= high


def test_steps_of_a_recipe_are_not_replaced_by_minutes():
    settings, _ = adapted(Settings(steps=7, minutes=0), Task(10**6, 65))
    assert (settings.steps, settings.minutes) == (7, 0)
