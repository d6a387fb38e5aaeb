"""A training as a whole, from a corpus to a run folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from charloom.data.corpus import Corpus
from charloom.model.file.model_file import SavedModel
from charloom.model.file.run_folder import new_run_folder
from charloom.planning.recipes import Recipe
from charloom.training.checkpoint import checkpoint_bytes
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.events import Record
from charloom.training.run_files import files_of
from charloom.training.stages import first_evaluation, prepare, resolve_plan
from charloom.training.trainer import Trainer


def run_training(
    corpus: Corpus,
    recipe: Recipe,
    folder: str | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    save_now: Callable[[], bool] = lambda: False,
    init: SavedModel | None = None,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Record]:
    """Train on a corpus and leave a run folder, telling everything that happens.

    Args:
        corpus: What to learn from.
        recipe: All choices.
        folder: The run folder, which must not exist; None for ``runs/<corpus name>``, then ``-2``, ``-3`` ...
        device: See ``charloom.training.backends.base.DEVICES``.
        stop: Asked after every step and often in between; once it returns true, all is saved and the training ends.
        save_now: Asked after every step; whenever it returns true, a checkpoint is saved.
        init: The model to begin with; None: a new one.
        ranks: The processes that train together, all of which have to be given the same.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        InputError: If the corpus, the settings or the folder cannot be used.
        NonFiniteError: If the training diverges; what was saved before stays.
        SaveError: If it cannot be saved, however often it is tried.
    """
    began = time.perf_counter()
    ready = prepare(corpus, recipe, device, init, ranks=ranks)
    with _new_folder(folder, corpus.name, ranks) as path:
        size = checkpoint_bytes(ready.architecture.num_parameters)
        files = files_of(ranks, path, ready.settings.keep_checkpoints, size)
        files.check_room()
        untrained_loss, evaluation_seconds = first_evaluation(ready)
        plan = resolve_plan(ready, began, evaluation_seconds)
        trainer = Trainer(ready, plan, files, began, stop, save_now)
        trainer.write_beginning()
    yield from trainer.train(untrained_loss)


@contextmanager
def _new_folder(asked: str | None, corpus: str, ranks: ProcessGroup) -> Iterator[Path]:
    """Let the first process make the run folder, and tell the others which it is; see ``new_run_folder``."""
    with ExitStack() as stack:
        made = str(stack.enter_context(new_run_folder(asked, corpus))) if ranks.is_first else ""
        yield Path(ranks.broadcast(made))
