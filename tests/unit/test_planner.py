import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charloom.errors import CorpusError, SettingsError
from charloom.planning.recipes import RECIPES
from charloom.planning.schedule import check_window, make_plan, steps_in_time, steps_per_epoch
from charloom.planning.settings import Settings


def test_the_tutorials_epoch_has_172_batches():
    assert steps_per_epoch(RECIPES["tutorial-gru"].settings, 1_115_394) == 172


@given(st.integers(2, 20_000), st.integers(1, 200), st.integers(1, 64), st.sampled_from(["streams", "windows"]))
def test_an_epoch_reads_what_fits_and_no_more(characters, seq_length, batch_size, batching):
    settings = Settings(seq_length=seq_length, batch_size=batch_size, batching=batching)
    try:
        steps = steps_per_epoch(settings, characters)
    except (CorpusError, SettingsError):
        assert characters <= batch_size * (seq_length + 1)
        return
    per_window = seq_length + (batching == "windows")
    read = steps * batch_size * per_window
    assert steps >= 1 and read <= characters < read + batch_size * per_window + per_window + 1


def test_a_text_shorter_than_a_window_is_refused_with_what_is_needed():
    with pytest.raises(CorpusError, match="32 characters, fewer than one window: seq_length 32"):
        check_window(Settings(), 32)


def test_asked_for_batches_that_do_not_fit_are_refused_not_shrunk():
    with pytest.raises(SettingsError, match="fewer than batch_size 64"):
        steps_per_epoch(Settings(batch_size=64), 2000)


@given(st.integers(66, 10**6), st.integers(1, 10**6), st.sampled_from(list(RECIPES)))
def test_a_plan_is_resolved(characters, steps, recipe):
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


def test_a_time_holds_steps_and_evaluations():
    assert steps_in_time(60, 0.5, 0.5) == 108  # 60 s less 12 evaluations of half a second
    assert steps_in_time(60, 0.5, 1.0) == 108  # 6 evaluations of 1 s are a tenth of 60 s
    assert steps_in_time(60, 0.5, 10.0) == 60  # there are never fewer than 3
    assert steps_in_time(60, 0.5, 0.0) == 120
    assert steps_in_time(1, 0.5, 1.0) == 1
    assert steps_in_time(60, 0.5, 10.0, eval_every=20) == 60  # each step costs a twentieth of an evaluation more
