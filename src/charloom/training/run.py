"""A training as a whole: the loop, the evaluations, and the run folder they leave."""

import json
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import charloom
from charloom.errors import NonFiniteError
from charloom.model.files import write_whole
from charloom.model.model_file import SavedModel, save_model
from charloom.model.run_folder import METRICS, MODEL, RECIPE, SAMPLES, checkpoint_path, create_run_folder
from charloom.plan.planner import Plan
from charloom.plan.recipes import Recipe, write_recipe
from charloom.runtime.language_model import Model
from charloom.text.corpus import Corpus
from charloom.training.evaluation import evaluate
from charloom.training.loop import train_steps
from charloom.training.network import CharNetwork
from charloom.training.preparation import Preparation, first_evaluation, prepare, resolve_plan
from charloom.training.records import (
    CheckpointRecord,
    EvaluationRecord,
    FinishRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)
from charloom.training.streams import make_batches

_COLD_STEPS = 10  # left out of the speed: the first steps allocate memory


def run_training(
    corpus: Corpus,
    recipe: Recipe,
    folder: str | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Train on a corpus and leave a run folder, telling everything that happens.

    Args:
        corpus: What to learn from.
        recipe: All choices.
        folder: The run folder, which must not exist; None for ``runs/<corpus name>``, then ``-2``, ``-3`` ...
        device: See ``charloom.training.device.DEVICES``.
        stop: Asked after every step; once it returns true, the model is saved and the training ends.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        InputError: If the corpus, the settings or the folder cannot be used.
        NonFiniteError: If the training diverges; what was saved before stays.
    """
    began = time.perf_counter()
    ready = prepare(corpus, recipe, device)
    run = _Run(ready, create_run_folder(folder, corpus.name), began)
    yield from run.train(stop)


class _Run:
    """One training under way: its files, its best loss, its speed."""

    def __init__(self, ready: Preparation, folder: Path, began: float) -> None:
        self.ready = ready
        self.folder = folder
        self.began = began
        self.network: CharNetwork = ready.make_network()
        self.untrained_loss, evaluation_seconds = first_evaluation(ready, self.network)
        self.plan: Plan = resolve_plan(ready, began, evaluation_seconds)
        self.last_epoch: deque[float] = deque(maxlen=self.plan.steps_per_epoch)
        self.since_evaluation: list[float] = []
        self.step_seconds: list[float] = []
        self.evaluation: EvaluationRecord | None = None
        self.best: EvaluationRecord | None = None

    def train(self, stop: Callable[[], bool]) -> Iterator[Record]:
        self._write_recipe()
        yield self._plan_record()
        if self.untrained_loss is not None:
            yield self._evaluated(None, self.untrained_loss)
        batches = make_batches(self.ready.training, self.plan.settings)
        steps = train_steps(self.network, batches, self.plan.settings, self.plan.steps, self.ready.device)
        try:
            for step in steps:
                self._remember(step)
                if stop() and step.step < self.plan.steps:
                    saved = self._save_interrupted(step)  # before anything is told: who listens may be gone
                    yield step
                    yield saved
                    break
                yield step
                yield from self._after(step)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error} {self._what_is_kept()}") from None
        yield self._finish_record(step)

    def _remember(self, step: StepRecord) -> None:
        self.last_epoch.append(step.loss)
        self.since_evaluation.append(step.loss)
        self.step_seconds.append(step.seconds)

    def _after(self, step: StepRecord) -> Iterator[Record]:
        """Evaluate, sample and save, where it is time to."""
        last = step.step == self.plan.steps
        settings = self.plan.settings
        if last or step.step % settings.eval_every == 0:
            yield self._evaluate(step)
            if settings.sample_length:
                yield self._sample(step.step)
        if last or step.step % settings.checkpoint_every == 0:
            yield self._checkpoint(step.step)

    def _evaluate(self, step: StepRecord) -> EvaluationRecord:
        validation = self.ready.validation
        return self._evaluated(
            step, evaluate(self.network, validation, self.ready.device.name) if len(validation) else None
        )

    def _evaluated(self, step: StepRecord | None, val_loss: float | None) -> EvaluationRecord:
        """Keep the model if it is the best, and record where the training stands."""
        if val_loss is not None and not math.isfinite(val_loss):
            raise NonFiniteError(
                f"The held-out loss was {val_loss}: the training has diverged. Try a lower learning rate."
            )
        train_loss = statistics.fmean(self.since_evaluation) if self.since_evaluation else None
        loss = train_loss if val_loss is None else val_loss
        is_best = step is not None and self._beats_best(val_loss)
        record = EvaluationRecord(
            step=step.step if step else 0,
            epoch=step.epoch if step else 0.0,
            train_loss=train_loss,
            val_loss=val_loss,
            bits_per_char=None if loss is None else loss / math.log(2),
            best_val_loss=val_loss if is_best else self.best.val_loss if self.best else None,
            is_best=is_best,
            chars_per_second=self._chars_per_second() if step else None,
            seconds=time.perf_counter() - self.began,
            learning_rate=step.learning_rate if step else 0.0,
            grad_norm=step.grad_norm if step else None,
        )
        self.evaluation = record
        self.since_evaluation = []
        if is_best:
            self.best = record
            save_model(self.folder / MODEL, self._saved_model(record.step))
        self._append(METRICS, json.dumps({k: v for k, v in asdict(record).items() if k != "is_best"}) + "\n")
        return record

    def _beats_best(self, val_loss: float | None) -> bool:
        """Return whether a model with this loss is the one to keep; where nothing is held out, each newer one is."""
        if val_loss is None or self.best is None or self.best.val_loss is None:
            return True
        return val_loss < self.best.val_loss

    def _sample(self, step: int) -> SampleRecord:
        """Write a little with the model as it is now; the seed is the run's, so samples can be compared."""
        model = Model(self._saved_model(step))
        text = model.generate(length=self.plan.settings.sample_length, seed=self.plan.settings.seed)
        self._append(SAMPLES, f"--- step {step}\n{text}\n\n")
        return SampleRecord(step, text)

    def _checkpoint(self, step: int) -> CheckpointRecord:
        path = checkpoint_path(self.folder, step)
        save_model(path, self._saved_model(step))
        return CheckpointRecord(step, str(path))

    def _save_interrupted(self, step: StepRecord) -> CheckpointRecord:
        if self.best is None:
            save_model(self.folder / MODEL, self._saved_model(step.step))
        return self._checkpoint(step.step)

    def _what_is_kept(self) -> str:
        if self.best is None:
            return "It happened before the first evaluation, so no model was saved."
        return f"The best model so far, of step {self.best.step}, is in {self.folder}."

    def _saved_model(self, step: int) -> SavedModel:
        vocabulary = self.ready.corpus.vocabulary
        return SavedModel(self.ready.architecture, vocabulary, self.network.weights(), self._facts(step))

    def _facts(self, step: int) -> dict[str, Any]:
        """Return where the model comes from; nothing in it depends on the clock or names a path."""
        corpus = self.ready.corpus
        at = self.evaluation if self.evaluation and self.evaluation.step == step else None
        return {
            "corpus": corpus.name,
            "corpus_sha256": corpus.sha256,
            "corpus_characters": len(corpus.text),
            "recipe": self.ready.recipe.name,
            "settings": self.plan.settings.to_dict(),
            "step": step,
            "epoch": step / self.plan.steps_per_epoch,
            "train_loss": at.train_loss if at else None,
            "val_loss": at.val_loss if at else None,
            "best_val_loss": self.best.val_loss if self.best else None,
            "charloom_version": charloom.__version__,
        }

    def _plan_record(self) -> PlanRecord:
        return PlanRecord(
            run=str(self.folder),
            plan=self.plan,
            architecture=self.ready.architecture,
            device=self.ready.device.description,
            baselines=self.ready.baselines,
            training_chars=len(self.ready.training),
            validation_chars=len(self.ready.validation),
        )

    def _finish_record(self, step: StepRecord) -> FinishRecord:
        train_loss = statistics.fmean(self.last_epoch)
        trained = self.evaluation if self.evaluation and self.evaluation.step > 0 else None
        kept = self.best.val_loss if self.best and self.best.val_loss is not None else train_loss
        return FinishRecord(
            run=str(self.folder),
            steps=step.step,
            seconds=time.perf_counter() - self.began,
            train_loss=train_loss,
            val_loss=trained.val_loss if trained else None,
            best_val_loss=self.best.val_loss if self.best else None,
            best_step=self.best.step if self.best else None,
            bits_per_char=kept / math.log(2),
            chars_per_second=self._chars_per_second(),
            interrupted=step.step < self.plan.steps,
        )

    def _chars_per_second(self) -> float:
        settings = self.plan.settings
        seconds = self.step_seconds[_COLD_STEPS:] or self.step_seconds
        return settings.batch_size * settings.seq_length / statistics.median(seconds)

    def _write_recipe(self) -> None:
        facts = {
            "corpus": f"{self.ready.corpus.name}, {len(self.ready.corpus.text)} characters",
            "corpus_sha256": self.ready.corpus.sha256,
            "device": self.ready.device.description,
            "charloom": charloom.__version__,
        }
        text = write_recipe(self.ready.recipe.name, self.plan.settings, facts)
        write_whole(self.folder / RECIPE, text.encode("utf-8"))

    def _append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8", newline="") as file:
            file.write(text)
