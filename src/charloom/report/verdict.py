"""The verdict on a training run: one sentence about the model that is kept, and advice on what would help."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from charloom.data.baselines import Baselines
from charloom.errors import Notice
from charloom.training.early_stopping import OVERFITTING
from charloom.training.events import EvaluationRecord

SHORT_TEXT = 2_000
"""Training texts of fewer characters are too short: a fifth of the shortest one on which trainings were measured."""
TEXT_LENGTH_ADVICE = "use at least a few thousand characters; good results need about 500,000"

_FEW_STEPS = 200  # steps; on six texts, trainings of 250 steps ended 0.23 to 0.33 nats below those of 120
_SOLVED = 0.05  # nats/char: exp(-0.05) = 0.95, so the model is right about 19 of 20 characters
_SMALL_GAP = 0.1  # nats/char between held-out and training loss: a smaller gap leaves room to learn more
_LARGE_GAP = 0.3  # nats/char: from here on, the model learns its training text more than the language


@dataclass(frozen=True)
class Course:
    """The course of a training run, from which its verdict follows.

    Attributes:
        run: The run folder.
        evaluations: The evaluations in order; at least the best and the last one.
        baselines: Losses of the uniform and unigram baselines on the same text; None if unknown.
        training_chars: Characters of the training text; None if unknown.
        steps: Number of steps made.
        planned_steps: Number of steps planned.
        interrupted: Whether the user stopped the run.
        seconds: Duration of the run so far; None if unknown.
    """

    run: str
    evaluations: Sequence[EvaluationRecord]
    baselines: Baselines | None
    training_chars: int | None
    steps: int
    planned_steps: int
    interrupted: bool = False
    seconds: float | None = None

    @property
    def command_to_extend(self) -> str:
        """The command that trains for about as long again."""
        minutes = 1 if self.seconds is None else max(0.5, round(self.seconds / 30) / 2)
        return f"charloom train --resume {shlex.quote(self.run)} --minutes {minutes:g}"

    @property
    def trained(self) -> list[EvaluationRecord]:
        """The evaluations after at least one step."""
        return [evaluation for evaluation in self.evaluations if evaluation.train_loss is not None]


def loss_summary(course: Course) -> Notice | None:
    """Compare the loss of the kept model with the baselines; None if there was no evaluation."""
    kept, baselines = _kept(course), course.baselines
    if kept is None or baselines is None:
        return None
    kind, loss = "training" if kept.val_loss is None else "held-out", _loss(kept)
    message = (
        f"The {kind} loss is {loss:.4f} nats ({loss / math.log(2):.3f} bits) per character (unigram baseline: "
        f"{baselines.unigram:.4f} nats, uniform baseline: {baselines.uniform:.4f} nats)."
    )
    if loss < min(baselines.unigram, baselines.uniform):
        message += (
            f" The model is as uncertain as a choice among {math.exp(loss):.1f} equally likely characters; the unigram "
            f"baseline, among {math.exp(baselines.unigram):.1f}."
        )
    return Notice(
        message, code="loss_summary", kind=kind, loss=loss, unigram=baselines.unigram, uniform=baselines.uniform
    )


def verdict(course: Course) -> Notice:
    """Return the verdict on a run.

    The first row of this table that applies decides::

        the run                                                     code
        was stopped before its first evaluation                     no_evaluation
        was stopped by the user                                     stopped
        has a training text of fewer than 2,000 characters          text_too_short
        holds out no text                                           no_held_out_text
        is not better than the unigram baseline after 200 steps     learned_nothing
        has a kept model with a loss of almost 0                    nothing_left_to_learn
        got worse on held-out and on training text                  learning_rate_too_high
        got worse on held-out text only                             overfitting
        made fewer than 200 steps                                   too_few_steps
        has a small gap between held-out and training loss          under_trained
        has a large gap                                             text_limited
        else                                                        well_trained
    """
    held_out = [evaluation for evaluation in course.trained if evaluation.val_loss is not None]
    kept = _kept(course)
    resume = f"charloom train --resume {shlex.quote(course.run)}"
    if kept is None:
        return Notice(
            f"The training stopped before its first evaluation, so no loss is known. To continue: {resume}",
            code="no_evaluation",
        )
    if course.interrupted:
        return Notice(
            f"The training was stopped after {course.steps:,} of {course.planned_steps:,} steps. The model of step "
            f"{kept.step:,} is kept. To complete the training: {resume}",
            code="stopped",
            steps=course.steps,
            planned_steps=course.planned_steps,
            kept_step=kept.step,
        )
    if course.training_chars is not None and course.training_chars < SHORT_TEXT:
        return Notice(
            f"The training text is too short ({course.training_chars:,} characters): {TEXT_LENGTH_ADVICE}. Longer "
            "training does not help.",
            code="text_too_short",
            characters=course.training_chars,
        )
    if not held_out:
        return Notice(
            "No text was held out, so only the training loss is known: it does not show how well the model predicts "
            "new text. To measure that, start a new run with --val-fraction 0.1.",
            code="no_held_out_text",
        )
    last, few = held_out[-1], course.steps < _FEW_STEPS
    longer = f"To train longer: {course.command_to_extend}"
    if course.baselines is not None and _loss(kept) >= course.baselines.unigram and not few:
        return Notice(
            "The model learned nothing beyond character frequencies: its held-out loss is not below the unigram "
            "baseline. Start a new run with another learning rate (--set learning_rate=0.001).",
            code="learned_nothing",
        )
    if _loss(kept) < _SOLVED:
        return Notice(
            "The loss is close to 0, so there is little left to learn: the text is very repetitive.",
            code="nothing_left_to_learn",
        )
    assert last.train_loss is not None and kept.train_loss is not None
    if _loss(last) > _loss(kept) + OVERFITTING and last.train_loss > kept.train_loss:
        return Notice(
            f"After step {kept.step:,} the loss rose on the training text and on the held-out text: the learning rate "
            f"is too high. The model of step {kept.step:,} is kept. Start a new run with a lower learning rate (--set "
            "learning_rate=0.001).",
            code="learning_rate_too_high",
            step=kept.step,
        )
    if _loss(last) > _loss(kept) + OVERFITTING:
        return Notice(
            f"The model of step {kept.step:,} is kept, because the model overfits after it: the held-out loss rose "
            f"from {_loss(kept):.4f} to {_loss(last):.4f} while the training loss fell to {last.train_loss:.4f}. "
            "Longer training does not help; more text does, or a new run with more dropout (--set dropout_output=0.3).",
            code="overfitting",
            step=kept.step,
            best_loss=_loss(kept),
            last_loss=_loss(last),
        )
    if few:
        return Notice(
            f"{course.steps:,} steps are few: each step changes the weights once, and a model needs some hundreds to "
            f"learn words. {longer}",
            code="too_few_steps",
            steps=course.steps,
        )
    gap, falling = _loss(kept) - kept.train_loss, kept.step == last.step
    if gap < _SMALL_GAP:
        return Notice(
            f"The model is under-trained: its held-out loss is {_difference(gap)} its training loss, so the same text "
            f"can teach it more. {longer}",
            code="under_trained",
            gap=gap,
        )
    if gap >= _LARGE_GAP:
        trend = f" Longer training may still help a little: {course.command_to_extend}" if falling else ""
        return Notice(
            f"The text is short for this model: the held-out loss is {gap:.2f} nats above the training loss. More text "
            f"helps most.{trend}",
            code="text_limited",
            gap=gap,
            still_falling=falling,
        )
    trend = f"was still falling at the end. {longer}" if falling else f"stopped falling at step {kept.step:,}."
    return Notice(
        f"The model is well trained: its held-out loss is {gap:.2f} nats above its training loss and {trend}",
        code="well_trained",
        gap=gap,
        still_falling=falling,
    )


def _difference(gap: float) -> str:
    return f"only {gap:.2f} nats above" if gap >= 0.005 else "not above"


def _kept(course: Course) -> EvaluationRecord | None:
    """Return the evaluation of the model that is kept: the lowest held-out loss, or the last training loss."""
    held_out = [evaluation for evaluation in course.trained if evaluation.val_loss is not None]
    if held_out:
        return min(held_out, key=_loss)
    return course.trained[-1] if course.trained else None


def _loss(evaluation: EvaluationRecord) -> float:
    """Return the held-out loss if it was measured, else the training loss, in nats per character."""
    loss = evaluation.train_loss if evaluation.val_loss is None else evaluation.val_loss
    assert loss is not None
    return loss
