"""Checkpoints: finding the newest that is whole, and leaving no more of them than were asked for."""

from pathlib import Path
from tempfile import TemporaryDirectory

from charloom._util.atomic_io import remove_parts
from charloom.errors import ModelFileError, RunError
from charloom.model.file.model_file import SUFFIX, SavedModel, SavedTraining, load_checkpoint
from charloom.model.file.run_folder import CHECKPOINTS, checkpoint_path, checkpoint_steps
from charloom.training.distributed.process_group import Ranks

_FLOATS = 3  # of each parameter: itself and the optimizer's two averages
_BESIDE = 1 << 20  # bytes, for all else


def newest_checkpoint(run: Path) -> tuple[SavedModel, SavedTraining, tuple[str, ...]]:
    """Return the newest checkpoint of a run from which a training can go on, and a sentence about each that is damaged.

    Raises:
        RunError: If there is none.
    """
    return _newest(run)[1:]


def shared_checkpoint(run: Path, ranks: Ranks) -> tuple[SavedModel, SavedTraining, tuple[str, ...]]:
    """Return what ``newest_checkpoint`` returns in every process: the first reads the file and tells it to the others.

    Raises:
        RunError: In the first process, if there is none.
    """
    if ranks.is_first:
        path, model, training, notices = _newest(run)
        if ranks.size > 1:
            ranks.bytes_from_first(path.read_bytes())
        return model, training, notices
    with TemporaryDirectory() as folder:
        copy = Path(folder) / f"checkpoint{SUFFIX}"
        copy.write_bytes(ranks.bytes_from_first(b""))
        model, told = load_checkpoint(copy)
    assert told is not None, "the first process has looked"
    return model, told, ()


def _newest(run: Path) -> tuple[Path, SavedModel, SavedTraining, tuple[str, ...]]:
    if not (run / CHECKPOINTS).is_dir():
        raise RunError(f"{run} is no run folder. Name one that `charloom train` made.")
    notices: list[str] = []
    for step in reversed(checkpoint_steps(run)):
        path = checkpoint_path(run, step)
        try:
            model, training = load_checkpoint(path)
        except ModelFileError as error:
            notices.append(f"{error} Going on from an earlier checkpoint.")
            continue
        if training is not None:
            return path, model, training, tuple(notices)
        notices.append(f"The checkpoint of step {step} holds a model alone. Going on from an earlier one.")
    raise RunError(" ".join([f"{run} holds no checkpoint to go on from.", *notices, "Start it anew, with another -o."]))


def remove_old_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the newest checkpoints, and that of the untrained model as soon as there is another.

    Args:
        run: The run folder.
        keep: How many stay; 0: all.
    """
    steps = checkpoint_steps(run)
    for step in steps[:-1]:
        if step == 0 or (keep and step in steps[:-keep]):
            checkpoint_path(run, step).unlink(missing_ok=True)


def clean(run: Path) -> None:
    """Remove what a killed training has left half-written."""
    remove_parts(run)
    remove_parts(run / CHECKPOINTS)


def checkpoint_bytes(parameters: int) -> int:
    """Return about how large a checkpoint will be."""
    return _FLOATS * 4 * parameters + _BESIDE
