"""Resume a run exactly where it stopped, for longer, or on another text; see ``charloom.training.pipeline``."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charloom.data.corpus import Corpus
from charloom.data.reading.sources import located_sources
from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, CorpusError, RunError
from charloom.model.file.model_file import SavedModel
from charloom.model.file.run_folder import similar_models
from charloom.planning.plan_changes import PlanChange
from charloom.planning.recipes import Recipe
from charloom.planning.schedule import Plan, steps_in_time
from charloom.planning.settings import Notices, Settings
from charloom.training.checkpoint import SavedTraining, checkpoint_bytes, clean, shared_checkpoint
from charloom.training.distributed.config_check import check_same_config
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.events import Record
from charloom.training.pipeline import TrainingRequest, TrainingSetup, measure_step_seconds, prepare
from charloom.training.run_files import make_run_files
from charloom.training.trainer import Trainer
from charloom.training.vocabulary_extension import extend_optimizer_state

# The learning rate with which a complete run continues, as a share of the peak, by the gap between held-out loss and
# training loss in nats: with a small gap, a high rate gained most; with a large one, only a low rate gained anything.
_RESTART_RATES = (1.0, 0.3)
_RESTART_GAPS = (0.1, 0.3)


@dataclass(frozen=True)
class SavedRun:
    """A run as restored from its newest usable checkpoint.

    Attributes:
        folder: The run folder.
        model: Model of the checkpoint.
        training: Training state of the checkpoint: optimizer, data position, history.
        settings: All settings of the run.
        notices: A notice for each newer checkpoint that is unusable.
    """

    folder: Path
    model: SavedModel
    training: SavedTraining
    settings: Settings
    notices: tuple[str, ...]

    @property
    def sources(self) -> list[str] | None:
        """Paths from which the text of the run was read; None if unknown."""
        return located_sources(self.training.facts.get("sources"), self.folder)

    @property
    def text_format(self) -> TextFormat:
        """Text format with which the text of the run was read."""
        return TextFormat.from_dict(self.training.facts.get("text_format", {}))

    def read_corpus(self) -> Corpus:
        """Read the text of the run again.

        Raises:
            RunError: If its paths are unknown or cannot be read.
        """
        how = (
            f"Pass the text: charloom train TEXT --resume {self.folder} (in Python: "
            f"resume({str(self.folder)!r}, TEXT))."
        )
        if self.sources is None:
            name = self.model.facts.get("corpus")
            raise RunError(
                f"{self.folder} does not record the path of its text ({name}). {how}",
                code="text_path_unknown",
                run=str(self.folder),
                corpus=name,
            )
        try:
            return Corpus.read(self.sources, text_format=self.text_format)
        except CorpusError as error:
            raise RunError(
                f"The text of {self.folder} cannot be read. {error} {how}",
                code="text_unreadable",
                run=str(self.folder),
                reason=error.code,
            ) from None


def open_run(folder: str, process_group: ProcessGroup = SINGLE_PROCESS) -> SavedRun:
    """Open a run to resume it, and remove incomplete files that a killed process left there.

    Args:
        folder: The run folder. With several processes, only the first process needs access to it.
        process_group: Processes that will train together.

    Raises:
        RunError: If the folder is not a run folder, has no usable checkpoint, or is of an incompatible version.
    """
    path = Path(folder)
    if process_group.is_first and not path.exists():
        raise _no_such_run(folder)
    model, training, notices = shared_checkpoint(path, process_group)
    if process_group.is_first:
        clean(path)
    try:
        return SavedRun(path, model, training, Settings(**model.facts["settings"]), notices)
    except (KeyError, TypeError, CharloomError) as error:
        raise _incompatible(path, error) from None


def _no_such_run(folder: str) -> RunError:
    """Return the error for a run folder that does not exist; it may be followed by ``@STEP``, as for a model."""
    run, _, which = folder.rpartition("@")
    if run and Path(run).is_dir():
        return RunError(
            f"A run resumes only where it stopped, not at the checkpoint {folder}. To resume it, pass {run}. To start "
            f"a new run with the weights of that checkpoint: charloom train TEXT --init {folder} (in Python: "
            f"train(TEXT, init={folder!r})).",
            code="resume_from_checkpoint",
            run=run,
            checkpoint=which,
            init=folder,
        )
    similar = similar_models(folder)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    return RunError(
        f"The run folder {folder} does not exist.{hint} Pass a folder that `charloom train` created.",
        code="not_a_run_folder",
        path=folder,
        suggestions=similar,
    )


def _incompatible(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"This version of charloom cannot resume {folder}: its newest checkpoint does not fit ({error!r}). Use the "
        "version that created the run, or start a new run.",
        code="incompatible_run",
        path=str(folder),
        reason=repr(error),
    )


def resume_training(
    saved: SavedRun,
    corpus: Corpus,
    more: Mapping[str, float] | None = None,
    new_text: bool = False,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    save_now: Callable[[], bool] = lambda: False,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Record]:
    """Resume a run. On the same text, the result is the same as if the run had never been stopped.

    Args:
        saved: Result of ``open_run``.
        corpus: The text of the run, or another text if ``new_text`` is true.
        more: Additional length, with one of the keys "minutes", "epochs" and "steps"; None to complete the run's plan.
        new_text: Whether the text may differ from that of the run. Its new characters extend the vocabulary.
        device: See ``charloom.training.backends.base.DEVICES``; "auto" is the device of the run.
        stop: See ``charloom.training.run.run_training``.
        save_now: See ``charloom.training.run.run_training``.
        process_group: Processes that train together; their number may have changed.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        RunError: If the text differs and ``new_text`` is false, if the run is finished and ``more`` is None, or if the
            checkpoint is incompatible.
    """
    # 1. check the request
    began = time.perf_counter()
    check_same_config(process_group, {"--minutes, --epochs or --steps": more or {}, "--new-text": new_text})
    same_text = corpus.sha256 == saved.model.facts["corpus_sha256"]
    if not same_text and not new_text:
        raise RunError(
            f"{saved.folder} was trained on another text: {saved.model.facts['corpus']} "
            f"({saved.model.facts['corpus_characters']:,} characters), not {corpus.name} ({len(corpus):,} characters). "
            "Pass the original text, or pass --new-text (in Python: new_text=True) to continue on a different corpus.",
            code="different_text",
            run=str(saved.folder),
            trained_on=saved.model.facts["corpus"],
            trained_on_characters=saved.model.facts["corpus_characters"],
            corpus=corpus.name,
            corpus_characters=len(corpus),
        )
    # 2. set up as for a new run, with the settings of the checkpoint; a new text may be too short for its batch size
    fixed = frozenset(saved.settings.to_dict()) - {"batch_size"}
    request = TrainingRequest(
        corpus,
        Recipe(str(saved.model.facts["recipe"]), "", saved.settings, fixed),
        str(saved.training.facts["device"]) if device == "auto" else device,
        init=saved.model,
        may_adapt=not same_text,
        process_group=process_group,
        notices=Notices(saved.notices),
        began=began,
    )
    setup = prepare(request)
    # 3. plan
    plan = _resumed_plan(saved, setup, more or {})
    size = checkpoint_bytes(setup.architecture.num_parameters)
    files = make_run_files(process_group, saved.folder, plan.settings.keep_checkpoints, size)
    trainer = Trainer(setup, plan, files, began, stop, save_now)
    # 4. restore the state of the checkpoint
    model = SavedModel(setup.architecture, setup.vocabulary, setup.weights or {}, rules=corpus.rules)
    try:
        trainer.restore(model, extend_optimizer_state(saved.training, setup.architecture), same_text)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _incompatible(saved.folder, error) from None
    if more:
        trainer.history.extend()
    # 5. train
    if plan.settings != saved.settings or not same_text:
        trainer.write_changed_plan()
    yield from trainer.train()


def _resumed_plan(saved: SavedRun, setup: TrainingSetup, more: Mapping[str, float]) -> Plan:
    """Return the plan of the run, extended by ``more``; for minutes, the duration of a step is measured."""
    facts, settings = saved.training.facts, setup.settings
    done, epoch, finished = int(facts["step"]), setup.steps_per_epoch, bool(facts["finished"])
    plan = Plan(settings, settings.steps, epoch, time_limit=facts.get("time_limit"), max_steps=facts.get("max_steps"))
    if more:
        steps, time_limit, step_seconds = done, None, 0.0
        if "steps" in more:
            steps += int(more["steps"])
        elif "epochs" in more:
            steps += int(more["epochs"]) * epoch
        else:
            seconds = more["minutes"] * 60
            step_seconds = measure_step_seconds(setup, seconds)
            steps += steps_in_time(seconds, step_seconds, 0.0, settings.eval_every)
            time_limit = facts["seconds"] + seconds
        plan = replace(plan, time_limit=time_limit, max_steps=None, step_seconds=step_seconds)
        completed = finished and done >= settings.steps and settings.schedule != "constant"
        restart = _restart_rate(facts["history"]["evaluation"]) if completed else 0.0
        plan = plan.changed(PlanChange(done, steps, restart))
        if completed:
            setup.request.notices.add(
                f"Continuing a complete run: the learning rate rises to {restart:.0%} of its peak and falls to 0 "
                "again. The loss may rise at first. The best model is kept and is replaced only by a better one.",
                code="schedule_restarted",
                rate=restart * settings.learning_rate,
                steps=steps - done,
            )
    elif finished:
        how = "completed all" if settings.steps <= done else "was ended by early stopping after"
        raise RunError(
            f"{saved.folder} {how} {done:,} steps. To train longer, pass the minutes, epochs or steps to add, such as "
            "--minutes 5 (in Python: minutes=5).",
            code="run_finished",
            run=str(saved.folder),
            steps=done,
            early_stopped=settings.steps > done,
        )
    return replace(plan, notices=tuple(setup.request.notices))


def _restart_rate(evaluation: Mapping[str, float | None] | None) -> float:
    """Return the learning rate with which a complete run continues, as a share of the peak.

    Args:
        evaluation: The last evaluation, as a checkpoint stores it.
    """
    train_loss, val_loss = (evaluation or {}).get("train_loss"), (evaluation or {}).get("val_loss")
    if train_loss is None or val_loss is None:
        return _RESTART_RATES[0]
    return round(float(np.interp(val_loss - train_loss, _RESTART_GAPS, _RESTART_RATES)), 2)
