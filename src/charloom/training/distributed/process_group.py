"""The processes that train one model together. Nothing in this module needs PyTorch.

All processes make the same steps on the same weights. Each reads its own rows of every batch, and the gradients are
summed (all-reduce). What depends on a clock, a disk or a signal is decided by the first process, or by any of them, and
broadcast, so that no process waits for a step that another does not make. Only the first process writes files.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from charloom.errors import CharloomError, Notice

if TYPE_CHECKING:
    from torch import Tensor


class ProcessGroup:
    """The processes of a training. This base class is a group of one, for which every operation is the identity.

    Attributes:
        rank: Index of this process, from 0; the first one writes.
        size: Number of processes.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return this process' share of ``count`` rows; shares differ by one row at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace a tensor in place by its sum over all processes.

        Raises:
            LostProcessError: If one of them does not answer.
        """

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Return the first process' bytes; those of the other processes are ignored.

        Raises:
            LostProcessError: If one of them does not answer.
        """
        return data

    def broadcast(self, value: Any) -> Any:
        """Return the first process' value, plain JSON data; see ``broadcast_bytes``."""
        return value if self.size == 1 else json.loads(self.broadcast_bytes(json.dumps(value).encode()))

    def broadcast_notice(self, notice: Notice | None) -> Notice | None:
        """Return the first process' notice with its code and data, or None; see ``broadcast_bytes``."""
        if self.size == 1:
            return notice
        fields = self.broadcast(notice and {"message": str(notice), "code": notice.code, **notice.data})
        return fields and Notice(**fields)

    def should_report(self, error: CharloomError) -> bool:
        """Return whether this process should report an error.

        Of the processes with the same error, one reports it. A ``LostProcessError`` is reported only if no process has
        reported the cause.
        """
        return True

    def all_gather(self, own: Tensor, count: int, dim: int) -> Tensor:
        """Return the rows of all processes.

        Args:
            own: Rows of this process.
            count: Number of rows of all processes.
            dim: Dimension of the rows.

        Raises:
            LostProcessError: If one of them does not answer.
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
"""A training in one process."""


def started_together() -> bool:
    """Return whether ``torchrun``, or a program that sets the same variables, has started more than one process."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
