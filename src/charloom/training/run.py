"""Start a new run: all stages of ``charloom.training.pipeline``, from a corpus to a run folder."""

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
from charloom.training.pipeline import TrainingRequest, complete_plan, measure, prepare
from charloom.training.run_files import make_run_files
from charloom.training.trainer import Trainer


def run_training(
    corpus: Corpus,
    recipe: Recipe,
    folder: str | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    save_now: Callable[[], bool] = lambda: False,
    init: SavedModel | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Record]:
    """Train a model on a corpus in a new run folder, and yield a record of everything that happens.

    Args:
        corpus: The text.
        recipe: Settings, and the names of those that the user chose.
        folder: Run folder, which must not exist. None for ``runs/<corpus name>``, or that name with ``-2``, ``-3``, ...
        device: See ``charloom.training.backends.base.DEVICES``.
        stop: Called in every step and during evaluations; once it returns true, all is saved and training ends.
        save_now: Called in every step; whenever it returns true, a checkpoint is saved.
        init: Initial model; None for random initial weights.
        process_group: Processes that train together; all of them must pass the same arguments.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        InputError: If the corpus, the settings or the folder is invalid.
        NonFiniteError: If the training diverges; earlier checkpoints remain.
        SaveError: If a file cannot be written after several attempts.
    """
    began = time.perf_counter()
    setup = prepare(TrainingRequest(corpus, recipe, device, init, process_group=process_group, began=began))
    # the run folder is removed if anything fails before the first step
    with _new_folder(folder, corpus.name, process_group) as path:
        size = checkpoint_bytes(setup.architecture.num_parameters)
        files = make_run_files(process_group, path, setup.settings.keep_checkpoints, size)
        files.check_disk_space()
        measured = measure(setup)
        plan = complete_plan(setup, measured)
        trainer = Trainer(setup, plan, files, began, stop, save_now)
        trainer.write_initial_files()
    yield from trainer.train(measured.untrained_loss)


@contextmanager
def _new_folder(requested: str | None, corpus: str, process_group: ProcessGroup) -> Iterator[Path]:
    """Create the run folder in the first process and broadcast its path; see ``new_run_folder``."""
    with ExitStack() as stack:
        created = str(stack.enter_context(new_run_folder(requested, corpus))) if process_group.is_first else ""
        yield Path(process_group.broadcast(created))
