"""An engine wrapper for models of lines and records, which resets the state at each mark."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charloom.inference.engines.base import Cursor, Drawn, Engine, State, Trace
from charloom.inference.generation_options import Sampling

_AHEAD = 16  # characters sampled between two checks for the end of a line or record


class RecordEngine:
    """Wraps the engine of a model that treats every line or record as a separate text.

    The state is reset to zero before each mark (see ``TextRules.mark``). The initial state is the state after a mark,
    where every text begins.

    Args:
        engine: Runs the model.
        mark: Id of the mark.
    """

    def __init__(self, engine: Engine, mark: int) -> None:
        self.architecture, self.name, self.precision = engine.architecture, engine.name, engine.precision
        self.instructions, self.chunk = engine.instructions, engine.chunk
        self._engine, self._mark = engine, mark

    @cached_property
    def _beginning(self) -> tuple[NDArray[np.float32], State]:
        """Logits of the first character of a text, (V,), and the state before it, (L, S, 1, H)."""
        logits, state = self._engine.forward(np.array([[self._mark]]), self._engine.initial_state(1))
        return logits[0, 0], state

    def initial_state(self, batch_size: int) -> State:
        """Return the state at the beginning of a text, (L, S, B, H)."""
        return np.repeat(self._beginning[1], batch_size, axis=2)

    def forward(self, ids: NDArray[np.integer], state: State, last: bool = False) -> tuple[NDArray[np.float32], State]:
        """Run the model over texts; see ``Engine``."""
        blocks = []
        for part, begins in self._parts(ids):
            logits, state = self._engine.forward(part, _reset(state, begins), last)
            blocks.append(logits)
        return (blocks[-1] if last else np.concatenate(blocks, axis=1)), state

    def trace(self, ids: NDArray[np.integer], state: State) -> Trace:
        """Run the model over texts and return logits, states and gates; see ``Engine``."""
        traces = []
        for part, begins in self._parts(ids):
            traces.append(self._engine.trace(part, _reset(state, begins)))
            state = traces[-1].state
        return Trace(
            np.concatenate([trace.logits for trace in traces], axis=1),
            np.concatenate([trace.states for trace in traces], axis=1),
            np.concatenate([trace.gates for trace in traces], axis=1),
            state,
        )

    def _parts(self, ids: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.integer], NDArray[np.bool_]]]:
        """Split ids (B, T) before each column with a mark; yield the spans and a mask of the rows that have it."""
        begins = ids == self._mark
        edges = [0, *(1 + np.flatnonzero(begins[:, 1:].any(axis=0))).tolist(), ids.shape[1]]
        for first, last in pairwise(edges):
            yield ids[:, first:last], begins[:, first]

    def sample(
        self,
        cursor: Cursor,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        bias: NDArray[np.float32] | None = None,
        log_probs: bool = False,
    ) -> Drawn:
        """Sample characters; see ``Engine``. The state is reset after each sampled mark."""
        parts: list[Drawn] = []
        while count:
            ahead = min(count, _AHEAD)
            before = cursor.copy()
            drawn = self._engine.sample(cursor, ahead, sampling, bias, log_probs)
            ends = (drawn.ids == self._mark).any(axis=0)
            if ends.any():
                ahead = 1 + int(ends.argmax())  # sample the same characters again, up to the first mark
                cursor.restore(before)
                drawn = self._engine.sample(cursor, ahead, sampling, bias, log_probs)
                ended = drawn.ids[:, -1] == self._mark
                cursor.logits[ended], cursor.state[:, :, ended] = self._beginning
            parts.append(drawn)
            count -= ahead
        if not parts:
            return self._engine.sample(cursor, 0, sampling, bias, log_probs)
        logs = [part.log_probs for part in parts if part.log_probs is not None]
        ids = np.concatenate([part.ids for part in parts], axis=1)
        return Drawn(ids, np.concatenate(logs, axis=1) if logs else None)


def _reset(state: State, begins: NDArray[np.bool_]) -> State:
    """Return a copy of the state with zeros in the rows that begin a text."""
    if not begins.any():
        return state
    state = state.copy()
    state[:, :, begins] = 0
    return state
