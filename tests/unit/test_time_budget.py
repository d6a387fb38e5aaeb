from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import SettingsError
from charloom.planning.plan_changes import PlanChange, format_changes, parse_changes, schedule_position
from charloom.planning.settings import Settings
from charloom.training.optim.schedules import learning_rate_at
from charloom.training.time_budget import TimeBudget
from support.errors import raises_code


class Machine:
    """A simulated training: steps and evaluations that take longer or shorter after a change of speed."""

    def __init__(self, seconds, step, pause, closing, factor, change_at, jitter, stall_at=2.0):
        self.now, self.seconds = 0.0, seconds
        self.step_seconds, self.pause, self.closing = step, pause, closing
        self.factor, self.change_at = factor, change_at
        self.jitter = jitter
        self.stall = (stall_at * seconds, stall_at * seconds + 1.5)  # 1.5 s in which everything is 30 times slower

    def spend(self, seconds):
        if self.stall[0] <= self.now < self.stall[1]:
            seconds *= 30
        before = min(seconds, max(0.0, self.change_at * self.seconds - self.now))
        spent = before + (seconds - before) * self.factor
        self.now += spent
        return spent

    def train(self, planned):
        budget = TimeBudget(self.seconds, 0.0, 0.0, None, self.step_seconds, self.pause, clock=lambda: self.now)
        changes, step, every = [], 0, max(1, planned // 12)
        while step < planned:
            step += 1
            budget.add_step(self.spend(self.step_seconds * (1 + self.jitter * (-1) ** (step % 3))))
            steps = budget.steps_for(step, planned, every)
            if steps is not None:
                planned = steps
                changes.append((step, steps))
            if step % every == 0 or step == planned:
                budget.add_pause(self.spend(self.pause))
        self.spend(self.closing)
        return changes, step


@given(
    st.floats(20, 200), st.floats(0.01, 0.3), st.floats(0, 0.008), st.floats(0, 0.2),
    st.floats(0.25, 4), st.floats(0.1, 0.9), st.floats(0, 0.3),
)  # fmt: skip
def test_a_run_ends_on_time_although_the_speed_changes_fourfold(seconds, step, pause, closing, factor, at, jitter):
    machine = Machine(seconds, step, pause * seconds, closing, factor, at, jitter)
    changes, _ = machine.train(max(1, int((seconds - 12 * machine.pause) / step)))
    assert abs(machine.now - seconds) <= max(2.0, 0.05 * seconds)
    assert len(changes) < 100


@given(st.floats(20, 200), st.floats(0.01, 0.03), st.floats(0.1, 0.9))
def test_a_short_stall_does_not_end_the_run(seconds, step, stall_at):
    """Without the stall there would be time for ``planned`` steps."""
    planned = int((seconds - 1.5) / (1.05 * step))
    machine = Machine(seconds, step, 0.0, 0.0, 1.0, 2.0, 0.1, stall_at)
    _, steps = machine.train(planned)
    assert abs(machine.now - seconds) <= max(2.0, 0.05 * seconds)
    assert steps >= 0.75 * planned


def test_the_number_of_steps_stays_within_its_maximum():
    budget = TimeBudget(100.0, max_steps=50, clock=lambda: 10.0)
    for _ in range(200):
        budget.add_step(0.01)
    assert budget.steps_for(40, 45, 10) is None
    assert budget.steps_for(20, 10_000, 10) == 50


def test_no_change_before_the_speed_is_known():
    assert TimeBudget(100.0, clock=lambda: 99.0).steps_for(1, 1000, 10) is None


def test_changes_are_parsed_and_formatted():
    text = "0:700 120:650 650:1300@0.5 700:1200 1200:1300@0"
    changes = parse_changes(text)
    assert format_changes(changes) == text
    assert changes[2] == PlanChange(650, 1300, 0.5) and [c.extends for c in changes] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("text", [
    "7", "5:10", "0:10@1", "0:0", "0:10 20:30", "0:10 5:4", "0:10 5:8 3:9", "0:10 10:10@0.5", "0:10 5:20@2", "0:10,5:8",
])  # fmt: skip
def test_invalid_changes_raise(text):
    with raises_code("invalid_setting", SettingsError, name="plan_changes", value=text):
        parse_changes(text)


def test_changes_must_end_with_the_number_of_steps():
    with raises_code("invalid_setting", SettingsError, name="plan_changes"):
        Settings().with_values({"steps": 10, "plan_changes": "0:20 5:11"})
    assert Settings().with_values({"steps": 11, "plan_changes": "0:20 5:11"}).steps == 11


def test_another_length_removes_the_changes():
    settings = Settings().with_values({"steps": 20}).with_plan_change(PlanChange(5, 11))
    assert settings.plan_changes == "0:20 5:11" and settings.with_values({"minutes": 1}).plan_changes == ""
    assert "plan_changes" not in settings.with_values({"steps": 3}).to_dict()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("changes", ["", "0:100 30:60", "0:100 3:300 50:90 80:95", "0:1000 120:121"])
def test_the_learning_rate_never_jumps_and_ends_at_zero(schedule, changes):
    """Between two steps, the rate falls by at most a step of the steepest schedule that the plan had so far."""
    steps = parse_changes(changes)[-1].steps if changes else 200
    settings = Settings(schedule=schedule, warmup_steps=10, minutes=0.0, steps=steps, plan_changes=changes)
    rates = [learning_rate_at(step, steps, settings) / settings.learning_rate for step in range(steps)]
    assert rates[9] == 1 and rates == rates[:9] + sorted(rates[9:], reverse=True)
    left = [change.steps - change.step for change in parse_changes(changes)] or [steps]
    assert max(a - b for a, b in pairwise(rates[9:])) <= 1.6 / min(min(left), steps - 10) + 1e-9
    assert rates[-1] <= 1.6 / min(left)


def test_a_restart_warms_up_and_decays_again():
    settings = Settings(minutes=0.0, steps=300, warmup_steps=20, plan_changes="0:100 100:300@0.5")
    rates = [learning_rate_at(step, 300, settings) / settings.learning_rate for step in range(300)]
    assert rates[99] < 0.02 and rates[100] == pytest.approx(0.5 / 20) and rates[119] == pytest.approx(0.5)
    assert rates[120:] == sorted(rates[120:], reverse=True) and rates[-1] < 0.01
    assert rates[210] == pytest.approx(0.25)


@given(st.integers(0, 99), st.integers(0, 30))
def test_without_changes_the_position_is_the_share_of_steps(step, warmup):
    position = schedule_position(step, 100, warmup)
    assert position.factor == 1 and position.done == (0 if step < warmup else (step - warmup) / (100 - warmup))


def test_a_plan_that_continues_its_schedule_continues_from_the_same_rate():
    settings = Settings(minutes=0.0, steps=300, warmup_steps=0, plan_changes="0:100 50:300@0")
    rates = [learning_rate_at(step, 300, settings) / settings.learning_rate for step in range(300)]
    assert rates[49] == pytest.approx(0.51) and rates[50] == pytest.approx(0.5) and rates[175] == pytest.approx(0.25)
