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

_COLD_STEPS = 10  # left out of the speed: the first steps allocate memory
_COUNTS = ("sampled", "skipped", "rollbacks", "waited", "lowest", "ended", "watched")  # kept as they are


class History:
    """The past of one training.

    Args:
        steps_per_epoch: So many losses count for the mean of the last epoch.

    Attributes:
        step: The last update, or None before the first.
        evaluation: The last evaluation, or None before the first.
        best: The evaluation whose model is kept.
        sampled: The step after which the last sample was written.
        seconds: Wall time until this process took the training up.
        skipped: Updates left out one after the other, until now.
        rollbacks: How often the training went back to an earlier step.
        waited: Evaluations since the best.
        lowest: The lowest mean training loss between two evaluations, in nats per character; None before the first.
        ended: Whether the training ended by itself before its last step.
        watched: The step whose evaluation was last looked at for what goes wrong.
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

    def take(self, step: StepRecord) -> None:
        """Remember an update; one that was left out has no loss that could count."""
        self.step = step
        self._step_seconds.append(step.seconds)
        if step.loss is None:
            self.skipped += 1
            return
        self.skipped = 0
        self._last_epoch.append(step.loss)
        self._since_evaluation.append(step.loss)

    def evaluated(self, record: EvaluationRecord) -> None:
        """Remember an evaluation."""
        self.evaluation = record
        self._since_evaluation = []
        self.waited += 1
        if record.is_best:
            self.best = record
            self.waited = 0
        if record.train_loss is not None:
            self.lowest = min(record.train_loss, math.inf if self.lowest is None else self.lowest)

    def start_anew(self) -> None:
        """Take the last training loss for the lowest, however high it is."""
        self.lowest = self.evaluation.train_loss if self.evaluation else None

    def beats_best(self, val_loss: float | None) -> bool:
        """Return whether a model with this loss is the one to keep; where nothing is held out, each newer one is."""
        if val_loss is None or self.best is None or self.best.val_loss is None:
            return True
        return val_loss < self.best.val_loss

    def loss_since_evaluation(self) -> float | None:
        """Return the mean loss since the last evaluation, in nats per character."""
        return statistics.fmean(self._since_evaluation) if self._since_evaluation else None

    def loss_of_last_epoch(self) -> float | None:
        """Return the mean loss of the last epoch, or of as much of it as there was."""
        return statistics.fmean(self._last_epoch) if self._last_epoch else None

    def seconds_a_step(self) -> float | None:
        """Return the mean time of an update in this process; of Muon's one in a few takes longer than the others."""
        counted = self._step_seconds[_COLD_STEPS:] or self._step_seconds
        return statistics.fmean(counted) if counted else None

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as plain JSON data."""
        records = {"step": self.step, "evaluation": self.evaluation, "best": self.best}
        found: dict[str, Any] = {name: record and asdict(record) for name, record in records.items()}
        return found | {name: getattr(self, name) for name in _COUNTS}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint keeps, as float64 arrays."""
        losses = {"last_epoch": self._last_epoch, "since_evaluation": self._since_evaluation}
        return {f"losses.{name}": np.array(values, np.float64) for name, values in losses.items()}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take up what ``facts`` and ``tensors`` returned."""
        self.step = facts["step"] and StepRecord(**facts["step"])
        self.evaluation = facts["evaluation"] and EvaluationRecord(**facts["evaluation"])
        self.best = facts["best"] and EvaluationRecord(**facts["best"])
        for name in _COUNTS:
            setattr(self, name, facts[name])
        self._last_epoch = deque(tensors["losses.last_epoch"].tolist(), self._last_epoch.maxlen)
        self._since_evaluation = tensors["losses.since_evaluation"].tolist()
