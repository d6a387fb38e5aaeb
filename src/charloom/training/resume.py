"""Going on with a run: exactly where it stopped, for longer, or on another text."""

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
from charloom.planning.recipes import Recipe
from charloom.planning.schedule import Plan, steps_in_time
from charloom.planning.settings import Settings
from charloom.training.checkpoint import SavedTraining, checkpoint_bytes, clean, shared_checkpoint
from charloom.training.distributed.config_check import check_agreed
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.events import Record
from charloom.training.run_files import files_of
from charloom.training.stages import Preparation, measure_step_seconds, prepare
from charloom.training.trainer import Trainer
from charloom.training.vocabulary_extension import grown_rows


@dataclass(frozen=True)
class SavedRun:
    """A run as its newest checkpoint has it.

    Attributes:
        folder: The run folder.
        model: The model then.
        training: All else that it needs to go on, besides its text.
        settings: All of them.
        notices: About checkpoints that are damaged, for the user to see.
    """

    folder: Path
    model: SavedModel
    training: SavedTraining
    settings: Settings
    notices: tuple[str, ...]

    @property
    def sources(self) -> list[str] | None:
        """What its text was read from, if that is known."""
        return located_sources(self.training.facts.get("sources"), self.folder)

    @property
    def text_format(self) -> TextFormat:
        """How those are read."""
        return TextFormat.from_dict(self.training.facts.get("text_format", {}))

    def read_corpus(self) -> Corpus:
        """Read its text again.

        Raises:
            RunError: If it is not known where that is, or it cannot be read there.
        """
        how = f"Name it: charloom train TEXT --resume {self.folder}"
        if self.sources is None:
            name = self.model.facts.get("corpus")
            raise RunError(f"{self.folder} does not say where its text ({name}) lies. {how}")
        try:
            return Corpus.read(self.sources, text_format=self.text_format)
        except CorpusError as error:
            raise RunError(f"Its text is wanted to go on with {self.folder}. {error} {how}") from None


def open_run(folder: str, ranks: ProcessGroup = SINGLE_PROCESS) -> SavedRun:
    """Return a run to go on with; what a killed training left half-written is removed.

    Args:
        folder: The run folder; of several processes the first alone needs to have it.
        ranks: The processes that will train together.

    Raises:
        RunError: If it is no run folder, or holds no checkpoint that can be used.
    """
    path = Path(folder)
    model, training, notices = shared_checkpoint(path, ranks)
    if ranks.is_first:
        clean(path)
    try:
        return SavedRun(path, model, training, Settings(**model.facts["settings"]), notices)
    except (KeyError, TypeError, CharloomError) as error:
        raise _foreign(path, error) from None


def _foreign(folder: Path, error: Exception) -> RunError:
    return RunError(f"{folder} was made by another version of charloom, and cannot go on here ({error!r}).")


def resume_training(
    saved: SavedRun,
    corpus: Corpus,
    more: Mapping[str, float] | None = None,
    new_text: bool = False,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    save_now: Callable[[], bool] = lambda: False,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Record]:
    """Go on with a run, as if it had never been stopped.

    Args:
        saved: Of ``open_run``.
        corpus: The text it was trained on, or with ``new_text`` another.
        more: One of "minutes", "epochs" and "steps": so much more than was trained; None: to the end of its plan.
        new_text: Whether another text will do; characters that are new are learned besides those known.
        device: See ``charloom.training.backends.base.DEVICES``; but "auto" is where it was.
        stop: See ``charloom.training.run.run_training``.
        save_now: Likewise.
        ranks: The processes that train together; they need not be as many as before.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        RunError: If the text is another, or the run is finished and nothing more is asked for.
    """
    began = time.perf_counter()
    check_agreed(ranks, {"length (--minutes, --epochs, --steps)": more or {}, "--new-text": new_text})
    same_text = corpus.sha256 == saved.model.facts["corpus_sha256"]
    if not same_text and not new_text:
        raise RunError(
            f"{saved.folder} was trained on another text: {saved.model.facts['corpus']}, "
            f"{saved.model.facts['corpus_characters']:,} characters; this is {corpus.name}, {len(corpus):,} "
            "characters. Name that text, or go on with this one with --new-text."
        )
    settled = frozenset(saved.settings.to_dict()) - {"batch_size"}  # another text may be too short for as many streams
    recipe = Recipe(str(saved.model.facts["recipe"]), "", saved.settings, settled)
    where = str(saved.training.facts["device"]) if device == "auto" else device
    ready = prepare(corpus, recipe, where, saved.model, fit=not same_text, ranks=ranks)
    plan = _plan(saved, ready, more or {})
    size = checkpoint_bytes(ready.architecture.num_parameters)
    files = files_of(ranks, saved.folder, plan.settings.keep_checkpoints, size)
    trainer = Trainer(ready, plan, files, began, stop, save_now)
    model = SavedModel(ready.architecture, ready.vocabulary, ready.weights or {}, lines=corpus.format.lines)
    try:
        trainer.restore(model, _grown(saved.training, ready), same_text)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _foreign(saved.folder, error) from None
    trainer.history.ended = False
    if plan.settings != saved.settings or not same_text:
        trainer.write_change()
    yield from trainer.train()


def _plan(saved: SavedRun, ready: Preparation, more: Mapping[str, float]) -> Plan:
    done, settings = int(saved.training.facts["step"]), ready.settings
    epoch = ready.steps_per_epoch
    steps = settings.steps
    if "steps" in more:
        steps = done + int(more["steps"])
    elif "epochs" in more:
        steps = done + int(more["epochs"]) * epoch
    elif "minutes" in more:
        seconds = more["minutes"] * 60
        steps = done + steps_in_time(seconds, measure_step_seconds(ready, seconds), 0.0, settings.eval_every)
    if saved.training.facts["finished"] and (steps <= done or not more):
        how = "made all its" if steps <= done else "ended by itself after"
        raise RunError(
            f"{saved.folder} has {how} {done:,} steps. To train it longer, give --minutes, --epochs or --steps: "
            "so much more it will be."
        )
    return Plan(replace(settings, steps=steps), steps, epoch, (*saved.notices, *ready.notices))


def _grown(training: SavedTraining, ready: Preparation) -> SavedTraining:
    """Return what a training goes on with, the optimizer's averages as long as the tables."""
    shapes = ready.architecture.parameter_shapes()
    tensors = dict(training.tensors)
    for key, value in training.tensors.items():
        _, _, name = key.removeprefix("optimizer.").partition(".")
        if key.startswith("optimizer.exp_avg") and len(value) < shapes[name][0]:
            tensors[key] = grown_rows(value, np.zeros(shapes[name], value.dtype))
    return SavedTraining(training.facts, tensors)
