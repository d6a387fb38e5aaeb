"""The plan of a training: number of steps, evaluations and checkpoints."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CorpusError, SettingsError
from charloom.planning.heuristics import Task, cap_steps_for_overfitting, expected_bits
from charloom.planning.settings import Notices, Settings

_EVALUATIONS = 12  # evaluations of a training, if the settings give no interval
_MIN_EVALUATIONS = 3  # evaluations, however long one takes
_MAX_EVALUATION_SHARE = 0.1  # share of the time that evaluations may take; with more there are fewer of them
_MAX_CHECKPOINTS = 50  # checkpoints of a training, if the settings give no interval


@dataclass(frozen=True)
class Plan:
    """The plan of one training.

    Attributes:
        settings: All settings, resolved: those that were left to the plan have their numbers.
        steps: Updates in all.
        steps_per_epoch: Updates in one pass over the training text.
        notices: What was changed to suit the corpus, one sentence each, for the user.
        seconds: Expected duration, everything included; None if the speed was not measured.
        expected_bits: Range in which the held-out loss is expected to end, in bits per character; None if nothing is
            held out.
    """

    settings: Settings
    steps: int
    steps_per_epoch: int
    notices: tuple[str, ...] = ()
    seconds: float | None = None
    expected_bits: tuple[float, float] | None = None


def steps_per_epoch(settings: Settings, characters: int, line_lengths: NDArray[np.int64] | None = None) -> int:
    """Return the updates in one pass over a training text.

    Args:
        settings: Batching, window and batch size.
        characters: Length of the training text.
        line_lengths: Characters of each line, (M,), if lines are separate texts; otherwise None.

    Raises:
        CorpusError: If the text is shorter than one window, or has no line.
        SettingsError: If it is shorter than one batch.
    """
    if line_lengths is not None:
        return int(windows_per_group(settings, line_lengths).sum())
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


def windows_per_group(settings: Settings, line_lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of windows of each group of lines that is read in parallel.

    A group is ``batch_size`` lines, the shortest first, so that lines of similar length are together. A window is
    ``seq_length`` characters, and a line of n characters has n + 1 targets, its end included.

    Args:
        settings: Window and batch size.
        line_lengths: Characters of each line, in any order, (M,).

    Raises:
        CorpusError: If there is no line.
    """
    if not len(line_lengths):
        raise CorpusError(
            "All lines of the training text are empty. Pass a text with at least one non-empty line.", code="no_lines"
        )
    rows, count = settings.batch_size, len(line_lengths)
    last = np.minimum(np.arange(rows, count + rows, rows), count) - 1
    windows: NDArray[np.int64] = -(-(np.sort(line_lengths)[last] + 1) // settings.seq_length)
    return windows


def check_window(settings: Settings, characters: int) -> None:
    """Raise ``CorpusError`` if a training text is shorter than one window and the character after it."""
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
    line_lengths: NDArray[np.int64] | None = None,
) -> Plan:
    """Resolve the settings that follow from the number of steps.

    Args:
        settings: Settings that suit the corpus.
        characters: Length of the training text.
        steps: Updates in all, at least 1.
        notices: Notices so far; receives a sentence if the warm-up is shortened. All of them become the plan's.
        fixed: Names of settings that the user chose; they stay as they are.
        evaluations: Number of evaluations if the settings give no interval; None: a dozen.
        line_lengths: See ``steps_per_epoch``.
    """
    notices = Notices() if notices is None else notices
    epoch = steps_per_epoch(settings, characters, line_lengths)
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
    """What a plan needs to know of this machine, in seconds.

    Attributes:
        untrained_loss: Held-out loss before the first step, in nats per character; None if nothing is held out.
        evaluation_seconds: Duration of one evaluation; 0 if nothing is held out.
        step_seconds: Mean duration of a step; 0 if the length is given in steps or epochs.
        elapsed_seconds: Time already used, which a time budget includes.
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
    notices: Notices | None = None,
) -> Plan:
    """Return the plan of a new training: epochs or minutes become steps, once.

    Args:
        settings: Settings that suit the corpus, the device's precision included.
        task: The training text.
        measured: Durations on this machine.
        fixed: Names of settings that the user chose; they stay as they are.
        may_cap_steps: Whether a training limited by time may get fewer steps than fit, if more would overfit.
        ngram_loss: Loss of n-grams on the held-out text, in nats per character; None if nothing is held out.
        notices: See ``make_plan``.
    """
    notices = Notices() if notices is None else notices
    epoch = steps_per_epoch(settings, task.characters, task.line_lengths)
    steps = settings.steps or settings.epochs * epoch
    evaluations = None
    if settings.minutes:
        seconds_left = settings.minutes * 60 - measured.elapsed_seconds
        evaluations = evaluations_in_time(seconds_left, measured.evaluation_seconds)
        steps = steps_in_time(seconds_left, measured.step_seconds, measured.evaluation_seconds, settings.eval_every)
        if may_cap_steps:
            steps = cap_steps_for_overfitting(steps, epoch, task.characters, notices)
    plan = make_plan(settings, task.characters, steps, notices, fixed, evaluations, task.line_lengths)
    seconds_per_step = measured.step_seconds + measured.evaluation_seconds / plan.settings.eval_every
    seconds = measured.elapsed_seconds + steps * seconds_per_step if measured.step_seconds else None
    characters_read = round(steps / epoch * task.characters)
    expected = None if ngram_loss is None else expected_bits(ngram_loss, characters_read)
    return replace(plan, seconds=seconds, expected_bits=expected)


def evaluations_in_time(seconds: float, evaluation_seconds: float) -> int:
    """Return the number of evaluations: a dozen, or fewer if they would take more than a tenth of the time."""
    affordable = int(_MAX_EVALUATION_SHARE * seconds / evaluation_seconds) if evaluation_seconds > 0 else _EVALUATIONS
    return max(_MIN_EVALUATIONS, min(_EVALUATIONS, affordable))


def steps_in_time(seconds: float, step_seconds: float, evaluation_seconds: float, eval_every: int = 0) -> int:
    """Return the number of steps that fit into a time, with the evaluations between them.

    Args:
        seconds: Time available.
        step_seconds: Duration of a step.
        evaluation_seconds: Duration of an evaluation, its sample included.
        eval_every: Steps between evaluations, if the settings give an interval; otherwise 0.

    Returns:
        At least 1.
    """
    if eval_every:
        return max(1, int(seconds / (step_seconds + evaluation_seconds / eval_every)))
    evaluations = evaluations_in_time(seconds, evaluation_seconds)
    return max(1, int((seconds - evaluations * evaluation_seconds) / step_seconds))
