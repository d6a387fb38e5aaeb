"""Write the files of a run; a failed write is kept and retried."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom.errors import Notice, RunError, SaveError
from charloom.model.file.model_file import SavedModel, save_model
from charloom.model.file.run_folder import METRICS, MODEL, RECIPE, SAMPLES, checkpoint_path
from charloom.training.checkpoint import SavedTraining, remove_old_checkpoints, save_checkpoint
from charloom.training.distributed.process_group import ProcessGroup

_RETRIES = 3
_RETRY_SECONDS = 5.0  # before the first of them, twice that before the second
_MAX_SAVE_SHARE = 1 / 50  # of the time, for saving by the clock
_MIN_SECONDS = 60.0  # between two checkpoints by the clock
_ROOM = 3  # checkpoints that must fit on the disk at the start


class RunFiles:
    """Writes into a run folder.

    Args:
        run: The folder.
        keep: How many checkpoints stay; 0: all.
        checkpoint_bytes: About how large one is.

    Attributes:
        failures: Number of consecutive failed attempts to write.
    """

    def __init__(self, run: Path, keep: int, checkpoint_bytes: int) -> None:
        self.run = run
        self.failures = 0
        self._keep = keep
        self._bytes = checkpoint_bytes
        self._lengths = dict.fromkeys((METRICS, SAMPLES), 0)  # of what is there for certain
        self._unwritten = dict.fromkeys((METRICS, SAMPLES), b"")
        self._best: SavedModel | None = None
        self._retry_at = 0.0
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0

    def check_room(self) -> None:
        """Raise ``RunError`` if the disk has not room for some checkpoints."""
        needed, free = _ROOM * self._bytes, shutil.disk_usage(self.run).free
        if free < needed:
            raise RunError(
                f"The disk of {self.run} has {_megabytes(free)} free; {_ROOM} checkpoints of this model need "
                f"{_megabytes(needed)}. Free some space, choose another folder with -o, or lower hidden_size with "
                "--set.",
                code="disk_space_low",
                path=str(self.run),
                free_bytes=free,
                needed_bytes=needed,
            )

    def append(self, name: str, text: str) -> None:
        """Append to a file of lines at the next ``write``."""
        self._unwritten[name] += text.encode("utf-8", "surrogatepass")

    def keep_best(self, model: SavedModel) -> None:
        """Replace the best model at the next ``write``."""
        self._best = model

    def lengths(self) -> dict[str, int]:
        """Return the length of each file of lines in bytes, including what is not written yet."""
        return {name: length + len(self._unwritten[name]) for name, length in self._lengths.items()}

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Cut the files of lines back to an earlier length.

        Raises:
            OSError: If one cannot be cut.
        """
        for name, length in lengths.items():
            self._unwritten[name] = b""
            path = self.run / name
            path.touch()
            self._lengths[name] = min(length, path.stat().st_size)
            os.truncate(path, self._lengths[name])

    def write(self) -> None:
        """Write everything that is not written yet.

        Raises:
            OSError: If something cannot be written; it is kept for the next ``write``.
        """
        for name, data in self._unwritten.items():
            if data:
                self._lengths[name] = _write_at(self.run / name, self._lengths[name], data)
                self._unwritten[name] = b""
        if self._best is not None:
            self._check_free()
            save_model(self.run / MODEL, self._best)
            self._best = None

    def write_recipe(self, text: str) -> None:
        """Write ``recipe.toml``, at once.

        Raises:
            OSError: If it cannot be written.
        """
        write_atomically(self.run / RECIPE, text.encode("utf-8"))

    def save_checkpoint(self, step: int, model: SavedModel, training: SavedTraining) -> None:
        """Write everything that is not written yet, then a checkpoint, and then remove older ones.

        Raises:
            OSError: If it cannot be written; the older ones stay.
        """
        began = time.monotonic()
        self.write()
        self._check_free()
        save_checkpoint(checkpoint_path(self.run, step), model, training)
        remove_old_checkpoints(self.run, self._keep)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began

    def due_by_clock(self) -> bool:
        """Return whether a checkpoint is due: saving then takes at most ``_MAX_SAVE_SHARE`` of the time."""
        waited = time.monotonic() - self._saved_at
        return waited >= max(_MIN_SECONDS, self._save_seconds / _MAX_SAVE_SHARE)

    def attempt(self, action: Callable[[], object], what: str) -> Notice | None:
        """Perform an action that writes; return None, or a sentence about its failure.

        Raises:
            SaveError: If it has failed more than ``_RETRIES`` times in a row.
        """
        try:
            action()
        except OSError as error:
            return self._failed(error, what)
        self.failures = 0
        return None

    def retry_due(self) -> bool:
        """Return whether a failed action is due to be tried again."""
        return self.failures > 0 and time.monotonic() >= self._retry_at

    def wait_for_retry(self, at_most: float) -> None:
        """Sleep until the next attempt is due, or for ``at_most`` seconds."""
        time.sleep(max(0.0, min(at_most, self._retry_at - time.monotonic())))

    def _check_free(self) -> None:
        if shutil.disk_usage(self.run).free < self._bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.run))

    def _failed(self, error: OSError, what: str) -> Notice:
        self.failures += 1
        self._retry_at = time.monotonic() + self.failures * _RETRY_SECONDS
        reason = str(error.strerror or error)
        problem = f"{what} could not be saved in {self.run}: {reason}"
        if error.errno == errno.ENOSPC:
            problem += f" ({_megabytes(self._bytes)} needed)"
        if self.failures > _RETRIES:
            raise SaveError(
                f"{problem}. Gave up after {self.failures} attempts; earlier checkpoints are intact.",
                code="save_failed",
                path=str(self.run),
                attempts=self.failures,
                reason=reason,
            )
        return Notice(
            f"{problem}. Retrying ({self.failures} of {_RETRIES}).",
            code="save_retry",
            path=str(self.run),
            attempt=self.failures,
            max_retries=_RETRIES,
            reason=reason,
        )


class NoFiles(RunFiles):
    """The run folder for every process but the first, which leaves all writing to the first."""

    def _leave(self, *_: object, **__: object) -> None: ...

    check_room = append = keep_best = cut = write = write_recipe = save_checkpoint = _leave

    def due_by_clock(self) -> bool:
        """Return false: the first process decides."""
        return False


def files_of(process_group: ProcessGroup, run: Path, keep: int, checkpoint_bytes: int) -> RunFiles:
    """Return the files of a run for this process: only the first process writes them; see ``RunFiles``."""
    return (RunFiles if process_group.is_first else NoFiles)(run, keep, checkpoint_bytes)


def _write_at(path: Path, length: int, data: bytes) -> int:
    """Write after the first ``length`` bytes of a file, over what a failure may have left; return its length."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(min(length, file.seek(0, os.SEEK_END)))
        at = file.seek(0, os.SEEK_END)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return at + len(data)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
