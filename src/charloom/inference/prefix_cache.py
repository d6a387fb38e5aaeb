"""What was read before need not be read again: states behind texts, found by the longest beginning of a new one."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from charloom.inference.engines.base import State


@dataclass(frozen=True)
class PrefixState:
    """What a model knows behind a text.

    Attributes:
        length: How many ids the text has.
        logits: Of the next character, (1, V).
        state: (L, S, 1, H).
    """

    length: int
    logits: NDArray[np.float32]
    state: State

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.logits.nbytes + self.state.nbytes


class PrefixCache:
    """The states behind the texts that were used last.

    A state is of one size, however long its text is, so that a long text costs no more to keep than a short one.

    Args:
        most_bytes: What states and logits may take together; what was used longest ago goes first.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, bytes], PrefixState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def longest(self, ids: NDArray[np.integer]) -> PrefixState | None:
        """Return what is known behind the longest beginning of a text (T,), or None."""
        found = [key for key in self._keys(ids, sorted({length for length, _ in self._kept})) if key in self._kept]
        if not found:
            return None
        self._kept.move_to_end(found[-1])
        return self._kept[found[-1]]

    def put(self, ids: NDArray[np.integer], behind: PrefixState) -> None:
        """Keep what is known behind a text (T,)."""
        (key,) = self._keys(ids, [len(ids)])
        if key in self._kept:
            return
        self._kept[key] = behind
        self._bytes += behind.nbytes
        while self._bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.nbytes

    @staticmethod
    def _keys(ids: NDArray[np.integer], lengths: list[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the key of each beginning of a text that has one of these lengths, the shortest first."""
        digest, done = blake2b(digest_size=16), 0
        for length in lengths:
            if length > len(ids):
                return
            digest.update(np.ascontiguousarray(ids[done:length], np.int32).data)
            done = length
            yield length, digest.digest()
