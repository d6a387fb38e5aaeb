"""Interface and base class of the batch iterators.

All random numbers of an epoch depend only on (seed, epoch), so a checkpoint only saves the position, two numbers.

Shapes: inputs and targets (B, T); targets are the inputs shifted by one character. With several processes, each reads
its rows of every batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.planning.settings import Settings
from charloom.training.distributed.process_group import ProcessGroup


class IdSource(Protocol):
    """Ids of a training text: an array, a memory-mapped index, or a tensor in the memory of a backend.

    Indexing returns an array, or a tensor if the ids are in the memory of a backend.
    """

    def __len__(self) -> int:
        """Return N, the number of ids."""
        ...

    def __getitem__(self, positions: slice | NDArray[np.intp], /) -> Any:
        """Return the ids at these positions."""
        ...


@dataclass(frozen=True)
class Position:
    """Data position: the next batch is batch ``index`` of epoch ``epoch``, both counted from 0."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        inputs: Input ids, (B, T): an array, or a tensor if a backend holds the ids (see ``IdSource``).
        targets: Next ids, (B, T), of the same type; -1 at padding.
        epoch: Epoch of the batch, from 0.
        index: Index of the batch in its epoch, from 0.
        resets_state: Whether the carried hidden state is set to zero before this batch.
        ends_epoch: Whether this is the last batch of its epoch.
        share: Fraction of the whole batch's targets that are in the rows of this process; 1 in a single process.
        weight: Factor of the gradient, 1 on average over an epoch; see ``RecordGroups``.
    """

    inputs: Any
    targets: Any
    epoch: int
    index: int
    resets_state: bool
    ends_epoch: bool
    share: float = 1.0
    weight: float = 1.0


class Batches(Protocol):
    """An endless iterator over batches, whose ``position`` can be saved and restored."""

    position: Position
    batches_per_epoch: int

    def __iter__(self) -> Iterator[Batch]:
        """Return the iterator itself."""
        ...

    def __next__(self) -> Batch:
        """Return the next batch and advance the position."""
        ...


Rows = tuple[Any, Any, float, float]
"""Inputs, targets, ``share`` and ``weight`` of a batch; see ``Batch``."""


class CountedBatches:
    """Base class of the batch iterators: counts the position and decides when the state is reset."""

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
        inputs, targets, share, weight = self._read(at)
        last = at.index + 1 == self.batches_per_epoch
        self.position = Position(at.epoch + 1) if last else replace(at, index=at.index + 1)
        return Batch(inputs, targets, at.epoch, at.index, self._resets(at), last, share, weight)

    def _resets(self, at: Position) -> bool:
        reset = self._settings.reset_state
        return at == Position() or reset == "window" or (reset == "epoch" and at.index == 0)

    def _read(self, at: Position) -> Rows:
        """Return this process' rows of the batch at a position."""
        raise NotImplementedError

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._settings.seed, 2], counter=[0, 0, 0, epoch]))
