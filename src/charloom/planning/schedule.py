"""The plan of a training run: number of steps, and intervals of evaluations and checkpoints."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CorpusError, SettingsError
from charloom.planning.heuristics import Task, cap_steps_for_overfitting, expected_bits, max_steps_without_overfitting
from charloom.planning.plan_changes import PlanChange, parse_changes
from charloom.planning.settings import Notices, Settings

_EVALUATIONS = 12  # evaluations per training if the settings give no interval
_MIN_EVALUATIONS = 3  # evaluations per training, even if they take more time than that
_MAX_EVALUATION_SHARE = 0.1  # maximum share of the time for evaluations
_MIN_TIMED_STEPS = (
    20  # steps planned at first for a time, even if they seem to take longer: the machine may become faster
)
_MAX_CHECKPOINTS = 50  # checkpoints per training if the settings give no interval


@dataclass(frozen=True)
class Plan:
    """The plan of one training run.

    Attributes:
        settings: Resolved settings: the length of the run is given in steps, and every interval has a value.
        steps: Total number of steps.
        steps_per_epoch: Steps in one epoch.
        notices: Notices for the user, for example about settings that were adapted to the corpus.
        seconds: Expected total duration; None if the speed was not measured.
        expected_bits: Predicted range of the final held-out loss, in bits per character; None if unknown.
        time_limit: Seconds after which the run should end, including the time before it was resumed; None if its length
            is given in steps or epochs. The number of steps is adjusted to the speed of the machine.
        max_steps: Maximum number of steps in this time; None for no limit.
        step_seconds: Measured seconds of a step; 0 if unknown.
        evaluation_seconds: Measured seconds of an evaluation; 0 if unknown.
        changes_ahead: Changes of the plan that were decided before and are repeated at their steps.
    """

    settings: Settings
    steps: int
    steps_per_epoch: int
    notices: tuple[str, ...] = ()
    seconds: float | None = None
    expected_bits: tuple[float, float] | None = None
    time_limit: float | None = None
    max_steps: int | None = None
    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    changes_ahead: tuple[PlanChange, ...] = ()

    def changed(self, change: PlanChange) -> "Plan":
        """Return the plan after a change of the number of steps."""
        return replace(self, steps=change.steps, settings=self.settings.with_plan_change(change))


def steps_per_epoch(settings: Settings, characters: int, record_lengths: NDArray[np.int64] | None = None) -> int:
    """Count the steps in one epoch over a training text.

    Args:
        settings: ``batching``, ``seq_length`` and ``batch_size``.
        characters: Length of the training text.
        record_lengths: Characters of each line or record, (M,), if these are separate texts; otherwise None.

    Raises:
        CorpusError: If the text is shorter than one window, or all of its lines or records are empty.
        SettingsError: If the text is shorter than one batch.
    """
    if record_lengths is not None:
        return int(windows_per_group(settings, record_lengths).sum())
    check_window(settings, characters)
    if settings.batching == "windows":
        windows = characters // (settings.seq_length + 1)
    else:
        windows = (characters - 1) // settings.seq_length
    if windows < settings.batch_size:
        raise SettingsError(
            f"The training text is shorter than one batch: it has {windows} windows of seq_length "
            f"{settings.seq_length}, and batch_size is {settings.batch_size}. Lower seq_length or batch_size with "
            "--set, or pass a longer text.",
            code="text_shorter_than_batch",
            windows=windows,
            seq_length=settings.seq_length,
            batch_size=settings.batch_size,
        )
    if settings.batching == "windows":
        return windows // settings.batch_size
    return (characters - 1) // (settings.seq_length * settings.batch_size)


def windows_per_group(settings: Settings, record_lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the windows of each group of lines or records.

    Lines are sorted by length and cut into groups of ``batch_size`` lines, which are read in parallel; sorting keeps
    padding low. A line of n characters has n + 1 targets, because its end is a target as well.

    Args:
        settings: ``seq_length`` and ``batch_size``.
        record_lengths: Characters of each line, in any order, (M,).

    Returns:
        Windows per group, shortest lines first.

    Raises:
        CorpusError: If there is no line.
    """
    if not len(record_lengths):
        raise CorpusError(
            "The training text has no line or record that is not empty. Pass a text with at least one.", code="no_lines"
        )
    rows, count = settings.batch_size, len(record_lengths)
    last = np.minimum(np.arange(rows, count + rows, rows), count) - 1
    windows: NDArray[np.int64] = -(-(np.sort(record_lengths)[last] + 1) // settings.seq_length)
    return windows


def check_window(settings: Settings, characters: int) -> None:
    """Raise ``CorpusError`` if a training text has fewer than ``seq_length + 1`` characters."""
    if characters <= settings.seq_length:
        raise CorpusError(
            f"The training text is shorter than one window: it has {characters} characters, and a window needs "
            f"seq_length + 1 = {settings.seq_length + 1}. Pass a longer text, or lower seq_length with --set "
            "seq_length=N.",
            code="text_shorter_than_window",
            characters=characters,
            seq_length=settings.seq_length,
        )


def make_plan(
    settings: Settings,
    characters: int,
    steps: int,
    notices: Notices | None = None,
    fixed: Collection[str] = (),
    evaluations: int | None = None,
    record_lengths: NDArray[np.int64] | None = None,
) -> Plan:
    """Make a plan for a number of steps: resolve the length, the intervals and the warm-up.

    Args:
        settings: Settings that suit the corpus.
        characters: Length of the training text.
        steps: Total number of steps, at least 1.
        notices: Notices so far, which become the plan's; one is added if the warm-up is shortened.
        fixed: Names of settings that the user chose; they are not changed.
        evaluations: Number of evaluations if the settings give no interval; None for the default.
        record_lengths: See ``steps_per_epoch``.
    """
    notices = Notices() if notices is None else notices
    epoch = steps_per_epoch(settings, characters, record_lengths)
    held_out = settings.val_fraction > 0
    some_epochs = epoch * -(-steps // (epoch * _MAX_CHECKPOINTS))
    warmup_steps = settings.warmup_steps
    if warmup_steps > steps // 10 and "warmup_steps" not in fixed:
        warmup_steps = steps // 10
        notices.add(
            f"The run is short: warming up the learning rate over {warmup_steps} steps instead of "
            f"{settings.warmup_steps}.",
            code="warmup_shortened",
            warmup_steps=warmup_steps,
            default=settings.warmup_steps,
        )
    resolved = replace(
        settings,
        warmup_steps=warmup_steps,
        steps=steps,
        epochs=0,
        minutes=0.0,
        eval_every=settings.eval_every
        or (max(1, -(-steps // (evaluations or _EVALUATIONS))) if held_out else some_epochs),
        checkpoint_every=settings.checkpoint_every or some_epochs,
    )
    return Plan(resolved, steps, epoch, tuple(notices))


@dataclass(frozen=True)
class Measurements:
    """Measurements on this machine that a plan is based on.

    Attributes:
        untrained_loss: Held-out loss before the first step, in nats per character; None if nothing is held out.
        evaluation_seconds: Seconds of one evaluation; 0 if nothing is held out.
        step_seconds: Mean seconds of a step; 0 if the length is given in steps or epochs.
        elapsed_seconds: Seconds of the time budget that are already used.
    """

    untrained_loss: float | None = None
    evaluation_seconds: float = 0.0
    step_seconds: float = 0.0
    elapsed_seconds: float = 0.0


def plan_training(
    settings: Settings,
    task: Task,
    measured: Measurements,
    fixed: Collection[str] = (),
    may_cap_steps: bool = False,
    ngram_loss: float | None = None,
    unigram_loss: float = 0.0,
    notices: Notices | None = None,
) -> Plan:
    """Plan a new training: convert its epochs or minutes to a fixed number of steps.

    Args:
        settings: Settings that suit the corpus; ``precision`` is that of the device.
        task: The training text.
        measured: Measurements on this machine.
        fixed: Names of settings that the user chose; they are not changed.
        may_cap_steps: Whether to limit the steps of a training run with a time budget to avoid overfitting.
        ngram_loss: Loss of the n-gram baseline on the held-out text, in nats per character; None if nothing is held
            out or the training does not start from random weights, and so no loss is expected.
        unigram_loss: Loss of the unigram baseline on the held-out text, in nats per character.
        notices: See ``make_plan``.
    """
    notices = Notices() if notices is None else notices
    epoch = steps_per_epoch(settings, task.characters, task.record_lengths)
    steps = settings.steps or settings.epochs * epoch
    # 1. steps, from the time that is left
    evaluations, time_limit, max_steps = None, None, None
    if settings.minutes:
        time_limit = settings.minutes * 60
        seconds_left = settings.minutes * 60 - measured.elapsed_seconds
        evaluations = evaluations_in_time(seconds_left, measured.evaluation_seconds)
        steps = steps_in_time(seconds_left, measured.step_seconds, measured.evaluation_seconds, settings.eval_every)
        steps = max(steps, _MIN_TIMED_STEPS)
        if may_cap_steps:
            max_steps = max_steps_without_overfitting(epoch)
            steps = cap_steps_for_overfitting(steps, epoch, task.characters, notices)
    # 2. intervals and warm-up
    plan = make_plan(settings, task.characters, steps, notices, fixed, evaluations, task.record_lengths)
    # 3. expected duration and loss
    seconds_per_step = measured.step_seconds + measured.evaluation_seconds / plan.settings.eval_every
    seconds = measured.elapsed_seconds + steps * seconds_per_step if measured.step_seconds else None
    if seconds is not None and steps == _MIN_TIMED_STEPS:
        seconds = time_limit  # the number of steps will be adjusted
    characters_read = round(steps / epoch * task.characters)
    expected = None if ngram_loss is None else expected_bits(ngram_loss, unigram_loss, characters_read)
    plan = replace(
        plan,
        seconds=seconds,
        expected_bits=expected,
        time_limit=time_limit,
        max_steps=max_steps,
        step_seconds=measured.step_seconds,
        evaluation_seconds=measured.evaluation_seconds,
    )
    return _before_changes(plan)


def _before_changes(plan: Plan) -> Plan:
    """Return the first plan of a recipe that repeats a run whose plan changed; the changes follow at their steps."""
    changes = parse_changes(plan.settings.plan_changes)
    if not changes:
        return plan
    first = replace(plan.settings, steps=changes[0].steps, plan_changes="")
    return replace(plan, settings=first, steps=first.steps, changes_ahead=changes[1:])


def evaluations_in_time(seconds: float, evaluation_seconds: float) -> int:
    """Return the number of evaluations: 12, or as few as 3 if 12 would take more than a tenth of the time."""
    affordable = int(_MAX_EVALUATION_SHARE * seconds / evaluation_seconds) if evaluation_seconds > 0 else _EVALUATIONS
    return max(_MIN_EVALUATIONS, min(_EVALUATIONS, affordable))


def steps_in_time(seconds: float, step_seconds: float, evaluation_seconds: float, eval_every: int = 0) -> int:
    """Count the steps that fit into a time budget together with the evaluations; at least 1.

    Args:
        seconds: Time budget in seconds.
        step_seconds: Seconds of one step.
        evaluation_seconds: Seconds of one evaluation.
        eval_every: Steps between evaluations, or 0 if the settings give no interval.
    """
    if eval_every:
        return max(1, int(seconds / (step_seconds + evaluation_seconds / eval_every)))
    evaluations = evaluations_in_time(seconds, evaluation_seconds)
    return max(1, int((seconds - evaluations * evaluation_seconds) / step_seconds))
