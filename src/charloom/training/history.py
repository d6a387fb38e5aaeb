"""The history of a run that a checkpoint keeps: losses, best model, skipped updates."""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.training.events import EvaluationRecord, StepRecord

_COLD_STEPS = 10  # not counted: the first steps allocate memory
_COUNTS = ("sampled", "skipped", "rollbacks", "waited", "lowest", "ended", "watched")  # kept as they are


class History:
    """The history of one training.

    Args:
        steps_per_epoch: Number of losses of which the last epoch's mean is taken.

    Attributes:
        step: The last update, or None before the first.
        evaluation: The last evaluation, or None before the first.
        best: The evaluation whose model is kept.
        sampled: The step after which the last sample was written.
        seconds: Wall time of the training before this process.
        skipped: Consecutive updates left out, up to the last one.
        rollbacks: Number of roll-backs so far.
        waited: Evaluations since the best.
        lowest: The lowest mean training loss between two evaluations, in nats per character; None before the first.
        ended: Whether early stopping has ended the training.
        watched: The step whose evaluation the recovery has examined last.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.step: StepRecord | None = None
        self.evaluation: EvaluationRecord | None = None
        self.best: EvaluationRecord | None = None
        self.sampled = 0
        self.seconds = 0.0
        self.skipped = 0
        self.rollbacks = 0
        self.waited = 0
        self.lowest: float | None = None
        self.ended = False
        self.watched = 0
        self._last_epoch: deque[float] = deque(maxlen=steps_per_epoch)
        self._since_evaluation: list[float] = []
        self._step_seconds: list[float] = []

    def add_step(self, step: StepRecord) -> None:
        """Add an update; one that was left out has no loss."""
        self.step = step
        self._step_seconds.append(step.seconds)
        if step.loss is None:
            self.skipped += 1
            return
        self.skipped = 0
        self._last_epoch.append(step.loss)
        self._since_evaluation.append(step.loss)

    def add_evaluation(self, record: EvaluationRecord) -> None:
        """Add an evaluation."""
        self.evaluation = record
        self._since_evaluation = []
        self.waited += 1
        if record.is_best:
            self.best = record
            self.waited = 0
        if record.train_loss is not None:
            self.lowest = min(record.train_loss, math.inf if self.lowest is None else self.lowest)

    def reset_lowest(self) -> None:
        """Set the lowest training loss to the last one, however high it is."""
        self.lowest = self.evaluation.train_loss if self.evaluation else None

    def beats_best(self, val_loss: float | None) -> bool:
        """Return whether a model with this loss is the best so far; where nothing is held out, the newest one is."""
        if val_loss is None or self.best is None or self.best.val_loss is None:
            return True
        return val_loss < self.best.val_loss

    def loss_since_evaluation(self) -> float | None:
        """Return the mean loss since the last evaluation, in nats per character."""
        return statistics.fmean(self._since_evaluation) if self._since_evaluation else None

    def loss_of_last_epoch(self) -> float | None:
        """Return the mean loss of the last epoch, or of as much of it as there was."""
        return statistics.fmean(self._last_epoch) if self._last_epoch else None

    def mean_step_seconds(self) -> float | None:
        """Return the mean time of an update in this process: a mean, as one in a few of Muon's updates takes longer."""
        counted = self._step_seconds[_COLD_STEPS:] or self._step_seconds
        return statistics.fmean(counted) if counted else None

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as plain JSON data."""
        records = {"step": self.step, "evaluation": self.evaluation, "best": self.best}
        facts: dict[str, Any] = {name: record and asdict(record) for name, record in records.items()}
        return facts | {name: getattr(self, name) for name in _COUNTS}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint keeps, as float64 arrays."""
        losses = {"last_epoch": self._last_epoch, "since_evaluation": self._since_evaluation}
        return {f"losses.{name}": np.array(values, np.float64) for name, values in losses.items()}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore what ``facts`` and ``tensors`` returned."""
        self.step = facts["step"] and StepRecord(**facts["step"])
        self.evaluation = facts["evaluation"] and EvaluationRecord(**facts["evaluation"])
        self.best = facts["best"] and EvaluationRecord(**facts["best"])
        for name in _COUNTS:
            setattr(self, name, facts[name])
        self._last_epoch = deque(tensors["losses.last_epoch"].tolist(), self._last_epoch.maxlen)
        self._since_evaluation = tensors["losses.since_evaluation"].tolist()
