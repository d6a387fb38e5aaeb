"""A training under way: steps, evaluations, samples and checkpoints, each in its time, and what goes wrong."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from charloom._version import __version__
from charloom.data.reading.sources import relative_sources
from charloom.errors import NonFiniteError
from charloom.inference.memorization import check_memorization
from charloom.inference.model import Model
from charloom.model.file.model_file import SavedModel, SavedTraining, load_model
from charloom.model.file.run_folder import METRICS, MODEL, SAMPLES, checkpoint_path
from charloom.planning.recipes import write_recipe
from charloom.planning.schedule import Plan
from charloom.training.backends.device import kept_memory
from charloom.training.backends.updates import Updates
from charloom.training.batches.batches import Position, make_batches
from charloom.training.batches.device_ids import resident
from charloom.training.checkpoint import shared_checkpoint
from charloom.training.early_stopping import reason_to_end, reason_to_slow_down
from charloom.training.evaluate import EvaluationStopped, evaluate
from charloom.training.events import (
    CheckpointRecord,
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    NoveltyRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)
from charloom.training.history import History
from charloom.training.pipeline import TrainingSetup, model_facts
from charloom.training.run_files import RunFiles

_SKIPS = 3  # updates left out one after the other before the training goes back
_ROLLBACKS = 2
_PATIENCE = 1.0  # seconds to wait before a failed save is tried again, where somebody waits for the end


def never() -> bool:
    """Return that nothing is asked for."""
    return False


class Trainer:
    """One training under way.

    Args:
        ready: What it trains.
        plan: For how long, and what happens when.
        files: Where it is kept.
        began: When, by ``time.perf_counter``.
    """

    def __init__(self, ready: TrainingSetup, plan: Plan, files: RunFiles, began: float) -> None:
        self.ready = ready
        self.plan = plan
        self.files = files
        self.history = History(plan.steps_per_epoch)
        self.ranks = ready.ranks
        self.updates = Updates(
            ready.make_network(),
            make_batches(resident(ready.training, ready.device.name), plan.settings, ready.ranks),
            plan.settings,
            plan.steps,
            ready.device,
            ready.ranks,
            self._ask,
        )
        self._stop, self._save_now = never, never
        self._began = began
        self._saved: tuple[int, ...] = ()
        self._stopped = False

    def write_beginning(self) -> None:
        """Write what a run folder holds before the first step, a checkpoint of the untrained model among it."""
        self._write_recipe()
        self.files.cut(self.files.lengths())
        self._save_checkpoint()

    def write_change(self) -> None:
        """Write that the plan or the text is another one now, before the next step."""
        self._write_recipe()
        self._save_checkpoint()

    def restore(self, model: SavedModel, training: SavedTraining, same_text: bool = True) -> None:
        """Take up the training where a checkpoint left it; on another text, that is read from its beginning.

        Raises:
            OSError: If the files of lines cannot be cut to what they were then.
        """
        facts = training.facts
        self.updates.network.load(model.weights)
        tensors = training.tensors if same_text else {k: v for k, v in training.tensors.items() if "state." not in k}
        self.updates.restore(tensors, facts["step"])
        self.updates.rate_factor = facts["rate_factor"]
        position = Position(*facts["position"]) if same_text else Position()
        if position.index >= self.updates.batches.batches_per_epoch:
            raise ValueError(f"there is no batch {position.index} in an epoch")
        self.updates.batches.position = position
        self.history.restore(facts["history"], training.tensors)
        self.history.seconds = facts["seconds"]
        if not same_text:
            self.history.best = None  # a loss on another text says nothing about this one
        self.files.cut(facts["files"])
        self._saved = self._moment()

    def train(
        self, stop: Callable[[], bool], save_now: Callable[[], bool], untrained_loss: float | None = None
    ) -> Iterator[Record]:
        """Train to the end of the plan, or until stopped; see ``charloom.training.run.run_training``.

        Args:
            stop: Whether to end.
            save_now: Whether to save.
            untrained_loss: On the held-out text, where this is the beginning.
        """
        self._stop, self._save_now = stop, save_now
        yield self._plan_record()
        with kept_memory():
            if untrained_loss is not None:
                yield from self._evaluated(None, untrained_loss)
            elif self.history.step is not None:
                yield from self._after(self.history.step)  # where it was stopped in the middle of that
            while not self._stopped and not self.history.ended and self.updates.step < self.plan.steps:
                yield from self._one_step()
        if not self._stopped and self.ranks.is_first and (self.files.run / MODEL).is_file():
            settings = self.plan.settings
            parts = self.ready.corpus.parts(settings.val_fraction, settings.test_fraction)
            model = Model(load_model(self.files.run / MODEL))
            check = check_memorization(model, parts.training, parts.validation, settings.seed)
            yield NoveltyRecord(**vars(check))
        yield self._finish_record()

    def _ask(self) -> tuple[bool, bool]:
        """Return whether to stop, and whether it is time to save, as far as this process knows."""
        return self._stop(), self._save_now() or self.files.due_by_clock() or self.files.retry_due()

    def _one_step(self) -> Iterator[Record]:
        step = next(self.updates)
        self.history.take(step)
        stopping, saving = self.updates.asked
        if stopping and step.step < self.plan.steps:
            told = list(self._save_and_stop())  # before anything is told: who listens may be gone
            yield step
            yield from told
            return
        yield step
        if step.loss is None:
            yield self._event("skipped", f"At step {step.step:,} the numbers were not finite: it was left out.")
        if self.history.skipped >= _SKIPS:
            yield self._roll_back()
        else:
            yield from self._after(step, saving)

    def _after(self, step: StepRecord, saving: bool = False) -> Iterator[Record]:
        """Evaluate, sample and save, where it is time to and it is not done yet."""
        last, settings = step.step == self.plan.steps, self.plan.settings
        evaluating = last or step.step % settings.eval_every == 0
        saving = saving or last or step.step % settings.checkpoint_every == 0
        if (evaluating or saving) and not self._weights_are_finite():
            yield self._roll_back()
            return
        if evaluating:
            try:
                yield from self._evaluate(step)
            except EvaluationStopped:
                yield from self._save_and_stop()
                return
            yield from self._watch()
            last = last or self.history.ended
            saving = saving or last
        if saving and self._saved != self._moment():
            yield from self._checkpoint(last)

    def _evaluate(self, step: StepRecord) -> Iterator[Record]:
        if self.history.evaluation is None or self.history.evaluation.step != step.step:
            validation, device = self.ready.validation, self.ready.device.name
            network, held_out = self.updates.network, len(validation) > 0
            loss = evaluate(network, validation, device, self._stop, self.ranks) if held_out else None
            yield from self._evaluated(step, loss)
        if self.plan.settings.sample_length and self.history.sampled != step.step:
            yield self._sample(step.step)

    def _watch(self) -> Iterator[Record]:
        """Look at what the last evaluation says, and do something about it, once."""
        if self.history.watched == self.updates.step:
            return
        self.history.watched = self.updates.step
        reason = reason_to_end(self.history, self.plan.settings.patience)
        if reason and self.updates.step < self.plan.steps:
            self.history.ended = True
            yield self._event("ended", reason)
        elif rising := reason_to_slow_down(self.history):
            self.updates.rate_factor /= 2
            self.history.start_anew()
            yield self._event("halved", rising)

    def _evaluated(self, step: StepRecord | None, val_loss: float | None) -> Iterator[Record]:
        """Keep the model if it is the best, and record where the training stands."""
        usable = val_loss is None or math.isfinite(val_loss)  # finite weights may be so large that products are not
        val_loss = val_loss if usable else None
        train_loss = self.history.loss_since_evaluation()
        loss = train_loss if val_loss is None else val_loss
        is_best = step is not None and usable and self.history.beats_best(val_loss)
        best = self.history.best
        record = EvaluationRecord(
            step=step.step if step else 0,
            epoch=step.epoch if step else 0.0,
            train_loss=train_loss,
            val_loss=val_loss,
            bits_per_char=None if loss is None else loss / math.log(2),
            best_val_loss=val_loss if is_best else best.val_loss if best else None,
            is_best=is_best,
            chars_per_second=self._chars_per_second() if step else None,
            seconds=self._seconds(),
            learning_rate=step.learning_rate if step else 0.0,
            grad_norm=step.grad_norm if step else None,
        )
        self.history.evaluated(record)
        if is_best:
            self.files.keep_best(self._saved_model())
        self._append({k: v for k, v in asdict(record).items() if k != "is_best"})
        yield record
        yield from self._attempt(self.files.write, "The evaluation")

    def _sample(self, step: int) -> SampleRecord:
        """Write a little with the model as it is now; the seed is the run's, so samples can be compared."""
        text = self.ranks.from_first(self._written() if self.ranks.is_first else None)
        if text is None:
            raise EvaluationStopped
        self.history.sampled = step
        self.files.append(SAMPLES, f"--- step {step}\n{text}\n\n")
        return SampleRecord(step, text)

    def _written(self) -> str | None:
        """Return a sample, or None if it was stopped."""
        settings, pieces = self.plan.settings, []
        for piece in Model(self._saved_model()).stream(length=settings.sample_length, seed=settings.seed):
            pieces.append(piece)
            if self._stop():
                return None
        return "".join(pieces)

    def _checkpoint(self, insist: bool = False) -> Iterator[Record]:
        """Save a checkpoint, or say that it failed; insisting, wait and try again."""
        step, model, training = self.updates.step, self._saved_model(), self._saved_training()
        while True:
            save = partial(self.files.save_checkpoint, step, model, training)
            failed = self.ranks.from_first(self.files.attempt(save, f"The checkpoint of step {step:,}"))
            if failed is None:
                self._saved = self._moment()
                yield CheckpointRecord(step, str(checkpoint_path(self.files.run, step)))
                return
            yield EventRecord(step, "not saved", failed)
            if not insist:
                return
            self.files.wait_for_retry(_PATIENCE if self._stopped else math.inf)

    def _save_and_stop(self) -> Iterator[Record]:
        self._stopped = True
        if not self._weights_are_finite():
            return  # the last checkpoint is the last good state
        if self.history.best is None:
            self.files.keep_best(self._saved_model())
        yield from self._checkpoint(insist=True)

    def _attempt(self, action: Callable[[], object], what: str) -> Iterator[Record]:
        failed = self.files.attempt(action, what)
        if failed is not None:
            yield EventRecord(self.updates.step, "not saved", failed)

    def _save_checkpoint(self) -> None:
        self.files.save_checkpoint(self.updates.step, self._saved_model(), self._saved_training())
        self._saved = self._moment()

    def _moment(self) -> tuple[int, ...]:
        """Return how far the training is, what follows a step included."""
        evaluation = self.history.evaluation
        return self.updates.step, evaluation.step if evaluation else -1, self.history.sampled

    def _roll_back(self) -> EventRecord:
        """Go back to the newest checkpoint with half the learning rate."""
        at, rollbacks = self.updates.step, self.history.rollbacks + 1
        if rollbacks > _ROLLBACKS:
            raise NonFiniteError(
                f"At step {at:,} the numbers were not finite again, with a learning rate that had been halved "
                f"{_ROLLBACKS} times: the training has diverged. {self._what_is_kept()} Try a lower learning rate "
                "(--set learning_rate=...), or shorten gradients (--set max_grad_norm=1)."
            )
        model, training, _ = shared_checkpoint(self.files.run, self.ranks)
        self.restore(model, training)
        self.history.rollbacks, self.history.skipped = rollbacks, 0
        self.updates.rate_factor = 0.5**rollbacks
        event = self._event(
            "rolled back",
            f"At step {at:,} the numbers were still not finite: back to step {self.updates.step:,}, with "
            f"half the learning rate ({rollbacks} of {_ROLLBACKS}).",
        )
        self._save_checkpoint()
        return event

    def _event(self, event: str, message: str) -> EventRecord:
        self._append({"step": self.updates.step, "event": event, "loss": None})
        return EventRecord(self.updates.step, event, message)

    def _append(self, line: dict[str, Any]) -> None:
        self.files.append(METRICS, json.dumps(line, allow_nan=False) + "\n")

    def _weights_are_finite(self) -> bool:
        return all(bool(np.isfinite(weight).all()) for weight in self.updates.network.weights().values())

    def _what_is_kept(self) -> str:
        if self.history.best is None:
            return "It happened before the first evaluation, so that no model was kept."
        return f"The best model so far, of step {self.history.best.step}, is in {self.files.run}."

    def _saved_model(self) -> SavedModel:
        return SavedModel(
            self.ready.architecture,
            self.ready.vocabulary,
            self.updates.network.weights(),
            model_facts(self.ready, self.plan, self.updates.step, self.history),
            lines=self.ready.corpus.format.lines,
        )

    def _saved_training(self) -> SavedTraining:
        """Return all that a training needs to go on, besides its text."""
        corpus, position = self.ready.corpus, self.updates.batches.position
        facts = {
            "step": self.updates.step,
            "position": [position.epoch, position.index],
            "rate_factor": self.updates.rate_factor,
            "finished": (self.history.ended or self.updates.step == self.plan.steps) and not self._stopped,
            "history": self.history.facts(),
            "files": self.files.lengths(),
            "seconds": self._seconds(),
            "device": self.ready.device.name,
            "sources": relative_sources(corpus.sources, self.files.run),
            "text_format": corpus.format.to_dict(),
        }
        return SavedTraining(facts, self.updates.tensors() | self.history.tensors())

    def _plan_record(self) -> PlanRecord:
        return PlanRecord(
            run=str(self.files.run),
            plan=self.plan,
            architecture=self.ready.architecture,
            device=self.ready.device.description,
            baselines=self.ready.baselines,
            training_chars=len(self.ready.training),
            validation_chars=len(self.ready.validation),
            step=self.updates.step,
        )

    def _finish_record(self) -> FinishRecord:
        history = self.history
        train_loss = history.loss_of_last_epoch()
        trained = history.evaluation if history.evaluation and history.evaluation.step > 0 else None
        kept = history.best.val_loss if history.best and history.best.val_loss is not None else train_loss
        return FinishRecord(
            run=str(self.files.run),
            steps=self.updates.step,
            seconds=self._seconds(),
            train_loss=train_loss,
            val_loss=trained.val_loss if trained else None,
            best_val_loss=history.best.val_loss if history.best else None,
            best_step=history.best.step if history.best else None,
            bits_per_char=None if kept is None else kept / math.log(2),
            chars_per_second=self._chars_per_second(),
            interrupted=self._stopped,
        )

    def _seconds(self) -> float:
        return self.history.seconds + time.perf_counter() - self._began

    def _chars_per_second(self) -> float | None:
        settings, seconds = self.plan.settings, self.history.seconds_a_step()
        a_step: float = settings.batch_size * settings.seq_length
        if self.ready.line_lengths is not None:
            a_step = len(self.ready.training) / self.plan.steps_per_epoch
        return None if seconds is None else a_step / seconds

    def _write_recipe(self) -> None:
        facts = {
            "corpus": f"{self.ready.corpus.name}, {len(self.ready.corpus)} {self.ready.corpus.format.unit}s",
            "corpus_sha256": self.ready.corpus.sha256,
            "device": self.ready.device.description,
            "charloom": __version__,
        }
        self.files.write_recipe(write_recipe(self.ready.recipe.name, self.plan.settings, facts))
