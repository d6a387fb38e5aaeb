"""The base class of all kinds of batches.

Everything random is drawn for each epoch from (seed, epoch), so that the position, two numbers, is all that has to be
saved.

Shapes: inputs and targets (B, T); targets are inputs shifted by one character. Where several processes train together,
each reads its own rows of every batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.planning.settings import Settings
from charloom.training.distributed.process_group import ProcessGroup


class IdSource(Protocol):
    """Ids of a text from which batches are cut: an array, a memory-mapped index, or a backend's memory.

    What is taken from it is an array or, from a backend's memory, a tensor.
    """

    def __len__(self) -> int:
        """Return N, the number of ids."""
        ...

    def __getitem__(self, places: slice | NDArray[np.intp], /) -> Any:
        """Return the ids at these places."""
        ...


@dataclass(frozen=True)
class Position:
    """Position in the data: the next batch is number ``index`` of ``epoch``, both from 0."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        inputs: Ids read, (B, T): an array, or a tensor if a backend holds the ids (see ``IdSource``).
        targets: Ids that follow, (B, T), of the same type; -1 where there is none.
        epoch: The pass over the text that it belongs to, from 0.
        index: Its number in that epoch, from 0.
        resets_state: Whether the carried state is set to zero before it.
        ends_epoch: Whether it is the last of its epoch.
        share: Share of this process' rows in the targets of the whole batch: 1 in a single process.
    """

    inputs: Any
    targets: Any
    epoch: int
    index: int
    resets_state: bool
    ends_epoch: bool
    share: float = 1.0


class Batches(Protocol):
    """An endless iterator over batches; ``position`` can be read, saved and set."""

    position: Position
    batches_per_epoch: int

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        ...

    def __next__(self) -> Batch:
        """Return the next batch and advance the position."""
        ...


Rows = tuple[Any, Any, float]
"""Inputs and targets of this process' rows, and their share in the targets of the whole batch."""


class CountedBatches:
    """What all kinds of batches have in common: the position, and when the state is reset."""

    def __init__(self, settings: Settings, batches_per_epoch: int, process_group: ProcessGroup) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.position = Position()
        self._settings = settings
        self._rows = process_group.rows(settings.batch_size)
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

    def _read(self, at: Position) -> Rows:
        """Return the rows of the batch at a position."""
        raise NotImplementedError

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._settings.seed, 2], counter=[0, 0, 0, epoch]))
