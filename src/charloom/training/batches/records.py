"""Batches of records (lines, or texts of several lines), which are separate texts."""

import numpy as np
from numpy.typing import NDArray

from charloom.data.splits import RecordIds
from charloom.planning.schedule import windows_per_group
from charloom.planning.settings import Settings
from charloom.training.batches.base import CountedBatches, Position, Rows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


class RecordGroups(CountedBatches):
    """Batches of records, each read from the zero state.

    A group of ``batch_size`` records is read in parallel. A record longer than a window continues in the group's next
    window; the first window of a group resets the state. Records of similar length form a group, which keeps padding
    low. Each epoch draws which records of equal length form a group, and the order of the groups.

    The last windows of a group contain few targets, most of them ends. For records of several lines, the gradient is
    therefore weighted by the number of targets, so that every character has the same weight; otherwise the model ends
    records too early. Batches of lines have equal weights, because a window usually holds whole lines.
    """

    def __init__(self, lines: RecordIds, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        per_group = windows_per_group(settings, lines.lengths)
        super().__init__(settings, int(per_group.sum()), process_group)
        self._lines, self._per_group = lines, per_group
        self._mean_targets = len(lines) / per_group.sum()
        self._drawn: tuple[int, NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]] | None = None
        self._group: tuple[tuple[int, int], tuple[NDArray[np.integer], NDArray[np.integer]]] | None = None

    def _read(self, at: Position) -> Rows:
        number, window = self._group_and_window(at)
        if self._group is None or self._group[0] != (at.epoch, number):
            assert self._drawn is not None
            rows = self._settings.batch_size
            group = int(self._drawn[2][number])
            lines = self._drawn[1][group * rows : (group + 1) * rows]
            self._group = (at.epoch, number), self._lines.windows(lines, rows)
        width = self._settings.seq_length
        inputs, targets = (part[:, window * width : (window + 1) * width] for part in self._group[1])
        own = targets[self._rows]
        count = (targets >= 0).sum()
        weight = float(count / self._mean_targets) if self._lines.equal_characters else 1.0
        return inputs[self._rows], own, float((own >= 0).sum() / count), weight

    def _resets(self, at: Position) -> bool:
        return self._group_and_window(at)[1] == 0

    def _group_and_window(self, at: Position) -> tuple[int, int]:
        """Return the index of a batch's group in its epoch, and the index of its window in that group."""
        if self._drawn is None or self._drawn[0] != at.epoch:
            rng = self._rng(at.epoch)
            order = np.lexsort((rng.random(len(self._lines.lengths)), self._lines.lengths))
            groups = rng.permutation(len(self._per_group))
            self._drawn = at.epoch, order, groups, np.cumsum(self._per_group[groups])
        ends = self._drawn[3]
        number = int(np.searchsorted(ends, at.index, side="right"))
        return number, at.index - int(ends[number] - self._per_group[self._drawn[2][number]])
