"""The status of a training as figures and words, for the views to show."""

import math
import shlex
import time

from charloom.inference.memorization import LONG
from charloom.report.verdict import verdict
from charloom.terminal.messages import clock, percent
from charloom.training.events import (
    EvaluationRecord,
    FinishRecord,
    NoveltyRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)

_SMOOTHING = 0.95  # share of the past in the loss and the step time shown


class TrainingProgress:
    """Takes the records of a training and says where it stands."""

    def __init__(self) -> None:
        self.plan: PlanRecord | None = None
        self.step: StepRecord | None = None
        self.evaluations: list[EvaluationRecord] = []
        self.sample: SampleRecord | None = None
        self.novelty: NoveltyRecord | None = None
        self.loss = math.nan
        self.step_seconds = math.nan
        self._began = time.perf_counter()

    def take(self, record: Record) -> None:
        """Remember what has just happened."""
        if isinstance(record, PlanRecord):
            self.plan = record
            self._began = time.perf_counter()
        elif isinstance(record, StepRecord):
            self.step = record
            if record.loss is not None:
                self.loss = _smooth(self.loss, record.loss)
            self.step_seconds = _smooth(self.step_seconds, record.seconds)
        elif isinstance(record, EvaluationRecord):
            self.evaluations.append(record)
        elif isinstance(record, SampleRecord):
            self.sample = record
        elif isinstance(record, NoveltyRecord):
            self.novelty = record

    @property
    def seconds_left(self) -> float:
        """Seconds to go at the pace so far, evaluations included."""
        assert self.plan is not None
        if self.step is None:
            return math.nan
        a_step = (time.perf_counter() - self._began) / (self.step.step - self.plan.step)
        return a_step * (self.plan.plan.steps - self.step.step)

    @property
    def best(self) -> EvaluationRecord | None:
        """The evaluation whose model is kept."""
        return next((e for e in reversed(self.evaluations) if e.is_best), None)

    def heading(self) -> str:
        """Return four lines on what is trained, on what, and where."""
        assert self.plan is not None
        p = self.plan
        held_out = f", {p.validation_chars:,} held out" if p.validation_chars else ", nothing held out"
        going_on = f", going on after step {p.step:,}" if p.step else ""
        planned = f"{p.plan.steps / p.plan.steps_per_epoch:.3g} passes"
        if p.plan.seconds is not None:
            planned += f" in {clock(p.plan.seconds)}"
        if p.plan.expected_bits is not None:
            low, high = p.plan.expected_bits
            planned += f", to end between {low:.2f} and {high:.2f} bits per held-out character"
        return (
            f"{p.run}: {p.architecture.in_words}, {p.architecture.num_parameters:,} parameters{going_on}\n"
            f"{p.training_chars:,} characters to learn from{held_out}\n"
            f"planned: {planned}\n"
            f"{p.device}"
        )

    def figures(self) -> list[tuple[str, str]]:
        """Return the figures of this moment as name and value."""
        assert self.plan is not None
        settings = self.plan.plan.settings
        if self.step is None:
            return [("", "first step ...")]
        shown = [
            ("epoch", f"{self.step.epoch:.2f}"),
            ("step", f"{self.step_seconds * 1000:.0f} ms"),
            ("speed", f"{settings.batch_size * settings.seq_length / self.step_seconds:,.0f} chars/s"),
            ("loss", _nats_and_bits(self.loss)),
        ]
        held_out = [e for e in self.evaluations if e.val_loss is not None]
        if held_out and held_out[-1].val_loss is not None:
            shown.append(("held out", _nats_and_bits(held_out[-1].val_loss)))
        if self.best is not None and self.best.val_loss is not None:
            shown.append(("best", f"{self.best.val_loss:.4f} at step {self.best.step:,}"))
        shown.append(("left", clock(self.seconds_left)))
        return shown

    def closing(self, finish: FinishRecord) -> list[str]:
        """Return the sentences that end a training."""
        assert self.plan is not None
        done = "Stopped" if finish.interrupted else "Done"
        run = shlex.quote(finish.run)
        speed = f", at {finish.chars_per_second:,.0f} characters a second" if finish.chars_per_second else ""
        return [
            f"{done} after {finish.steps:,} steps in {clock(finish.seconds)}{speed}.",
            *verdict(self.evaluations, self.plan.baselines),
            *([] if self.novelty is None else [_copied(self.novelty, self.plan.training_chars)]),
            f"Saved in {finish.run}. To write with it:",
            f"  charloom generate {run}",
            *([f"  charloom generate {run}@last    (as it was when it was stopped)"] if finish.interrupted else []),
            *(["To go on:", f"  charloom train --resume {run}"] if finish.interrupted else []),
        ]


def _copied(novelty: NoveltyRecord, characters: int) -> str:
    where = "its text" if novelty.searched >= characters else f"the first {novelty.searched:,} characters of its text"
    if novelty.lines:
        assert novelty.copied_lines is not None
        return (
            f"Of {novelty.lines:,} lines it writes, {percent(1 - novelty.copied_lines / novelty.lines)} are new, and "
            f"{percent(novelty.copied_lines / novelty.lines)} are lines of {where}."
        )
    said = (
        f"Of {novelty.characters:,} characters it writes, {percent(novelty.copied)} lie in copies of more than {LONG} "
        f"characters from {where}, the longest {novelty.longest}"
    )
    if novelty.held_out_copied is None:
        return f"{said}."
    held_out = f"{percent(novelty.held_out_copied)}, the longest {novelty.held_out_longest}"
    return f"{said}; of the held-out text it is {held_out}."


def _smooth(before: float, value: float) -> float:
    return value if math.isnan(before) else _SMOOTHING * before + (1 - _SMOOTHING) * value


def _nats_and_bits(loss: float) -> str:
    return f"{loss:.4f} ({loss / math.log(2):.3f} bits/char)"
