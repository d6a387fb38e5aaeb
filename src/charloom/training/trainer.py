"""The training loop: steps, evaluations, samples and checkpoints."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from charloom.data.reading.sources import relative_sources
from charloom.errors import Notice
from charloom.inference.memorization import check_memorization
from charloom.inference.model import Model
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.file.run_folder import MODEL, checkpoint_path
from charloom.planning.plan_changes import PlanChange, format_changes, parse_changes
from charloom.planning.schedule import Plan
from charloom.planning.settings import Settings
from charloom.training.backends.base import ControlFlags
from charloom.training.batches import make_batches
from charloom.training.batches.base import Position
from charloom.training.checkpoint import SavedTraining, shared_checkpoint
from charloom.training.evaluate import EvaluationStopped
from charloom.training.events import CheckpointRecord, EventRecord, NoveltyRecord, Record, SampleRecord, StepRecord
from charloom.training.history import History
from charloom.training.pipeline import TrainingSetup, model_facts
from charloom.training.plan_control import PlanControl
from charloom.training.recorder import Recorder
from charloom.training.recovery import Action, Recovery
from charloom.training.run_files import RunFiles
from charloom.training.steps import TrainingSteps, kept_memory

_NEAR_END = 0.25  # share of the interval between evaluations; closer to the last evaluation there is no other
_STOP_PATIENCE = 1.0  # maximum seconds between retries of a failed save after the user has stopped the training


class Trainer:
    """Runs one training and yields its records.

    Args:
        setup: Model, data and device.
        plan: Number of steps, and intervals of evaluations and checkpoints.
        files: Files of the run folder.
        began: Start of the training, as a value of ``time.perf_counter``.
        stop: Called in every step and during evaluations; once it returns true, all is saved and the training ends.
        save_now: Called in every step; whenever it returns true, a checkpoint is saved.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        plan: Plan,
        files: RunFiles,
        began: float,
        stop: Callable[[], bool] = lambda: False,
        save_now: Callable[[], bool] = lambda: False,
    ) -> None:
        self.setup = setup
        self.plan = plan
        self.files = files
        self.history = History(plan.steps_per_epoch)
        self.process_group = setup.process_group
        self.backend = setup.make_backend(plan.settings)
        batches = make_batches(self.backend.place_ids(setup.training), plan.settings, setup.process_group)
        self.steps = TrainingSteps(self.backend, batches, plan.settings, plan.steps, self._poll)
        self._recorder = Recorder(setup, plan, files, self.history, began)
        self._recovery = Recovery(self.steps, self.history, plan.settings.patience, files.run)
        self._stop, self._save_now = stop, save_now
        self._began = began
        self._control = PlanControl(setup.process_group)
        self._control.repeat(plan.changes_ahead)
        self._saved_progress: tuple[int, ...] = ()  # progress at the last checkpoint; see _progress
        self._stopped = False

    def write_initial_files(self) -> None:
        """Write the initial files of a run folder, including a checkpoint of the untrained model."""
        self._recorder.write_recipe()
        self.files.truncate(self.files.lengths())
        self._save_checkpoint()

    def write_changed_plan(self) -> None:
        """Write the recipe and a checkpoint of a resumed run whose plan or text has changed."""
        changes = parse_changes(self.plan.settings.plan_changes)
        if changes and changes[-1].extends and changes[-1].step == self.steps.step:
            self._recorder.plan_change(changes[-1])
        self._recorder.write_recipe()
        self._save_checkpoint()

    def restore(self, model: SavedModel, training: SavedTraining, same_text: bool = True) -> None:
        """Restore weights, optimizer, history and data position from a checkpoint.

        Args:
            model: Model of the checkpoint.
            training: Training state of the checkpoint.
            same_text: Whether the training text is that of the checkpoint. A different text is read from its start.

        Raises:
            OSError: If the log files cannot be truncated to their length at the checkpoint.
            ValueError: If the data position of the checkpoint is beyond the end of an epoch.
        """
        facts = training.facts
        self.backend.load_weights(model.weights)
        tensors = training.tensors if same_text else {k: v for k, v in training.tensors.items() if "state." not in k}
        self.steps.restore(tensors, facts["step"])
        self.steps.rate_factor = facts["rate_factor"]
        position = Position(*facts["position"]) if same_text else Position()
        if position.index >= self.steps.batches.batches_per_epoch:
            raise ValueError(f"batch {position.index} is beyond the end of an epoch")
        self.steps.batches.position = position
        self.history.restore(facts["history"], training.tensors)
        self.history.seconds = facts["seconds"]
        written = self.process_group.broadcast(self.files.plan_changes_after(facts["files"]))
        changes = [PlanChange(*change) for change in written]
        planned = parse_changes(facts.get("planned_changes", ""))
        self._control.repeat(change for change in planned or changes if change.step > facts["step"])
        if not same_text:
            self.history.best = None  # losses on different texts are not comparable
        self.files.truncate(facts["files"])
        self._saved_progress = self._progress()

    def train(self, untrained_loss: float | None = None) -> Iterator[Record]:
        """Train until the plan is complete, early stopping ends it, or ``stop`` returns true.

        Args:
            untrained_loss: Held-out loss before the first step, to be recorded as the first evaluation of a new run.

        Yields:
            See ``charloom.training.run.run_training``.
        """
        yield self._recorder.plan(self.steps.step)
        self._control.start(self.plan, self.history.seconds, self._began)
        with kept_memory():
            # 1. first evaluation of a new run, or what a stop interrupted after the last step of a resumed run
            if untrained_loss is not None:
                yield from self._record_evaluation(None, untrained_loss)
            elif self.history.step is not None:
                yield from self._after_step(self.history.step)
            # 2. steps
            while not self._stopped:
                yield from self._repeat_extension()
                if self.history.ended or self.steps.step >= self.plan.steps:
                    break
                yield from self._one_step()
                yield from self._end_in_time()
        # 3. memorization check of the best model
        if not self._stopped and self.process_group.is_first and (self.files.run / MODEL).is_file():
            settings = self.plan.settings
            parts = self.setup.corpus.parts(settings.val_fraction, settings.test_fraction)
            model = Model(load_model(self.files.run / MODEL))
            check = check_memorization(model, parts.training, parts.validation, settings.seed)
            yield NoveltyRecord(**vars(check))
        yield self._recorder.finish(self.steps.step, self._stopped)

    def _poll(self) -> ControlFlags:
        """Return whether to stop and whether to save a checkpoint, as decided by this process."""
        return ControlFlags(self._stop(), self._save_now() or self.files.periodic_save_due() or self.files.retry_due())

    def _one_step(self) -> Iterator[Record]:
        step = next(self.steps)
        self.history.add_step(step)
        evaluated = self.history.evaluation is not None and self.history.evaluation.step == step.step - 1
        change = self._control.after_step(step, self.plan, evaluated)
        changes = [] if change is None else list(self._change_plan(change))
        flags = self.steps.control_flags
        if flags.stop and step.step < self.plan.steps:
            saved = list(self._save_and_stop())  # save before yielding: the consumer may not ask for more records
            yield step
            yield from changes
            yield from saved
            return
        yield step
        yield from changes
        if step.loss is None:
            message = Notice(
                f"Skipped step {step.step:,}: its loss, gradient or state is NaN or infinite.",
                code="step_skipped",
                step=step.step,
            )
            yield self._recorder.event(step.step, "skipped", message)
        if self._recovery.has_skipped_too_many:
            yield self._roll_back()
        else:
            yield from self._after_step(step, flags.save)

    def _end_in_time(self) -> Iterator[Record]:
        """End after an evaluation if there is no time for another step with another evaluation."""
        last, evaluation = self.history.step, self.history.evaluation
        if last is None or evaluation is None or evaluation.step != last.step:
            return
        if self._stopped or last.step >= self.plan.steps:
            return
        change = self._control.after_evaluation(last.step)
        if change is not None:
            yield from self._change_plan(change)
            yield from self._after_step(last)

    def _repeat_extension(self) -> Iterator[Record]:
        """Extend the run where the run that is repeated was extended."""
        change = self._control.extension(self.steps.step)
        if change is not None:
            self.history.extend()
            yield from self._change_plan(change)

    def _change_plan(self, change: PlanChange) -> Iterator[Record]:
        self._use_plan(self.plan.changed(change))
        yield self._recorder.plan_change(change)
        failure = self.files.attempt(self._write_plan, "The plan")
        if failure is not None:
            yield EventRecord(self.steps.step, "not saved", failure)

    def _use_plan(self, plan: Plan) -> None:
        self.plan = plan
        self.steps.steps, self.steps.settings = plan.steps, plan.settings
        self._recorder.use_plan(plan)

    def _write_plan(self) -> None:
        self.files.write()
        self._recorder.write_recipe()

    def _is_due(self, step: int) -> bool:
        """Return whether an evaluation is due: after each interval, unless the end is near, and at the end."""
        left, every = self.plan.steps - step, self.plan.settings.eval_every
        return left == 0 or (step % every == 0 and left >= every * _NEAR_END)

    def _after_step(self, step: StepRecord, save: bool = False) -> Iterator[Record]:
        """Evaluate, sample and save a checkpoint, each if it is due after this step and not done yet."""
        is_last, settings = step.step == self.plan.steps, self.plan.settings
        evaluate = self._is_due(step.step)
        save = save or is_last or step.step % settings.checkpoint_every == 0
        if (evaluate or save) and not self._recovery.weights_are_finite():
            yield self._roll_back()
            return
        if evaluate or save:
            self._control.pause()
        if evaluate:
            try:
                yield from self._evaluate(step)
            except EvaluationStopped:
                yield from self._save_and_stop()
                return
            action = self._recovery.after_evaluation()
            if action is not None:
                yield self._event(action)
            is_last = is_last or self.history.ended
            save = save or is_last
        if save and self._saved_progress != self._progress():
            yield from self._checkpoint(is_last)

    def _evaluate(self, step: StepRecord) -> Iterator[Record]:
        if self.history.evaluation is None or self.history.evaluation.step != step.step:
            validation = self.setup.validation
            loss = self.backend.evaluate(validation, self._stop) if len(validation) > 0 else None
            yield from self._record_evaluation(step, loss)
        if self.plan.settings.sample_length and self.history.sampled != step.step:
            yield self._sample(step.step)

    def _record_evaluation(self, step: StepRecord | None, val_loss: float | None) -> Iterator[Record]:
        """Record an evaluation, and save the model if it is the best so far."""
        record = self._recorder.evaluation(step, val_loss)
        if record.is_best:
            self.files.keep_best(self._saved_model())
        yield record
        failure = self.files.attempt(self.files.write, "The evaluation")
        if failure is not None:
            yield EventRecord(self.steps.step, "not saved", failure)

    def _sample(self, step: int) -> SampleRecord:
        """Generate a sample with the current model, always with the run's seed so that samples are comparable."""
        text = self.process_group.broadcast(self._generate() if self.process_group.is_first else None)
        if text is None:
            raise EvaluationStopped
        return self._recorder.sample(step, text)

    def _generate(self) -> str | None:
        """Return a sample, or None if ``stop`` returned true meanwhile."""
        settings, pieces = self.plan.settings, []
        for piece in Model(self._saved_model()).stream(length=settings.sample_length, seed=settings.seed):
            pieces.append(piece)
            if self._stop():
                return None
        return "".join(pieces)

    def _checkpoint(self, must_save: bool = False) -> Iterator[Record]:
        """Save a checkpoint or report a failure; with ``must_save``, retry until success or ``SaveError``."""
        step, model, training = self.steps.step, self._saved_model(), self._saved_training()
        while True:
            save = partial(self.files.save_checkpoint, step, model, training)
            failure = self.process_group.broadcast_notice(self.files.attempt(save, f"The checkpoint of step {step:,}"))
            if failure is None:
                self._saved_progress = self._progress()
                yield CheckpointRecord(step, str(checkpoint_path(self.files.run, step)))
                return
            yield EventRecord(step, "not saved", failure)
            if not must_save:
                return
            self.files.wait_for_retry(_STOP_PATIENCE if self._stopped else math.inf)

    def _save_and_stop(self) -> Iterator[Record]:
        self._stopped = True
        if not self._recovery.weights_are_finite():
            return  # the newest checkpoint stays the last good state
        if self.history.best is None:
            self.files.keep_best(self._saved_model())
        yield from self._checkpoint(must_save=True)

    def _save_checkpoint(self) -> None:
        self.files.save_checkpoint(self.steps.step, self._saved_model(), self._saved_training())
        self._saved_progress = self._progress()

    def _progress(self) -> tuple[int, ...]:
        """Return the steps of the last update, evaluation and sample; a change means there is something to save."""
        evaluation = self.history.evaluation
        return self.steps.step, evaluation.step if evaluation else -1, self.history.sampled

    def _roll_back(self) -> EventRecord:
        record = self._event(self._recovery.roll_back(self._restore_newest_checkpoint))
        self._save_checkpoint()
        return record

    def _restore_newest_checkpoint(self) -> None:
        model, training, _ = shared_checkpoint(self.files.run, self.process_group)
        settings = Settings(**model.facts["settings"])
        self._use_plan(replace(self.plan, steps=settings.steps, settings=settings))
        self.restore(model, training)

    def _event(self, action: Action) -> EventRecord:
        return self._recorder.event(self.steps.step, action.event, action.message)

    def _saved_model(self) -> SavedModel:
        return SavedModel(
            self.setup.architecture,
            self.setup.vocabulary,
            self.backend.weights(),
            model_facts(self.setup, self.plan, self.steps.step, self.history),
            rules=self.setup.corpus.rules,
        )

    def _saved_training(self) -> SavedTraining:
        """Return the state from which the training can be resumed, except its text."""
        corpus, position = self.setup.corpus, self.steps.batches.position
        facts = {
            "step": self.steps.step,
            "position": [position.epoch, position.index],
            "rate_factor": self.steps.rate_factor,
            "finished": (self.history.ended or self.steps.step == self.plan.steps) and not self._stopped,
            "history": self.history.facts(),
            "files": self.files.lengths(),
            "seconds": self._recorder.seconds(),
            "device": self.setup.device.name,
            "sources": relative_sources(corpus.sources, self.files.run),
            "text_format": corpus.format.to_dict(),
        }
        limits = {"time_limit": self.plan.time_limit, "max_steps": self.plan.max_steps}
        facts |= {name: value for name, value in limits.items() if value is not None}
        if self._control.changes_ahead:
            past = parse_changes(self.plan.settings.plan_changes) or (PlanChange(0, self.plan.steps),)
            facts["planned_changes"] = format_changes([*past, *self._control.changes_ahead])
        return SavedTraining(facts, self.backend.state() | self.history.tensors())
