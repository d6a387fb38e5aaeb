"""How a text becomes batches: shuffled windows, contiguous streams whose state goes on, or lines of their own.

All are endless iterators whose position is two numbers that can be saved and set: everything random is
drawn anew for each epoch from (seed, epoch), so nothing else has to be remembered.

Shapes: inputs and targets (B, T); targets are inputs moved on by one character. Where several processes train together,
each reads its own rows of every batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.planning.schedule import steps_per_epoch, windows_per_group
from charloom.planning.settings import Settings
from charloom.training.distributed.process_group import ALONE, Ranks


@dataclass(frozen=True)
class Position:
    """How far the reading has come: the next batch is number ``index`` of ``epoch``, both from 0."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        inputs: Ids read, (B, T).
        targets: Ids that followed, (B, T); -1 where nothing is to be learned.
        epoch: The pass over the text it belongs to, from 0.
        index: Its number in that epoch, from 0.
        resets_state: Whether the carried state goes back to zero before it.
        ends_epoch: Whether it is the last of its epoch.
        share: Of the targets to be learned from the whole batch, those in the rows of this process: 1 where it is
            alone.
    """

    inputs: NDArray[np.integer]
    targets: NDArray[np.integer]
    epoch: int
    index: int
    resets_state: bool
    ends_epoch: bool
    share: float = 1.0


class Batches(Protocol):
    """An endless iterator over batches; ``position`` may be read, kept and set."""

    position: Position
    batches_per_epoch: int

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        ...

    def __next__(self) -> Batch:
        """Return the next batch and move on."""
        ...


def make_batches(ids: Ids | LineIds, settings: Settings, ranks: Ranks = ALONE) -> Batches:
    """Return the batches of a training text as the settings want them.

    Args:
        ids: The training text, (N,); or lines, which ``batching`` then has to be.
        settings: ``batching``, ``seq_length``, ``batch_size``, ``reset_state``, ``shuffle_buffer``, ``shuffle``,
            ``seed``.
        ranks: The processes that train together; this one gets its own rows.

    Raises:
        CorpusError: If the text is shorter than one window.
        SettingsError: If it is shorter than one batch.
    """
    if isinstance(ids, LineIds):
        return LineGroups(ids, settings, ranks)
    return (Windows if settings.batching == "windows" else Streams)(ids, settings, ranks)


_Read = tuple[NDArray[np.integer], NDArray[np.integer], float]  # inputs, targets, and which share of all targets it is


class _Batches:
    """What all ways share: the counting of batches and epochs, and when the state is reset."""

    def __init__(self, settings: Settings, batches_per_epoch: int, ranks: Ranks) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.position = Position()
        self._settings = settings
        self._rows = ranks.rows(settings.batch_size)
        self._share = (self._rows.stop - self._rows.start) / settings.batch_size

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        at = self.position
        inputs, targets, share = self._read(at)
        last = at.index + 1 == self.batches_per_epoch
        self.position = Position(at.epoch + 1) if last else replace(at, index=at.index + 1)
        return Batch(inputs, targets, at.epoch, at.index, self._resets(at), last, share)

    def _resets(self, at: Position) -> bool:
        reset = self._settings.reset_state
        return at == Position() or reset == "window" or (reset == "epoch" and at.index == 0)

    def _read(self, at: Position) -> _Read:
        raise NotImplementedError

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._settings.seed, 2], counter=[0, 0, 0, epoch]))


class Windows(_Batches):
    """Windows of ``seq_length + 1`` characters, shuffled through a buffer; an incomplete batch is dropped.

    The text is cut into runs of T + 1 characters, the incomplete last one dropped; a window's inputs are all
    but its last character, its targets all but its first. As the tutorial does it, a buffer of
    ``shuffle_buffer`` windows is kept filled in the text's order, and each next window is drawn from it.
    """

    def __init__(self, ids: Ids, settings: Settings, ranks: Ranks = ALONE) -> None:
        super().__init__(settings, steps_per_epoch(settings, len(ids)), ranks)
        self._ids = ids
        self._width = settings.seq_length + 1
        self._count = len(ids) // self._width
        self._order: tuple[int, NDArray[np.intp]] | None = None

    @property
    def windows(self) -> NDArray[np.unsignedinteger]:
        """All of them in the text's order, (N, T + 1): a view of a text in memory; one on disk is read."""
        return self._ids[: self._count * self._width].reshape(self._count, self._width)

    def _read(self, at: Position) -> _Read:
        if self._order is None or self._order[0] != at.epoch:
            rng = self._rng(at.epoch if self._settings.shuffle == "epoch" else 0)
            self._order = at.epoch, shuffled_order(self._count, self._settings.shuffle_buffer, rng)
        size = self._settings.batch_size
        windows = self._order[1][at.index * size : (at.index + 1) * size][self._rows]
        batch = self._ids[windows[:, None] * self._width + np.arange(self._width)]
        return batch[:, :-1], batch[:, 1:], self._share


class Streams(_Batches):
    """B contiguous readings of the text; window after window each goes on where it stopped.

    The text is cut into B stretches of equal length, each a whole number of windows. What does not fit is
    less than one batch; where the stretches begin is drawn for each epoch, so that over time nothing is left out.
    """

    def __init__(self, ids: Ids, settings: Settings, ranks: Ranks = ALONE) -> None:
        super().__init__(settings, steps_per_epoch(settings, len(ids)), ranks)
        self._ids = ids

    def _read(self, at: Position) -> _Read:
        rows, width = self._settings.batch_size, self._settings.seq_length
        length = self.batches_per_epoch * width
        spare = len(self._ids) - 1 - rows * length
        start = int(self._rng(at.epoch).integers(0, spare + 1)) + at.index * width
        places = start + np.arange(rows)[self._rows, None] * length + np.arange(width + 1)
        batch = self._ids[places]
        return batch[:, :-1], batch[:, 1:], self._share


class LineGroups(_Batches):
    """Lines side by side, each from the zero state; a long one goes on in the next window.

    Lines of like length are read together, so that little is filled up. Which of those of one length meet, and in what
    order the groups come, is drawn for each epoch; a group's first window resets the state.
    """

    def __init__(self, lines: LineIds, settings: Settings, ranks: Ranks = ALONE) -> None:
        per_group = windows_per_group(settings, lines.lengths)
        super().__init__(settings, int(per_group.sum()), ranks)
        self._lines, self._per_group = lines, per_group
        self._drawn: tuple[int, NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]] | None = None
        self._group: tuple[tuple[int, int], tuple[NDArray[np.integer], NDArray[np.integer]]] | None = None

    def _read(self, at: Position) -> _Read:
        number, window = self._place(at)
        if self._group is None or self._group[0] != (at.epoch, number):
            assert self._drawn is not None
            rows = self._settings.batch_size
            group = int(self._drawn[2][number])
            lines = self._drawn[1][group * rows : (group + 1) * rows]
            self._group = (at.epoch, number), self._lines.windows(lines, rows)
        width = self._settings.seq_length
        inputs, targets = (part[:, window * width : (window + 1) * width] for part in self._group[1])
        own = targets[self._rows]
        return inputs[self._rows], own, float((own >= 0).sum() / (targets >= 0).sum())

    def _resets(self, at: Position) -> bool:
        return self._place(at)[1] == 0

    def _place(self, at: Position) -> tuple[int, int]:
        """Return which of the epoch's groups a batch belongs to, and which of its windows it is."""
        if self._drawn is None or self._drawn[0] != at.epoch:
            rng = self._rng(at.epoch)
            order = np.lexsort((rng.random(len(self._lines.lengths)), self._lines.lengths))
            groups = rng.permutation(len(self._per_group))
            self._drawn = at.epoch, order, groups, np.cumsum(self._per_group[groups])
        ends = self._drawn[3]
        number = int(np.searchsorted(ends, at.index, side="right"))
        return number, at.index - int(ends[number] - self._per_group[self._drawn[2][number]])


def shuffled_order(count: int, buffer_size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the order in which a shuffle buffer gives out items 0 to ``count - 1``.

    Args:
        count: How many items there are.
        buffer_size: How many wait at once; with ``count`` or more the order is uniformly random.
        rng: Draws the places.

    Source: the behaviour documented for ``tf.data.Dataset.shuffle``.
    """
    buffer = list(range(min(buffer_size, count)))
    order = np.empty(count, np.intp)
    for given in range(count):
        place = int(rng.integers(len(buffer)))
        order[given] = buffer[place]
        coming = len(buffer) + given
        if coming < count:
            buffer[place] = coming
        else:
            buffer[place] = buffer[-1]
            buffer.pop()
    return order
