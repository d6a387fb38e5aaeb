"""The engine protocol and the data that engines and their callers exchange.

All engines implement the same protocol, so that the NumPy engine can serve as the reference of the native one. The
caller holds everything that is carried from one character to the next, so it can copy, store and branch a generation.
``engines.factory`` chooses an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.inference.generation_options import Sampling
from charloom.model.architecture import Architecture

State = NDArray[np.float32]
"""Recurrent state, (L, S, B, H): S = 1 for a GRU (hidden state), S = 2 for an LSTM (hidden state, cell state)."""


@dataclass
class Cursor:
    """The position of B texts during generation: everything needed to continue each of them exactly.

    Attributes:
        state: State after all characters so far, (L, S, B, H).
        logits: Logits of the next character, (B, V).
        seeds: Seed of each text, (B,).
        positions: Number of characters sampled for each text, (B,); zeros by default.
        recent: The last ids of each text, oldest first, (B, W), where W is the largest ``Sampling.window``; -1 before
            the beginning of a text.
        counts: Number of times each character was sampled in each text, (B, V); (B, 0) if no ``Sampling.counts``.
    """

    state: State
    logits: NDArray[np.float32]
    seeds: NDArray[np.uint64]
    positions: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    recent: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    counts: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))

    def __post_init__(self) -> None:
        batch = len(self.seeds)
        if not self.positions.size:
            self.positions = np.zeros(batch, np.uint64)
        if not self.recent.size:
            self.recent = np.empty((batch, 0), np.int32)
        if not self.counts.size:
            self.counts = np.empty((batch, 0), np.int32)

    def rows(self, kept: list[int]) -> "Cursor":
        """Return a cursor of the texts in the rows ``kept``; the arrays are copies."""
        return Cursor(
            np.ascontiguousarray(self.state[:, :, kept]),
            self.logits[kept],
            self.seeds[kept],
            self.positions[kept],
            self.recent[kept],
            self.counts[kept],
        )

    def copy(self) -> "Cursor":
        """Return a deep copy."""
        return self.rows(list(range(len(self.seeds))))

    def restore(self, saved: "Cursor") -> None:
        """Rewind to ``saved``, an earlier copy; both cursors share arrays afterwards."""
        self.state, self.logits, self.seeds = saved.state, saved.logits, saved.seeds
        self.positions, self.recent, self.counts = saved.positions, saved.recent, saved.counts

    @classmethod
    def joined(cls, cursors: Sequence["Cursor"]) -> "Cursor":
        """Concatenate the texts of several cursors; pad shorter ``recent`` with -1 and missing ``counts`` with 0."""
        window = max(c.recent.shape[1] for c in cursors)
        vocabulary_size = max(c.counts.shape[1] for c in cursors)
        recent = np.full((sum(len(c.seeds) for c in cursors), window), -1, np.int32)
        counts = np.zeros((len(recent), vocabulary_size), np.int32)
        row = 0
        for c in cursors:
            rows = slice(row, row + len(c.seeds))
            recent[rows, window - c.recent.shape[1] :] = c.recent
            counts[rows, : c.counts.shape[1]] = c.counts
            row = rows.stop
        return cls(
            np.concatenate([c.state for c in cursors], axis=2),
            np.concatenate([c.logits for c in cursors]),
            np.concatenate([c.seeds for c in cursors]),
            np.concatenate([c.positions for c in cursors]),
            recent,
            counts,
        )


def zero_state(architecture: Architecture, batch_size: int) -> State:
    """Return the zero state, (L, S, B, H)."""
    shape = (architecture.num_layers, architecture.state_parts, batch_size, architecture.hidden_size)
    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class Drawn:
    """Sampled characters.

    Attributes:
        ids: Ids of the characters, (B, T).
        log_probs: Log-probabilities (natural logarithm) of the characters under the model, before temperature and
            filters, float64 (B, T); None if not requested.
    """

    ids: NDArray[np.int32]
    log_probs: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Trace:
    """Logits, states and gates at each character of B texts.

    Attributes:
        logits: Logits of the next character, (B, T, V).
        states: States after each character, (B, T, L, S, H).
        gates: Gates at each character, (B, T, L, G, H), in the order r, z, n for a GRU and i, f, g, o for an LSTM.
        state: State after the last character, (L, S, B, H).
    """

    logits: NDArray[np.float32]
    states: NDArray[np.float32]
    gates: NDArray[np.float32]
    state: State


class Engine(Protocol):
    """Runs one model. Each row of a batch has exactly the result that it has in a batch of one.

    Attributes:
        architecture: The architecture of the model.
        name: "native" or "numpy".
        precision: "float32" or "int8".
        instructions: The instruction set that the engine uses, as shown by ``charloom doctor``.
        chunk: Recommended number of characters per call of ``sample``, which then takes a fraction of a second.
    """

    architecture: Architecture
    name: str
    precision: str
    instructions: str
    chunk: int

    def initial_state(self, batch_size: int) -> State:
        """Return the state before a text, (L, S, B, H): zeros, except for a line model (see ``RecordEngine``)."""
        ...

    def forward(self, ids: NDArray[np.integer], state: State, last: bool = False) -> tuple[NDArray[np.float32], State]:
        """Run the model over B texts.

        Args:
            ids: Ids of the texts, (B, T), each in [0, V), T >= 1.
            state: State before the first character, (L, S, B, H); not modified.
            last: Whether to return only the logits after the last character.

        Returns:
            Logits after each character, (B, T, V), or after the last one, (B, 1, V); and the state after the last
            character.
        """
        ...

    def trace(self, ids: NDArray[np.integer], state: State) -> Trace:
        """Run the model over texts (B, T) and return logits, states and gates; ``state`` is not modified."""
        ...

    def sample(
        self,
        cursor: Cursor,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        bias: NDArray[np.float32] | None = None,
        log_probs: bool = False,
    ) -> Drawn:
        """Sample ``count`` characters for each text, feed them back to the model, and advance the cursor.

        Args:
            cursor: Position of the texts; ``recent`` has as many columns as the largest ``Sampling.window``.
            count: Number of characters, 0 or more.
            sampling: Sampling options for all texts, or one for each; ``allow`` and ``forbid`` are ignored.
            bias: Bias on the logits, (V,) for all texts or (B, V); minus infinity excludes a character.
            log_probs: Whether to return log-probabilities.
        """
        ...
