"""Resuming a run: exactly where it stopped, for longer, or on another text; see ``charloom.training.pipeline``."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from charloom.data.corpus import Corpus
from charloom.data.reading.sources import located_sources
from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, CorpusError, RunError
from charloom.model.file.model_file import SavedModel
from charloom.planning.recipes import Recipe
from charloom.planning.schedule import Plan, steps_in_time
from charloom.planning.settings import Notices, Settings
from charloom.training.checkpoint import SavedTraining, checkpoint_bytes, clean, shared_checkpoint
from charloom.training.distributed.config_check import check_agreed
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.events import Record
from charloom.training.pipeline import TrainingRequest, TrainingSetup, measure_step_seconds, prepare
from charloom.training.run_files import files_of
from charloom.training.trainer import Trainer
from charloom.training.vocabulary_extension import extend_optimizer_state


@dataclass(frozen=True)
class SavedRun:
    """A run as its newest checkpoint holds it.

    Attributes:
        folder: The run folder.
        model: Model of the checkpoint.
        training: State of the training: optimizer, position in the text, history.
        settings: All settings of the run.
        notices: A sentence about each damaged checkpoint, for the user.
    """

    folder: Path
    model: SavedModel
    training: SavedTraining
    settings: Settings
    notices: tuple[str, ...]

    @property
    def sources(self) -> list[str] | None:
        """Paths its text was read from, if they are known."""
        return located_sources(self.training.facts.get("sources"), self.folder)

    @property
    def text_format(self) -> TextFormat:
        """How its text was read."""
        return TextFormat.from_dict(self.training.facts.get("text_format", {}))

    def read_corpus(self) -> Corpus:
        """Read its text again.

        Raises:
            RunError: If its paths are not known, or cannot be read.
        """
        how = f"Pass the text: charloom train TEXT --resume {self.folder}"
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
    """Open a run to resume it, and remove what a killed training left half-written.

    Args:
        folder: The run folder; of several processes only the first needs to have it.
        process_group: Processes that will train together.

    Raises:
        RunError: If it is not a run folder, or holds no usable checkpoint.
    """
    path = Path(folder)
    model, training, notices = shared_checkpoint(path, process_group)
    if process_group.is_first:
        clean(path)
    try:
        return SavedRun(path, model, training, Settings(**model.facts["settings"]), notices)
    except (KeyError, TypeError, CharloomError) as error:
        raise _foreign(path, error) from None


def _foreign(folder: Path, error: Exception) -> RunError:
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
    """Resume a run as if it had never been stopped.

    Args:
        saved: Result of ``open_run``.
        corpus: The text it was trained on, or with ``new_text`` another.
        more: One of "minutes", "epochs" and "steps": how much longer to train; None: to the end of the run's plan.
        new_text: Whether the text may be another; its new characters are added to the vocabulary.
        device: See ``charloom.training.backends.base.DEVICES``; "auto" is the device of the run.
        stop: See ``charloom.training.run.run_training``.
        save_now: See ``charloom.training.run.run_training``.
        process_group: Processes that train together; their number may differ from before.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        RunError: If the text is another, or the run is finished and no more was requested.
    """
    began = time.perf_counter()
    check_agreed(process_group, {"length (--minutes, --epochs, --steps)": more or {}, "--new-text": new_text})
    same_text = corpus.sha256 == saved.model.facts["corpus_sha256"]
    if not same_text and not new_text:
        raise RunError(
            f"{saved.folder} was trained on another text: {saved.model.facts['corpus']} "
            f"({saved.model.facts['corpus_characters']:,} characters), not {corpus.name} ({len(corpus):,} characters). "
            "Pass the original text, or pass --new-text to continue on a different corpus.",
            code="different_text",
            run=str(saved.folder),
            trained_on=saved.model.facts["corpus"],
            trained_on_characters=saved.model.facts["corpus_characters"],
            corpus=corpus.name,
            corpus_characters=len(corpus),
        )
    # all settings stay, but another text may be too short for as many streams
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
    plan = _resumed_plan(saved, setup, more or {})
    size = checkpoint_bytes(setup.architecture.num_parameters)
    files = files_of(process_group, saved.folder, plan.settings.keep_checkpoints, size)
    trainer = Trainer(setup, plan, files, began, stop, save_now)
    model = SavedModel(setup.architecture, setup.vocabulary, setup.weights or {}, lines=corpus.format.lines)
    try:
        trainer.restore(model, extend_optimizer_state(saved.training, setup.architecture), same_text)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _foreign(saved.folder, error) from None
    trainer.history.ended = False
    if plan.settings != saved.settings or not same_text:
        trainer.write_change()
    yield from trainer.train()


def _resumed_plan(saved: SavedRun, setup: TrainingSetup, more: Mapping[str, float]) -> Plan:
    """Return the plan of the run, longer by what was requested; minutes become steps by measuring a step."""
    done, settings = int(saved.training.facts["step"]), setup.settings
    epoch = setup.steps_per_epoch
    steps = settings.steps
    if "steps" in more:
        steps = done + int(more["steps"])
    elif "epochs" in more:
        steps = done + int(more["epochs"]) * epoch
    elif "minutes" in more:
        seconds = more["minutes"] * 60
        steps = done + steps_in_time(seconds, measure_step_seconds(setup, seconds), 0.0, settings.eval_every)
    if saved.training.facts["finished"] and (steps <= done or not more):
        how = "completed all" if steps <= done else "was ended by early stopping after"
        raise RunError(
            f"{saved.folder} {how} {done:,} steps. To train longer, pass --minutes, --epochs or --steps with the time, "
            "epochs or steps to add.",
            code="run_finished",
            run=str(saved.folder),
            steps=done,
            early_stopped=steps > done,
        )
    return Plan(replace(settings, steps=steps), steps, epoch, tuple(setup.request.notices))
