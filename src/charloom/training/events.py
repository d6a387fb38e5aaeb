"""The records that a training run yields: plan, step, evaluation, sample, checkpoint, memorization, and so on."""

from dataclasses import dataclass

from charloom.data.baselines import Baselines
from charloom.errors import Notice
from charloom.model.architecture import Architecture
from charloom.planning.schedule import Plan

PLAN_CHANGED = "plan changed"
"""The event in ``metrics.jsonl`` that stands for a ``PlanChangeRecord``."""


@dataclass(frozen=True)
class PlanRecord:
    """The plan of a training run; yielded first.

    Attributes:
        run: The run folder.
        plan: Settings and number of steps.
        architecture: Architecture of the model.
        device: Description of the device, for people.
        baselines: Losses of the uniform and n-gram baselines: on the held-out text, or on the training text if nothing
            is held out.
        training_chars: Characters of the training text.
        validation_chars: Characters of the held-out text, which selects the best model.
        step: Steps made before this process, if the run is resumed.
        seconds: Seconds of the training before this process, if the run is resumed.
        earlier: The best and the last evaluation before this process, if the run is resumed.
    """

    run: str
    plan: Plan
    architecture: Architecture
    device: str
    baselines: Baselines
    training_chars: int
    validation_chars: int
    step: int = 0
    seconds: float = 0.0
    earlier: tuple["EvaluationRecord", ...] = ()


@dataclass(frozen=True)
class StepRecord:
    """One training step; yielded after every step.

    Attributes:
        step: Number of steps so far.
        epoch: Number of epochs so far, a fraction.
        loss: Mean loss of the batch before the update, in nats per character; None if the step was skipped because its
            loss, gradient or state was NaN or infinite.
        grad_norm: L2 norm of the gradient before clipping; None if the step was skipped.
        learning_rate: Learning rate of this step.
        seconds: Duration of this step.
    """

    step: int
    epoch: float
    loss: float | None
    grad_norm: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class PlanChangeRecord:
    """The number of steps was changed, because the speed of the machine changed; written to ``metrics.jsonl``.

    Attributes:
        step: Number of steps so far.
        steps: New total number of steps.
    """

    step: int
    steps: int


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation; yielded after it. All fields except ``is_best`` are written to ``metrics.jsonl``.

    Attributes:
        step: Number of steps so far.
        epoch: Number of epochs so far, a fraction.
        train_loss: Mean training loss since the previous evaluation, in nats per character; None before the first step.
        val_loss: Held-out loss in nats per character; None if nothing is held out, or if it is NaN or infinite.
        bits_per_char: Held-out loss in bits per character; the training loss if there is no held-out loss.
        best_val_loss: Lowest held-out loss so far, in nats per character.
        is_best: Whether this model becomes the best model of the run.
        chars_per_second: Training speed, from the mean step without the first ten; None before the first step.
        seconds: Wall time since the training began.
        learning_rate: Learning rate of the last step.
        grad_norm: Gradient norm of the last step.
    """

    step: int
    epoch: float
    train_loss: float | None
    val_loss: float | None
    bits_per_char: float | None
    best_val_loss: float | None
    is_best: bool
    chars_per_second: float | None
    seconds: float
    learning_rate: float
    grad_norm: float | None


@dataclass(frozen=True)
class SampleRecord:
    """A text sampled from the current model; yielded after an evaluation."""

    step: int
    text: str


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint was saved after this step."""

    step: int
    path: str


@dataclass(frozen=True)
class EventRecord:
    """A problem that the training detected and handled.

    Attributes:
        step: Number of steps so far.
        event: "skipped": a step with NaN or infinite values was skipped; "rolled back": the training returned to the
            newest checkpoint; "halved": the training loss rose, and the learning rate was halved; "ended": early
            stopping; "not saved": a file could not be written and will be retried.
        message: One or two sentences, with a code and data.
    """

    step: int
    event: str
    message: Notice


@dataclass(frozen=True)
class NoveltyRecord:
    """Memorization: verbatim overlap between a generated text and the training text.

    See ``charloom.inference.memorization``.

    Attributes:
        characters: Length of the generated text.
        copied: Fraction of the generated text in verbatim overlaps of more than 30 characters.
        longest: Length of the longest verbatim overlap.
        held_out_copied: ``copied`` for an equally long part of the held-out text; None if nothing is held out.
        held_out_longest: ``longest`` for that part; None if nothing is held out.
        searched: Number of characters of the training text that were searched, from its beginning.
        lines: Number of generated lines, if lines are separate texts.
        copied_lines: Number of generated lines that are lines of the training text.
        records: Number of generated records, if records are separate texts.
        copied_records: Number of generated records that are records of the training text.
        segments: Number of generated lines and sentences that were compared as a whole.
        copied_segments: Number of these that are also lines or sentences of the training text.
        held_out_segments: ``segments`` for the held-out text; None if nothing is held out.
        held_out_copied_segments: ``copied_segments`` for the held-out text; None if nothing is held out.
        held_out_lines: ``lines`` for the held-out text; None if nothing is held out.
        held_out_copied_lines: ``copied_lines`` for the held-out text; None if nothing is held out.
        held_out_records: ``records`` for the held-out text; None if nothing is held out.
        held_out_copied_records: ``copied_records`` for the held-out text; None if nothing is held out.
    """

    characters: int
    copied: float
    longest: int
    held_out_copied: float | None
    held_out_longest: int | None
    searched: int
    lines: int | None = None
    copied_lines: int | None = None
    records: int | None = None
    copied_records: int | None = None
    segments: int = 0
    copied_segments: int = 0
    held_out_segments: int | None = None
    held_out_copied_segments: int | None = None
    held_out_lines: int | None = None
    held_out_copied_lines: int | None = None
    held_out_records: int | None = None
    held_out_copied_records: int | None = None


@dataclass(frozen=True)
class FinishRecord:
    """The end of a training run.

    Attributes:
        run: The run folder.
        steps: Number of steps made.
        seconds: Total wall time, including that before the run was resumed.
        train_loss: Mean training loss of the last epoch, in nats per character; None if every step was skipped.
        val_loss: Held-out loss of the last evaluation, in nats per character; None if nothing is held out.
        best_val_loss: Lowest held-out loss, in nats per character; None if nothing is held out.
        best_step: Step of the best model; None if no model was evaluated.
        bits_per_char: Loss of the best model in bits per character: held-out, or training if nothing is held out.
        chars_per_second: Training speed, from the mean step without the first ten.
        interrupted: Whether the training was stopped before the end of its plan. It can be resumed.
    """

    run: str
    steps: int
    seconds: float
    train_loss: float | None
    val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    bits_per_char: float | None
    chars_per_second: float | None
    interrupted: bool


Record = (
    PlanRecord
    | StepRecord
    | PlanChangeRecord
    | EvaluationRecord
    | SampleRecord
    | CheckpointRecord
    | EventRecord
    | NoveltyRecord
    | FinishRecord
)
