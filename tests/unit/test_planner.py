import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charloom.errors import CorpusError, SettingsError
from charloom.planning.heuristics import MAX_EPOCHS, Task
from charloom.planning.recipes import RECIPES
from charloom.planning.schedule import (
    Measurements,
    check_window,
    make_plan,
    plan_training,
    steps_in_time,
    steps_per_epoch,
)
from charloom.planning.settings import Notices, Settings
from support.errors import raises_code


def test_tutorial_epoch_has_172_batches():
    assert steps_per_epoch(RECIPES["tutorial-gru"].settings, 1_115_394) == 172


@given(st.integers(2, 20_000), st.integers(1, 200), st.integers(1, 64), st.sampled_from(["streams", "windows"]))
def test_steps_per_epoch_covers_the_text(characters, seq_length, batch_size, batching):
    settings = Settings(seq_length=seq_length, batch_size=batch_size, batching=batching)
    try:
        steps = steps_per_epoch(settings, characters)
    except (CorpusError, SettingsError):
        assert characters <= batch_size * (seq_length + 1)
        return
    per_window = seq_length + (batching == "windows")
    read = steps * batch_size * per_window
    assert steps >= 1 and read <= characters < read + batch_size * per_window + per_window + 1


def test_text_shorter_than_a_window_raises():
    with raises_code("text_shorter_than_window", CorpusError, characters=32, seq_length=32):
        check_window(Settings(), 32)


def test_text_shorter_than_a_batch_raises():
    with raises_code("text_shorter_than_batch", SettingsError, windows=62, seq_length=32, batch_size=64):
        steps_per_epoch(Settings(batch_size=64), 2000)


@given(st.integers(66, 10**6), st.integers(1, 10**6), st.sampled_from(list(RECIPES)))
def test_make_plan_resolves_length_and_intervals(characters, steps, recipe):
    settings = RECIPES[recipe].settings
    assume(characters > 64 * 101)
    plan = make_plan(settings, characters, steps)
    s = plan.settings
    assert (s.steps, s.epochs, s.minutes) == (steps, 0, 0)
    assert s.eval_every >= 1 and steps / s.eval_every <= 24 + (s.val_fraction == 0) * steps
    assert s.checkpoint_every % plan.steps_per_epoch == 0
    assert steps / s.checkpoint_every <= 50
    if steps <= 50 * plan.steps_per_epoch:
        assert s.checkpoint_every == plan.steps_per_epoch


def test_steps_in_time_includes_evaluations():
    assert steps_in_time(60, 0.5, 0.5) == 108  # 60 s minus 12 evaluations of 0.5 s
    assert steps_in_time(60, 0.5, 1.0) == 108  # 6 evaluations of 1 s take a tenth of 60 s
    assert steps_in_time(60, 0.5, 10.0) == 60  # at least 3 evaluations
    assert steps_in_time(60, 0.5, 0.0) == 120
    assert steps_in_time(1, 0.5, 1.0) == 1
    assert steps_in_time(60, 0.5, 10.0, eval_every=20) == 60  # each step also takes 1/20 of an evaluation


def test_plan_training_converts_minutes_to_steps():
    """57 s remain of 60 s: 12 evaluations of 0.1 s, and steps of 0.5 s."""
    measured = Measurements(4.0, evaluation_seconds=0.1, step_seconds=0.5, elapsed_seconds=3.0)
    plan = plan_training(Settings(minutes=1.0), Task(10**6, 65), measured, ngram_loss=1.6)
    assert plan.steps == int((57 - 12 * 0.1) / 0.5) and plan.steps_per_epoch == steps_per_epoch(Settings(), 10**6)
    assert plan.seconds == pytest.approx(3.0 + plan.steps * (0.5 + 0.1 / plan.settings.eval_every))
    assert plan.expected_bits[0] < plan.expected_bits[1]
    assert (plan.settings.minutes, plan.settings.steps) == (0, plan.steps)


@pytest.mark.parametrize(("length", "steps"), [({"steps": 70}, 70), ({"epochs": 2}, 2 * (10**6 - 1) // 1024)])
def test_plan_training_without_minutes_needs_no_measurements(length, steps):
    plan = plan_training(Settings().with_values(length), Task(10**6, 65), Measurements())
    assert plan.steps == pytest.approx(steps, abs=1) and plan.seconds is None and plan.expected_bits is None


def test_plan_training_caps_epochs_only_if_allowed():
    task, measured = Task(20_000, 65), Measurements(step_seconds=0.001)
    capped = plan_training(Settings(minutes=5.0), task, measured, may_cap_steps=True)
    assert capped.steps == MAX_EPOCHS * capped.steps_per_epoch and capped.notices[0].code == "epochs_limited"
    assert plan_training(Settings(minutes=5.0), task, measured).steps > capped.steps


def test_plan_appends_its_notices():
    plan = make_plan(Settings(), 10**6, 100, Notices(["first"]))
    first, second = plan.notices
    assert first == "first"
    assert (second.code, second.data) == ("warmup_shortened", {"warmup_steps": 10, "default": 50})


def test_a_plan_for_a_time_has_steps_enough_to_change():
    """The machine may be slow only while it is measured."""
    assert plan_training(Settings(minutes=0.1), Task(10**6, 65), Measurements(step_seconds=10.0)).steps == 20
