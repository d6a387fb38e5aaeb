"""Data of the live page, which shows the progress of a running training."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from charloom._version import __version__
from charloom.report.run_history import RunHistory, read_history
from charloom.report.verdict import Course, verdict
from charloom.training.events import (
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    PlanChangeRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)


class LiveReport:
    """Collects the records of a running training and converts them to the data of the live page."""

    def __init__(self) -> None:
        self._plan: PlanRecord | None = None
        self._step: StepRecord | None = None
        self._finish: FinishRecord | None = None
        self._history = RunHistory([], [], [])
        self._steps = 0  # planned
        self._evaluations: list[EvaluationRecord] = []

    def take(self, record: Record) -> None:
        """Add the next record of the training."""
        if isinstance(record, PlanRecord):
            self._plan, self._steps = record, record.plan.steps
            self._evaluations = list(record.earlier)
            self._history = read_history(Path(record.run))  # not empty if the run is resumed
        elif isinstance(record, PlanChangeRecord):
            self._steps = record.steps
        elif isinstance(record, StepRecord):
            self._step = record
        elif isinstance(record, EvaluationRecord):
            self._evaluations.append(record)
            self._history.evaluations.append(asdict(record))
        elif isinstance(record, SampleRecord):
            self._history.samples.append((record.step, record.text))
        elif isinstance(record, EventRecord):
            self._history.events.append({"step": record.step, "event": record.message})
        elif isinstance(record, FinishRecord):
            self._finish = record

    def data(self) -> dict[str, Any]:
        """Return the data of the page, for JSON."""
        if self._plan is None:
            return {"name": "charloom", "model": None, "run": None, "status": "Starting.", "finished": False}
        a, baselines = self._plan.architecture, self._plan.baselines
        return {
            "charloom": __version__,
            "name": self._plan.run,
            "model": {**a.to_dict(), "parameters": a.num_parameters},
            "run": self._history.data() | {"guessing": {"uniform": baselines.uniform, "unigram": baselines.unigram}},
            "verdict": self._verdict(),
            "status": self._status(self._steps),
            "finished": self._finish is not None,
        }

    def _verdict(self) -> dict[str, Any] | None:
        """Return the verdict on the run; None until the training has ended."""
        plan, finish = self._plan, self._finish
        if plan is None or finish is None:
            return None
        course = Course(
            finish.run,
            self._evaluations,
            plan.baselines,
            plan.training_chars,
            finish.steps,
            self._steps,
            finish.interrupted,
            finish.seconds,
        )
        return verdict(course).to_dict()

    def _status(self, steps: int) -> str:
        if self._finish is not None:
            return "Stopped." if self._finish.interrupted else f"Done after {self._finish.steps:,} steps."
        if self._step is None:
            return f"Step 1 of {steps:,} is running."
        loss = "" if self._step.loss is None else f", loss {self._step.loss:.3f}"
        return f"Step {self._step.step:,} of {steps:,}, {self._step.epoch:.2f} epochs{loss}."
