"""The processes that train one model together, as all that takes part sees them; nothing here needs torch.

All do the same: the same steps on the same weights, each with its own rows of every batch, their gradients added up.
What depends on a clock, a disk or a signal is decided by the first of them, or by any, and told to the others, so that
none waits for a step that the others do not make. The first alone writes.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Ranks:
    """The processes of a training; by itself it is one that is alone, and tells itself.

    Attributes:
        rank: Which of them this is, from 0; the first one writes.
        size: How many there are.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and says what happens."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return which of some rows are this process' own: each has as many as the others, or one more."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum over all processes into a tensor that each of them has.

        Raises:
            LostProcessError: If one of them is gone.
        """

    def bytes_from_first(self, data: bytes) -> bytes:
        """Return the first process' bytes; those of the others are not looked at.

        Raises:
            LostProcessError: If one of them is gone.
        """
        return data

    def from_first(self, value: Any) -> Any:
        """Return the first process' value, plain JSON data; see ``bytes_from_first``."""
        return value if self.size == 1 else json.loads(self.bytes_from_first(json.dumps(value).encode()))

    def says(self, message: str) -> bool:
        """Return whether this process is the one to say what went wrong: of those that have the same to say, one is.

        That another process is gone is said only if none has said why.
        """
        return True

    def whole(self, own: Tensor, count: int, dim: int) -> Tensor:
        """Return all rows, of which every process has its own.

        Args:
            own: Those of this process.
            count: How many there are in all.
            dim: The dimension along which they lie.

        Raises:
            LostProcessError: If one of them is gone.
        """
        if self.size == 1:
            return own
        shape = list(own.shape)
        shape[dim] = count
        found = own.new_zeros(shape)
        found.movedim(dim, 0)[self.rows(count)] = own.movedim(dim, 0)
        self.add_up(found)
        return found


ALONE = Ranks()
"""One process that trains by itself."""


def started_together() -> bool:
    """Return whether ``torchrun``, or something that sets the same variables, has started more than one process."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
