"""The state of a training as text: what is said about the plan, about time, and at the end."""

import pytest

from charloom.data.baselines import Baselines
from charloom.errors import Notice
from charloom.planning.schedule import Plan
from charloom.planning.settings import Settings
from charloom.terminal.messages import count_passes
from charloom.terminal.training_view import TrainingProgress
from charloom.training.events import EvaluationRecord, FinishRecord, PlanChangeRecord, PlanRecord, StepRecord
from support.errors import codes

BASELINES = Baselines(uniform=4.17, unigram=3.35)


def evaluation(step, train_loss, val_loss, is_best=True):
    return EvaluationRecord(step, step / 100, train_loss, val_loss, None, None, is_best, None, 0.0, 0.0, None)


def plan_record(steps=700, step=0, earlier=(), **values):
    settings = Settings(steps=steps, minutes=0.0, eval_every=100)
    plan = Plan(settings, steps, 100, **values)
    model = settings.architecture(65)
    return PlanRecord("runs/book", plan, model, "CPU", BASELINES, 90_000, 10_000, step, 0.0, earlier)


def finish(steps, **values):
    facts = {"val_loss": 1.7, "best_val_loss": 1.7, "best_step": steps, "bits_per_char": 2.45, "interrupted": False}
    return FinishRecord("runs/book", steps, 60.0, 1.6, chars_per_second=None, **facts | values)


def progress_of(*records):
    progress = TrainingProgress()
    messages = [message for record in records if (message := progress.take(record)) is not None]
    return progress, messages


@pytest.mark.parametrize(("changes", "told"), [
    ([], 0), ([690], 0), ([400], 0), ([350], 1), ([500, 300], 1), ([300, 200], 1), ([300, 100], 2), ([1400], 1),
])  # fmt: skip
def test_large_changes_of_the_plan_are_told_once(changes, told):
    records = [PlanChangeRecord(100, steps) for steps in changes]
    progress, messages = progress_of(plan_record(time_limit=60.0), *records)
    assert len(messages) == told and progress.steps == (changes or [700])[-1]


def test_the_heading_names_steps_passes_time_and_expected_loss():
    progress, _ = progress_of(plan_record(time_limit=60.0, seconds=59.0, expected_bits=(2.18, 2.66)))
    line = next(line for line in progress.heading().splitlines() if line.startswith("planned"))
    assert all(part in line for part in ("700 steps", "7 passes", "1:00 min", "2.18 to 2.66"))


def test_remaining_time_is_that_of_the_budget_unless_the_text_limits_the_steps():
    step = StepRecord(100, 1.0, 2.0, 1.0, 0.001, 0.01)
    timed, _ = progress_of(plan_record(time_limit=60.0), step)
    assert timed.seconds_left == pytest.approx(60.0, abs=1)
    limited, _ = progress_of(plan_record(time_limit=60.0, max_steps=700), step)
    assert limited.seconds_left < 1


def test_a_resumed_run_is_judged_by_the_model_that_is_kept():
    """The best evaluation is from before the run was resumed."""
    best, last = evaluation(600, 1.5, 1.6), evaluation(700, 1.1, 1.9, is_best=False)
    progress, _ = progress_of(plan_record(steps=800, step=700, earlier=(best, last)), evaluation(800, 1.0, 2.0, False))
    assert progress.best == best
    lines = progress.closing(finish(800, val_loss=2.0, best_val_loss=1.6, best_step=600))
    assert "100 of them now" in lines[0]
    notices = [line for line in lines if isinstance(line, Notice)]
    assert codes(notices) == ["loss_summary", "overfitting"]
    assert notices[1].data == {"step": 600, "best_loss": 1.6, "last_loss": 2.0}


def test_expected_and_reached_loss_are_compared_at_the_end_only():
    plan = plan_record(expected_bits=(2.18, 2.66))
    progress, _ = progress_of(plan, evaluation(700, 1.6, 1.7))
    assert any("2.18 to 2.66" in line and "2.45" in line for line in progress.closing(finish(700)))
    assert not any("2.18" in line for line in progress.closing(finish(400, interrupted=True)))


def test_passes_are_counted_in_words():
    assert [count_passes(n) for n in (1, 8.3, 0.25, 16.4)] == [
        "1 pass over the text", "8.3 passes over the text", "0.25 passes over the text", "16 passes over the text",
    ]  # fmt: skip
