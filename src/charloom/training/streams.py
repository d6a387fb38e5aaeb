"""The two ways a text becomes batches: shuffled windows, and contiguous streams whose state goes on.

Both are endless iterators whose position is two numbers that can be saved and set: everything random is
drawn anew for each epoch from (seed, epoch), so nothing else has to be remembered.

Shapes: inputs and targets (B, T); targets are inputs moved on by one character.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.plan.planner import steps_per_epoch
from charloom.plan.settings import Settings

Ids = NDArray[np.unsignedinteger]


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
        targets: Ids that followed, (B, T).
        epoch: The pass over the text it belongs to, from 0.
        index: Its number in that epoch, from 0.
        resets_state: Whether the carried state goes back to zero before it.
        ends_epoch: Whether it is the last of its epoch.
    """

    inputs: Ids
    targets: Ids
    epoch: int
    index: int
    resets_state: bool
    ends_epoch: bool


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


def make_batches(ids: Ids, settings: Settings) -> Batches:
    """Return the batches of a training text as the settings want them.

    Args:
        ids: The training text, (N,).
        settings: ``batching``, ``seq_length``, ``batch_size``, ``reset_state``, ``shuffle_buffer``, ``shuffle``,
            ``seed``.

    Raises:
        CorpusError: If the text is shorter than one window.
        SettingsError: If it is shorter than one batch.
    """
    return (Windows if settings.batching == "windows" else Streams)(ids, settings)


class _Batches:
    """What both ways share: the counting of batches and epochs, and when the state is reset."""

    def __init__(self, ids: Ids, settings: Settings) -> None:
        self.batches_per_epoch = steps_per_epoch(settings, len(ids))
        self.position = Position()
        self._ids = ids
        self._settings = settings

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        at = self.position
        inputs, targets = self._read(at)
        last = at.index + 1 == self.batches_per_epoch
        self.position = Position(at.epoch + 1) if last else replace(at, index=at.index + 1)
        reset = self._settings.reset_state
        resets = at == Position() or reset == "window" or (reset == "epoch" and at.index == 0)
        return Batch(inputs, targets, at.epoch, at.index, resets, last)

    def _read(self, at: Position) -> tuple[Ids, Ids]:
        raise NotImplementedError

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._settings.seed, 2], counter=[0, 0, 0, epoch]))


class Windows(_Batches):
    """Windows of ``seq_length + 1`` characters, shuffled through a buffer; an incomplete batch is dropped.

    The text is cut into runs of T + 1 characters, the incomplete last one dropped; a window's inputs are all
    but its last character, its targets all but its first. As the tutorial does it, a buffer of
    ``shuffle_buffer`` windows is kept filled in the text's order, and each next window is drawn from it.
    """

    def __init__(self, ids: Ids, settings: Settings) -> None:
        super().__init__(ids, settings)
        width = settings.seq_length + 1
        count = len(ids) // width
        self.windows = ids[: count * width].reshape(count, width)
        self._order: tuple[int, NDArray[np.intp]] | None = None

    def _read(self, at: Position) -> tuple[Ids, Ids]:
        if self._order is None or self._order[0] != at.epoch:
            rng = self._rng(at.epoch if self._settings.shuffle == "epoch" else 0)
            self._order = at.epoch, shuffled_order(len(self.windows), self._settings.shuffle_buffer, rng)
        size = self._settings.batch_size
        batch = self.windows[self._order[1][at.index * size : (at.index + 1) * size]]
        return batch[:, :-1], batch[:, 1:]


class Streams(_Batches):
    """B contiguous readings of the text; window after window each goes on where it stopped.

    The text is cut into B stretches of equal length, each a whole number of windows. What does not fit is
    less than one batch; where the stretches begin is drawn for each epoch, so that over time nothing is left out.
    """

    def _read(self, at: Position) -> tuple[Ids, Ids]:
        rows, width = self._settings.batch_size, self._settings.seq_length
        length = self.batches_per_epoch * width
        spare = len(self._ids) - 1 - rows * length
        start = int(self._rng(at.epoch).integers(0, spare + 1)) + at.index * width
        places = start + np.arange(rows)[:, None] * length + np.arange(width + 1)
        batch = self._ids[places]
        return batch[:, :-1], batch[:, 1:]


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
