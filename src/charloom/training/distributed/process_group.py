"""The processes of a data-parallel training. This module does not import PyTorch.

All processes make the same steps on the same weights. Each reads its rows of every batch, and an all-reduce sums the
gradients. Decisions that depend on a clock, a disk or a signal are broadcast or combined across processes, so that
no process waits for a step that another one does not make. Only the first process writes files.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from charloom.errors import CharloomError, Notice

if TYPE_CHECKING:
    from torch import Tensor


class ProcessGroup:
    """The processes of a training run. This base class is a group of one process: every operation is the identity.

    Attributes:
        rank: Index of this process, from 0. The process of rank 0 is the first process.
        size: Number of processes.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which writes files and reports progress."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return the rows of this process out of ``count`` rows; shares differ by at most one row."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum a tensor over all processes, in place.

        Raises:
            LostProcessError: If a process does not respond.
        """

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Return ``data`` of the first process; the other processes' data is ignored.

        Raises:
            LostProcessError: If a process does not respond.
        """
        return data

    def broadcast(self, value: Any) -> Any:
        """Return ``value`` of the first process, plain JSON data; see ``broadcast_bytes``."""
        return value if self.size == 1 else json.loads(self.broadcast_bytes(json.dumps(value).encode()))

    def broadcast_notice(self, notice: Notice | None) -> Notice | None:
        """Return ``notice`` of the first process, with its code and data; see ``broadcast_bytes``."""
        if self.size == 1:
            return notice
        fields = self.broadcast(notice and {"message": str(notice), "code": notice.code, **notice.data})
        return fields and Notice(**fields)

    def should_report(self, error: CharloomError) -> bool:
        """Return whether this process should report an error.

        Exactly one of the processes with the same error reports it. A ``LostProcessError`` is reported only if no
        process has reported another error, which is then its cause.
        """
        return True

    def all_gather(self, own: Tensor, count: int, dim: int) -> Tensor:
        """Gather the rows of all processes.

        Args:
            own: Rows of this process; see ``rows``.
            count: Total number of rows.
            dim: Dimension along which the rows are split.

        Raises:
            LostProcessError: If a process does not respond.
        """
        if self.size == 1:
            return own
        shape = list(own.shape)
        shape[dim] = count
        gathered = own.new_zeros(shape)
        gathered.movedim(dim, 0)[self.rows(count)] = own.movedim(dim, 0)
        self.all_reduce(gathered)
        return gathered


SINGLE_PROCESS = ProcessGroup()
"""The process group of a training run in one process."""


def launched_by_torchrun() -> bool:
    """Return whether ``torchrun``, or a launcher that sets the same variables, has started several processes."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
