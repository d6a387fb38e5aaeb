"""The history of a run, which checkpoints save: losses, best evaluation, counts of skipped steps and rollbacks."""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.training.events import EvaluationRecord, StepRecord

_COLD_STEPS = 10  # first steps, excluded from the speed because they allocate memory
_COUNTS = ("sampled", "skipped", "rollbacks", "waited", "lowest", "ended", "watched")  # saved unchanged


class History:
    """The history of one training.

    Args:
        steps_per_epoch: Steps in one epoch; the training loss is averaged over this many steps.

    Attributes:
        step: Record of the last step; None before the first.
        evaluation: The last evaluation; None before the first.
        best: The evaluation of the best model; None before the first.
        recent_best: The same, since the run was last extended or the learning rate last rose; early stopping compares
            with it.
        sampled: Step of the last sample.
        seconds: Wall time of the training before this process.
        skipped: Number of consecutive steps skipped, up to the last step.
        rollbacks: Number of rollbacks so far.
        waited: Number of evaluations since ``recent_best``.
        lowest: Lowest mean training loss between two evaluations, in nats per character; None before the first.
        ended: Whether early stopping has ended the training.
        watched: Step of the last evaluation that ``Recovery`` has examined.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.step: StepRecord | None = None
        self.evaluation: EvaluationRecord | None = None
        self.best: EvaluationRecord | None = None
        self.recent_best: EvaluationRecord | None = None
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
        """Add a step; a skipped step has no loss."""
        self.step = step
        self._step_seconds.append(step.seconds)
        if step.loss is None:
            self.skipped += 1
            return
        self.skipped = 0
        self._last_epoch.append(step.loss)
        self._since_evaluation.append(step.loss)

    def add_evaluation(self, record: EvaluationRecord) -> None:
        """Add an evaluation and update ``best``, ``waited`` and ``lowest``."""
        self.evaluation = record
        self._since_evaluation = []
        self.waited += 1
        if record.is_best:
            self.best = record
        if record.is_best or (record.step > 0 and self._is_recent_best(record)):
            self.recent_best = record
            self.waited = 0
        if record.train_loss is not None:
            self.lowest = min(record.train_loss, math.inf if self.lowest is None else self.lowest)

    def extend(self) -> None:
        """Start a part of the training that was not planned at first: early stopping waits anew."""
        self.ended = False
        self.recent_best = None
        self.waited = 0

    def _is_recent_best(self, record: EvaluationRecord) -> bool:
        if record.val_loss is None:
            return False
        best = self.recent_best
        if best is None or best.val_loss is None or record.val_loss < best.val_loss:
            return True
        return record.learning_rate > best.learning_rate  # a higher rate gives a higher loss for a while

    def reset_lowest(self) -> None:
        """Set the lowest training loss to the last one, even if it is higher."""
        self.lowest = self.evaluation.train_loss if self.evaluation else None

    def beats_best(self, val_loss: float | None) -> bool:
        """Return whether this held-out loss is the lowest so far; if nothing is held out, the newest is best."""
        if val_loss is None or self.best is None or self.best.val_loss is None:
            return True
        return val_loss < self.best.val_loss

    def loss_since_evaluation(self) -> float | None:
        """Return the mean training loss since the last evaluation, in nats per character."""
        return statistics.fmean(self._since_evaluation) if self._since_evaluation else None

    def loss_of_last_epoch(self) -> float | None:
        """Return the mean training loss of the last ``steps_per_epoch`` steps, or of all if there are fewer."""
        return statistics.fmean(self._last_epoch) if self._last_epoch else None

    def mean_step_seconds(self) -> float | None:
        """Return the mean seconds of a step in this process. A median would ignore Muon's few expensive steps."""
        counted = self._step_seconds[_COLD_STEPS:] or self._step_seconds
        return statistics.fmean(counted) if counted else None

    def facts(self) -> dict[str, Any]:
        """Return the part of the history that a checkpoint saves as JSON."""
        records = {"step": self.step, "evaluation": self.evaluation, "best": self.best}
        if self.recent_best is not self.best:
            records["recent_best"] = self.recent_best
        facts: dict[str, Any] = {name: record and asdict(record) for name, record in records.items()}
        return facts | {name: getattr(self, name) for name in _COUNTS}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the part of the history that a checkpoint saves as float64 tensors."""
        losses = {"last_epoch": self._last_epoch, "since_evaluation": self._since_evaluation}
        return {f"losses.{name}": np.array(values, np.float64) for name, values in losses.items()}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore the history from the results of ``facts`` and ``tensors``."""
        self.step = facts["step"] and StepRecord(**facts["step"])
        self.evaluation = facts["evaluation"] and EvaluationRecord(**facts["evaluation"])
        self.best = facts["best"] and EvaluationRecord(**facts["best"])
        recent_best = facts.get("recent_best")
        self.recent_best = EvaluationRecord(**recent_best) if recent_best else None
        if "recent_best" not in facts:
            self.recent_best = self.best
        for name in _COUNTS:
            setattr(self, name, facts[name])
        self._last_epoch = deque(tensors["losses.last_epoch"].tolist(), self._last_epoch.maxlen)
        self._since_evaluation = tensors["losses.since_evaluation"].tolist()
