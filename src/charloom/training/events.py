"""What a training tells while it runs: one frozen record per event. Nothing here needs torch."""

from dataclasses import dataclass

from charloom.data.baselines import Baselines
from charloom.model.architecture import Architecture
from charloom.planning.schedule import Plan


@dataclass(frozen=True)
class PlanRecord:
    """Before the first step: what is going to happen.

    Attributes:
        run: The run folder.
        plan: Settings and steps.
        architecture: What is trained.
        device: In words.
        baselines: What guessing costs on the text the loss is reported on.
        training_chars: Characters trained on.
        validation_chars: Characters held out to choose the best model by.
        step: Updates made before, where a training goes on.
    """

    run: str
    plan: Plan
    architecture: Architecture
    device: str
    baselines: Baselines
    training_chars: int
    validation_chars: int
    step: int = 0


@dataclass(frozen=True)
class StepRecord:
    """After an update.

    Attributes:
        step: Updates so far.
        epoch: Passes over the text so far, with a fraction.
        loss: Mean over the batch before the update, in nats per character; None where it or the gradient was NaN or
            infinite, so that nothing was learned from this batch.
        grad_norm: L2 norm of the gradient before it was shortened; None likewise.
        learning_rate: Of this update.
        seconds: What the update took.
    """

    step: int
    epoch: float
    loss: float | None
    grad_norm: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class EvaluationRecord:
    """After an evaluation; its fields are a line of ``metrics.jsonl``.

    Attributes:
        step: Updates so far.
        epoch: Passes over the text so far, with a fraction.
        train_loss: Mean loss since the last evaluation, in nats per character; None before the first step.
        val_loss: Loss on the held-out text, in nats per character; None where nothing is held out.
        bits_per_char: The held-out loss in bits; the training loss where nothing is held out.
        best_val_loss: The lowest held-out loss so far.
        is_best: Whether this is the lowest.
        chars_per_second: From the mean step so far, the first ten left out.
        seconds: Since the training began.
        learning_rate: Of the last update.
        grad_norm: Of the last update.
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
    """A text the model has just written, after an evaluation."""

    step: int
    text: str


@dataclass(frozen=True)
class CheckpointRecord:
    """The model after this step was saved in the run's ``checkpoints``."""

    step: int
    path: str


@dataclass(frozen=True)
class EventRecord:
    """Something that should not happen has happened, and was dealt with.

    Attributes:
        step: Updates so far.
        event: "skipped": an update whose numbers were not finite was left out; "rolled back": the training went back to
            an earlier step; "halved": the loss rose, and the learning rate was halved; "ended": more steps would not
            help; "not saved": a file could not be written, and it will be tried again.
        message: For people.
    """

    step: int
    event: str
    message: str


@dataclass(frozen=True)
class NoveltyRecord:
    """How much of what the model writes stands in the training text; see ``charloom.inference.memorization``.

    Attributes:
        characters: That it wrote to be looked at.
        copied: Share of them in copied runs of more than 30 characters.
        longest: Characters of the longest copied run.
        held_out_copied: The same of as much of the held-out text; None where nothing is held out.
        held_out_longest: Likewise.
        searched: Characters of the training text, its beginning, in which they were looked for.
        lines: How many it wrote, where lines are texts of their own.
        copied_lines: How many of them are lines of the training text.
    """

    characters: int
    copied: float
    longest: int
    held_out_copied: float | None
    held_out_longest: int | None
    searched: int
    lines: int | None = None
    copied_lines: int | None = None


@dataclass(frozen=True)
class FinishRecord:
    """The end of a training.

    Attributes:
        run: The run folder.
        steps: Updates made.
        seconds: Wall time of all of it.
        train_loss: Mean of the last epoch, or of the part of it that was trained, in nats per character; None if no
            update had a finite loss.
        val_loss: The last held-out loss; None where nothing is held out.
        best_val_loss: The lowest.
        best_step: After how many updates it was reached.
        bits_per_char: Of the model that was kept: held-out, or training where nothing is held out.
        chars_per_second: From the mean step, the first ten left out.
        interrupted: Whether it was stopped before its end, so that there is something to go on with.
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
    | EvaluationRecord
    | SampleRecord
    | CheckpointRecord
    | EventRecord
    | NoveltyRecord
    | FinishRecord
)
