"""A cache of model states by prompt prefix: a prompt is processed from the end of its longest cached prefix."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from charloom.inference.engines.base import State


@dataclass(frozen=True)
class PrefixState:
    """The state of a model after a text.

    Attributes:
        length: Number of ids of the text.
        logits: Logits of the next character, (1, V).
        state: Recurrent state, (L, S, 1, H).
    """

    length: int
    logits: NDArray[np.float32]
    state: State

    @property
    def nbytes(self) -> int:
        """Memory of the logits and the state, in bytes."""
        return self.logits.nbytes + self.state.nbytes


class PrefixCache:
    """An LRU cache of model states, keyed by the ids of the text before them.

    The size of an entry does not depend on the length of its text.

    Args:
        max_bytes: Maximum size of all entries; the least recently used entries are evicted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._states: OrderedDict[tuple[int, bytes], PrefixState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def longest(self, ids: NDArray[np.integer]) -> PrefixState | None:
        """Return the state after the longest cached prefix of a text (T,), or None if no prefix is cached."""
        matches = [
            key for key in self._keys(ids, sorted({length for length, _ in self._states})) if key in self._states
        ]
        if not matches:
            return None
        self._states.move_to_end(matches[-1])
        return self._states[matches[-1]]

    def put(self, ids: NDArray[np.integer], state: PrefixState) -> None:
        """Store the state after a text (T,)."""
        (key,) = self._keys(ids, [len(ids)])
        if key in self._states:
            return
        self._states[key] = state
        self._bytes += state.nbytes
        while self._bytes > self._max_bytes:
            _, evicted = self._states.popitem(last=False)
            self._bytes -= evicted.nbytes

    @staticmethod
    def _keys(ids: NDArray[np.integer], lengths: list[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the keys of the prefixes with these lengths, which must be in ascending order."""
        digest, done = blake2b(digest_size=16), 0
        for length in lengths:
            if length > len(ids):
                return
            digest.update(np.ascontiguousarray(ids[done:length], np.int32).data)
            done = length
            yield length, digest.digest()
