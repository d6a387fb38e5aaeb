"""Batches of shuffled windows."""

import numpy as np
from numpy.typing import NDArray

from charloom.planning.schedule import steps_per_epoch
from charloom.planning.settings import Settings
from charloom.training.batches.base import CountedBatches, IdSource, Position, Rows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


class Windows(CountedBatches):
    """Batches of windows of T + 1 characters that are shuffled through a buffer, as in the TensorFlow tutorial.

    The text is cut into windows; the inputs of a window are all but its last character, the targets all but its first.
    An incomplete last window and an incomplete last batch are dropped. The shuffle buffer holds ``shuffle_buffer``
    windows: it is filled in text order, and the next window is drawn from it at random.
    """

    def __init__(self, ids: IdSource, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS) -> None:
        super().__init__(settings, steps_per_epoch(settings, len(ids)), process_group)
        self._ids = ids
        self._width = settings.seq_length + 1
        self._count = len(ids) // self._width
        self._order: tuple[int, NDArray[np.intp]] | None = None

    @property
    def windows(self) -> NDArray[np.unsignedinteger]:
        """All windows in text order, (N, T + 1): a view if the text is in memory, else a copy read from disk."""
        ids: NDArray[np.unsignedinteger] = self._ids[: self._count * self._width]
        return ids.reshape(self._count, self._width)

    def _read(self, at: Position) -> Rows:
        if self._order is None or self._order[0] != at.epoch:
            rng = self._rng(at.epoch if self._settings.shuffle == "epoch" else 0)
            self._order = at.epoch, shuffled_order(self._count, self._settings.shuffle_buffer, rng)
        size = self._settings.batch_size
        windows = self._order[1][at.index * size : (at.index + 1) * size][self._rows]
        batch = self._ids[windows[:, None] * self._width + np.arange(self._width)]
        return batch[:, :-1], batch[:, 1:], self._share, 1.0


def shuffled_order(count: int, buffer_size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the order in which a shuffle buffer yields items 0 to ``count - 1``.

    Args:
        count: Number of items.
        buffer_size: Size of the buffer; with ``count`` or more the order is uniformly random.
        rng: Draws positions in the buffer.

    Source: the behavior documented for ``tf.data.Dataset.shuffle``.
    """
    buffer = list(range(min(buffer_size, count)))
    order = np.empty(count, np.intp)
    for i in range(count):
        drawn = int(rng.integers(len(buffer)))
        order[i] = buffer[drawn]
        incoming = len(buffer) + i
        if incoming < count:
            buffer[drawn] = incoming
        else:
            buffer[drawn] = buffer[-1]
            buffer.pop()
    return order
