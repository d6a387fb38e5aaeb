"""A new run: from a corpus to a run folder, through all stages of ``charloom.training.pipeline``."""

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
from charloom.training.run_files import files_of
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
    """Train on a corpus into a new run folder, yielding everything that happens.

    Args:
        corpus: Text to learn from.
        recipe: Settings, and which of them the user chose.
        folder: The run folder, which must not exist; None for ``runs/<corpus name>``, then ``-2``, ``-3`` ...
        device: See ``charloom.training.backends.base.DEVICES``.
        stop: Called after every step and often in between; once it returns true, all is saved and the training ends.
        save_now: Called after every step; whenever it returns true, a checkpoint is saved.
        init: Model to begin with; None: random weights.
        process_group: Processes that train together, all of which have to be given the same.

    Yields:
        A ``PlanRecord`` first and a ``FinishRecord`` last.

    Raises:
        InputError: If the corpus, the settings or the folder cannot be used.
        NonFiniteError: If the training diverges; what was saved before stays.
        SaveError: If it cannot be saved after several attempts.
    """
    began = time.perf_counter()
    setup = prepare(TrainingRequest(corpus, recipe, device, init, process_group=process_group, began=began))
    with _new_folder(
        folder, corpus.name, process_group
    ) as path:  # removed again if something fails before the first step
        size = checkpoint_bytes(setup.architecture.num_parameters)
        files = files_of(process_group, path, setup.settings.keep_checkpoints, size)
        files.check_room()
        measured = measure(setup)
        plan = complete_plan(setup, measured)
        trainer = Trainer(setup, plan, files, began, stop, save_now)
        trainer.write_beginning()
    yield from trainer.train(measured.untrained_loss)


@contextmanager
def _new_folder(requested: str | None, corpus: str, process_group: ProcessGroup) -> Iterator[Path]:
    """Make the run folder in the first process and send its path to the rest; see ``new_run_folder``."""
    with ExitStack() as stack:
        made = str(stack.enter_context(new_run_folder(requested, corpus))) if process_group.is_first else ""
        yield Path(process_group.broadcast(made))
