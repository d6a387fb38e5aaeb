"""The loop of updates: an iterator that makes one update and yields its record."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from charloom.planning.settings import Settings
from charloom.training.backends.base import ControlFlags, TrainingBackend
from charloom.training.batches.base import Batches
from charloom.training.events import StepRecord
from charloom.training.optim.schedules import learning_rate_at

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h


class TrainingSteps:
    """An iterator over the updates of a training. All that the next update depends on can be read and set.

    An update whose loss, gradient or state is not finite is left out; see ``StepStats``.

    Args:
        backend: Computes the updates.
        batches: What to learn from.
        settings: Learning rate and its schedule.
        steps: Number of updates of the whole training.
        poll: Called once in every update: whether to stop, and whether to save.

    Attributes:
        step: Updates so far, including those left out.
        rate_factor: Factor by which the schedule's learning rate is multiplied.
        control_flags: What ``poll`` returned at the last update, in any of the processes.
    """

    def __init__(
        self,
        backend: TrainingBackend,
        batches: Batches,
        settings: Settings,
        steps: int,
        poll: Callable[[], ControlFlags] = ControlFlags,
    ) -> None:
        self.backend = backend
        self.batches = batches
        self.settings = settings
        self.steps = steps
        self.step = 0
        self.rate_factor = 1.0
        self.control_flags = ControlFlags()
        self._poll = poll

    def __iter__(self) -> Iterator[StepRecord]:
        return self

    def __next__(self) -> StepRecord:
        if self.step >= self.steps:
            raise StopIteration
        began = time.perf_counter()
        batch = next(self.batches)
        learning_rate = self.rate_factor * learning_rate_at(self.step, self.steps, self.settings)
        stats = self.backend.step(batch, self.step, learning_rate, self._poll)
        self.control_flags = stats.control_flags
        self.step += 1
        return StepRecord(
            step=self.step,
            epoch=batch.epoch + (batch.index + 1) / self.batches.batches_per_epoch,
            loss=stats.loss if stats.is_finite else None,
            grad_norm=stats.grad_norm if stats.is_finite else None,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - began,
        )

    def restore(self, tensors: Mapping[str, NDArray[Any]], step: int) -> None:
        """Continue after a step, with the backend's state at that step."""
        self.step = step
        self.backend.restore(tensors)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep the memory that a step frees in the process, for the next step to use.

    By default the C library returns every large buffer to the system at once, and the next step gets it back page by
    page, each filled with zeros. Only glibc has this option; on other systems nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, 65536)  # these two are glibc's own values
        libc.mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None
