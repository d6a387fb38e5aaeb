"""Write the files of a run. Data whose write failed stays in memory and is retried."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom.errors import Notice, RunError, SaveError
from charloom.model.file.model_file import SavedModel, save_model
from charloom.model.file.run_folder import METRICS, MODEL, RECIPE, SAMPLES, checkpoint_path
from charloom.planning.plan_changes import PlanChange
from charloom.training.checkpoint import SavedTraining, remove_old_checkpoints, save_checkpoint
from charloom.training.distributed.process_group import ProcessGroup
from charloom.training.events import PLAN_CHANGED

_RETRIES = 3
_RETRY_SECONDS = 5.0  # seconds before the first retry; the n-th retry waits n times as long
_MAX_SAVE_SHARE = 1 / 50  # maximum share of the time for periodic checkpoints
_MIN_SECONDS = 60.0  # minimum seconds between two periodic checkpoints
_FREE_CHECKPOINTS = 3  # checkpoints for which the disk must have space at the start


class RunFiles:
    """Writes into a run folder.

    Args:
        run: The run folder.
        keep: Number of newest checkpoints to keep; 0: all.
        checkpoint_bytes: Approximate size of a checkpoint.

    Attributes:
        failures: Number of consecutive failed attempts to write.
    """

    def __init__(self, run: Path, keep: int, checkpoint_bytes: int) -> None:
        self.run = run
        self.failures = 0
        self._keep = keep
        self._bytes = checkpoint_bytes
        self._lengths = dict.fromkeys((METRICS, SAMPLES), 0)  # bytes known to be on disk
        self._unwritten = dict.fromkeys((METRICS, SAMPLES), b"")
        self._best: SavedModel | None = None
        self._retry_at = 0.0
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0

    def check_disk_space(self) -> None:
        """Raise ``RunError`` if the disk has no space for a few checkpoints."""
        needed, free = _FREE_CHECKPOINTS * self._bytes, shutil.disk_usage(self.run).free
        if free < needed:
            raise RunError(
                f"The disk of {self.run} has {_megabytes(free)} free; {_FREE_CHECKPOINTS} checkpoints of this model "
                f"need {_megabytes(needed)}. Free some space, choose another folder with -o, or lower hidden_size with "
                "--set.",
                code="disk_space_low",
                path=str(self.run),
                free_bytes=free,
                needed_bytes=needed,
            )

    def append(self, name: str, text: str) -> None:
        """Append text to a log file at the next ``write``."""
        self._unwritten[name] += text.encode("utf-8", "surrogatepass")

    def keep_best(self, model: SavedModel) -> None:
        """Replace the best model at the next ``write``."""
        self._best = model

    def lengths(self) -> dict[str, int]:
        """Return the length of each log file in bytes, including text that is not written yet."""
        return {name: length + len(self._unwritten[name]) for name, length in self._lengths.items()}

    def plan_changes_after(self, lengths: Mapping[str, int]) -> tuple[PlanChange, ...]:
        """Return the changes of the plan that the metrics contain after an earlier length; they will be repeated.

        Args:
            lengths: Length in bytes by file name.
        """
        path = self.run / METRICS
        rest = path.read_bytes()[lengths.get(METRICS, 0) :] if path.is_file() else b""
        changes = []
        for line in rest.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a killed process may have left half a line
                values = json.loads(line)
                if values["event"] == PLAN_CHANGED:
                    changes.append(PlanChange(int(values["step"]), int(values["steps"])))
        return tuple(changes)

    def truncate(self, lengths: Mapping[str, int]) -> None:
        """Truncate the log files to earlier lengths.

        Args:
            lengths: Length in bytes by file name.

        Raises:
            OSError: If a file cannot be truncated.
        """
        for name, length in lengths.items():
            self._unwritten[name] = b""
            path = self.run / name
            path.touch()
            self._lengths[name] = min(length, path.stat().st_size)
            os.truncate(path, self._lengths[name])

    def write(self) -> None:
        """Write appended text and the best model.

        Raises:
            OSError: If a write fails; the data is kept for the next ``write``.
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
        """Write ``recipe.toml`` immediately.

        Raises:
            OSError: If it cannot be written.
        """
        write_atomically(self.run / RECIPE, text.encode("utf-8"))

    def save_checkpoint(self, step: int, model: SavedModel, training: SavedTraining) -> None:
        """Call ``write``, write a checkpoint, then remove old checkpoints.

        Raises:
            OSError: If a write fails; the old checkpoints remain.
        """
        began = time.monotonic()
        self.write()
        self._check_free()
        save_checkpoint(checkpoint_path(self.run, step), model, training)
        remove_old_checkpoints(self.run, self._keep)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began

    def periodic_save_due(self) -> bool:
        """Return whether a periodic checkpoint is due: at most once a minute and in at most 2 % of the time."""
        waited = time.monotonic() - self._saved_at
        return waited >= max(_MIN_SECONDS, self._save_seconds / _MAX_SAVE_SHARE)

    def attempt(self, action: Callable[[], object], what: str) -> Notice | None:
        """Call a function that writes files; return None, or a notice if it failed.

        Args:
            action: Function that raises ``OSError`` if a write fails.
            what: Name of what it writes, for the message.

        Raises:
            SaveError: If more than ``_RETRIES`` consecutive attempts have failed.
        """
        try:
            action()
        except OSError as error:
            return self._failed(error, what)
        self.failures = 0
        return None

    def retry_due(self) -> bool:
        """Return whether a failed write is due for a retry."""
        return self.failures > 0 and time.monotonic() >= self._retry_at

    def wait_for_retry(self, max_seconds: float) -> None:
        """Sleep until the next retry is due, but at most ``max_seconds``."""
        time.sleep(max(0.0, min(max_seconds, self._retry_at - time.monotonic())))

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
    """Stands in for ``RunFiles`` in all processes but the first: it writes nothing."""

    def _do_nothing(self, *_: object, **__: object) -> None: ...

    check_disk_space = append = keep_best = truncate = write = write_recipe = save_checkpoint = _do_nothing

    def plan_changes_after(self, lengths: Mapping[str, int]) -> tuple[PlanChange, ...]:
        """Return nothing; the first process broadcasts its own."""
        return ()

    def periodic_save_due(self) -> bool:
        """Return false; the first process decides."""
        return False


def make_run_files(process_group: ProcessGroup, run: Path, keep: int, checkpoint_bytes: int) -> RunFiles:
    """Return ``RunFiles`` in the first process, and ``NoFiles`` in all others."""
    return (RunFiles if process_group.is_first else NoFiles)(run, keep, checkpoint_bytes)


def _write_at(path: Path, length: int, data: bytes) -> int:
    """Write after the first ``length`` bytes, replacing what a failed write may have left; return the new length."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(min(length, file.seek(0, os.SEEK_END)))
        at = file.seek(0, os.SEEK_END)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return at + len(data)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
