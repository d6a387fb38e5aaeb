"""Batches of contiguous streams, whose state is carried from window to window."""

import numpy as np

from charloom.planning.schedule import steps_per_epoch
from charloom.planning.settings import Settings
from charloom.training.batches.base import CountedBatches, IdSource, Position, Rows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


class Streams(CountedBatches):
    """B contiguous streams of the text; each window of a stream begins where the window before it ended.

    The text is cut into B stretches of equal length, each a whole number of windows. The rest is shorter than a batch;
    where the first stretch begins is drawn for each epoch, so that no part of the text is always left out.
    """

    def __init__(self, ids: IdSource, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        super().__init__(settings, steps_per_epoch(settings, len(ids)), process_group)
        self._ids = ids

    def _read(self, at: Position) -> Rows:
        rows, width = self._settings.batch_size, self._settings.seq_length
        length = self.batches_per_epoch * width
        spare = len(self._ids) - 1 - rows * length
        start = int(self._rng(at.epoch).integers(0, spare + 1)) + at.index * width
        places = start + np.arange(rows)[self._rows, None] * length + np.arange(width + 1)
        batch = self._ids[places]
        return batch[:, :-1], batch[:, 1:], self._share
