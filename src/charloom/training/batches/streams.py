"""Batches of contiguous streams, with hidden state carried from window to window."""

import numpy as np

from charloom.planning.schedule import steps_per_epoch
from charloom.planning.settings import Settings
from charloom.training.batches.base import CountedBatches, IdSource, Position, Rows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


class Streams(CountedBatches):
    """Batches of B contiguous streams. Each window of a stream starts where the stream's previous window ended.

    The text is cut into B streams of equal length, each a whole number of windows. The remainder, shorter than one
    batch, is not read. Each epoch draws the start of the first stream, so that no part of the text is always omitted.
    """

    def __init__(self, ids: IdSource, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        super().__init__(settings, steps_per_epoch(settings, len(ids)), process_group)
        self._ids = ids

    def _read(self, at: Position) -> Rows:
        rows, width = self._settings.batch_size, self._settings.seq_length
        length = self.batches_per_epoch * width
        spare = len(self._ids) - 1 - rows * length
        start = int(self._rng(at.epoch).integers(0, spare + 1)) + at.index * width
        positions = start + np.arange(rows)[self._rows, None] * length + np.arange(width + 1)
        batch = self._ids[positions]
        return batch[:, :-1], batch[:, 1:], self._share, 1.0
