"""Create the records of a training run, and add them to the log files of the run folder."""

import json
import math
import time
from dataclasses import asdict
from typing import Any

from charloom._version import __version__
from charloom.errors import Notice
from charloom.model.file.run_folder import METRICS, SAMPLES
from charloom.planning.plan_changes import PlanChange
from charloom.planning.recipes import write_recipe
from charloom.planning.schedule import Plan
from charloom.training.events import (
    PLAN_CHANGED,
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    PlanChangeRecord,
    PlanRecord,
    SampleRecord,
    StepRecord,
)
from charloom.training.history import History
from charloom.training.pipeline import TrainingSetup
from charloom.training.run_files import RunFiles


class Recorder:
    """Creates the records of one training.

    Args:
        setup: Setup of the training.
        plan: Plan of the training.
        files: Receives lines of ``metrics.jsonl`` and ``samples.txt``.
        history: History so far; evaluations are added to it.
        began: Start of this process' part of the training, as a value of ``time.perf_counter``.
    """

    def __init__(self, setup: TrainingSetup, plan: Plan, files: RunFiles, history: History, began: float) -> None:
        self._setup = setup
        self._plan = plan
        self._files = files
        self._history = history
        self._began = began

    def use_plan(self, plan: Plan) -> None:
        """Use another plan from now on."""
        self._plan = plan

    def seconds(self) -> float:
        """Return the wall time of the training in seconds, including that before it was resumed."""
        return self._history.seconds + time.perf_counter() - self._began

    def plan(self, step: int) -> PlanRecord:
        """Return the first record of a training run that has already made ``step`` steps."""
        return PlanRecord(
            run=str(self._files.run),
            plan=self._plan,
            architecture=self._setup.architecture,
            device=self._setup.device.description,
            baselines=self._setup.baselines,
            training_chars=len(self._setup.training),
            validation_chars=len(self._setup.validation),
            step=step,
            seconds=self._history.seconds,
            earlier=tuple(e for e in (self._history.best, self._history.evaluation) if e is not None),
        )

    def write_recipe(self) -> None:
        """Write ``recipe.toml``.

        Raises:
            OSError: If it cannot be written.
        """
        corpus = self._setup.corpus
        facts = {
            "corpus": f"{corpus.name}, {len(corpus)} {corpus.format.unit}s",
            "corpus_sha256": corpus.sha256,
            "device": self._setup.device.description,
            "charloom": __version__,
        }
        self._files.write_recipe(write_recipe(self._setup.recipe.name, self._plan.settings, facts))

    def evaluation(self, step: StepRecord | None, val_loss: float | None) -> EvaluationRecord:
        """Add an evaluation to the history and to the metrics.

        Args:
            step: Record of the last step; None before the first.
            val_loss: Held-out loss in nats per character; None if nothing is held out. The loss can be NaN or infinite
                although all weights are finite, if matrix products overflow; such a model is never the best.
        """
        is_finite = val_loss is None or math.isfinite(val_loss)
        val_loss = val_loss if is_finite else None
        train_loss = self._history.loss_since_evaluation()
        loss = train_loss if val_loss is None else val_loss
        is_best = step is not None and is_finite and self._history.beats_best(val_loss)
        best = self._history.best
        record = EvaluationRecord(
            step=step.step if step else 0,
            epoch=step.epoch if step else 0.0,
            train_loss=train_loss,
            val_loss=val_loss,
            bits_per_char=None if loss is None else loss / math.log(2),
            best_val_loss=val_loss if is_best else best.val_loss if best else None,
            is_best=is_best,
            chars_per_second=self._chars_per_second() if step else None,
            seconds=self.seconds(),
            learning_rate=step.learning_rate if step else 0.0,
            grad_norm=step.grad_norm if step else None,
        )
        self._history.add_evaluation(record)
        self._add_metrics({k: v for k, v in asdict(record).items() if k != "is_best"})
        return record

    def sample(self, step: int, text: str) -> SampleRecord:
        """Add a generated text to ``samples.txt``."""
        self._history.sampled = step
        self._files.append(SAMPLES, f"--- step {step}\n{text}\n\n")
        return SampleRecord(step, text)

    def event(self, step: int, event: str, message: Notice) -> EventRecord:
        """Add an event to ``metrics.jsonl``."""
        self._add_metrics({"step": step, "event": event, "loss": None})
        return EventRecord(step, event, message)

    def plan_change(self, change: PlanChange) -> PlanChangeRecord:
        """Add a change of the plan to ``metrics.jsonl``."""
        self._add_metrics({"step": change.step, "event": PLAN_CHANGED, "steps": change.steps, "loss": None})
        return PlanChangeRecord(change.step, change.steps)

    def finish(self, step: int, interrupted: bool) -> FinishRecord:
        """Return the last record.

        Args:
            step: Number of steps made.
            interrupted: Whether the training was stopped before the end of its plan.
        """
        history = self._history
        train_loss = history.loss_of_last_epoch()
        trained = history.evaluation if history.evaluation and history.evaluation.step > 0 else None
        kept = history.best.val_loss if history.best and history.best.val_loss is not None else train_loss
        return FinishRecord(
            run=str(self._files.run),
            steps=step,
            seconds=self.seconds(),
            train_loss=train_loss,
            val_loss=trained.val_loss if trained else None,
            best_val_loss=history.best.val_loss if history.best else None,
            best_step=history.best.step if history.best else None,
            bits_per_char=None if kept is None else kept / math.log(2),
            chars_per_second=self._chars_per_second(),
            interrupted=interrupted,
        )

    def _add_metrics(self, line: dict[str, Any]) -> None:
        self._files.append(METRICS, json.dumps(line, allow_nan=False) + "\n")

    def _chars_per_second(self) -> float | None:
        settings, seconds = self._plan.settings, self._history.mean_step_seconds()
        chars_per_step: float = settings.batch_size * settings.seq_length
        if self._setup.record_lengths is not None:
            chars_per_step = len(self._setup.training) / self._plan.steps_per_epoch
        return None if seconds is None else chars_per_step / seconds
