"""The loop of training steps: an iterator that makes one step and returns its record."""

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
    """An iterator over the steps of a training run. Its whole state can be read and set.

    A step whose loss, gradient or state is not finite is skipped; see ``StepStats``.

    Args:
        backend: Computes the steps.
        batches: Batches to train on.
        settings: Learning rate, warm-up and schedule.
        steps: Total number of steps of the training.
        poll: Called once in every step; returns whether to stop and whether to save.

    Attributes:
        step: Number of steps so far, including skipped ones.
        rate_factor: Factor applied to the learning rate of the schedule.
        control_flags: Flags of the last step: each is set if ``poll`` set it in any process.
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
        """Restore the backend's state after step number ``step``."""
        self.step = step
        self.backend.restore(tensors)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process, so that the next step can reuse it.

    By default the C library returns every large buffer to the operating system immediately. The next step then gets it
    back page by page, and the system fills each page with zeros. Only glibc has this option; on other systems this
    context manager does nothing.
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
        libc.mallopt(_M_MMAP_MAX, 65536)  # glibc's default, as on the next line
        libc.mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None
