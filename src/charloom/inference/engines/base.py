"""The engine protocol, and the values that engines and their callers exchange.

Every engine has the same signature, so that the readable one judges the fast one. Everything carried from
one character to the next is explicit: a state can be copied, kept and branched. ``engines.factory`` picks an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.inference.generation_options import Sampling
from charloom.model.architecture import Architecture

State = NDArray[np.float32]
"""The recurrent state: (L, S, B, H), S = 1 in a GRU (hidden) and 2 in an LSTM (hidden, cell)."""


@dataclass
class Cursor:
    """The position of B texts that are being generated: everything needed to continue each of them exactly.

    Attributes:
        state: State after all characters so far, (L, S, B, H).
        logits: Logits of the next character, (B, V).
        seeds: Seed of each text, (B,).
        positions: Number of characters sampled for each text, (B,); zeros by default.
        recent: The last ids of each text, oldest first, (B, W), W the largest ``Sampling.window``; -1 before a text.
        counts: How often each character was sampled for each text, (B, V) if any ``Sampling.counts``; else (B, 0).
    """

    state: State
    logits: NDArray[np.float32]
    seeds: NDArray[np.uint64]
    positions: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    recent: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    counts: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))

    def __post_init__(self) -> None:
        texts = len(self.seeds)
        if not self.positions.size:
            self.positions = np.zeros(texts, np.uint64)
        if not self.recent.size:
            self.recent = np.empty((texts, 0), np.int32)
        if not self.counts.size:
            self.counts = np.empty((texts, 0), np.int32)

    def rows(self, kept: list[int]) -> "Cursor":
        """Return a cursor for a subset of the texts, given by row numbers."""
        return Cursor(
            np.ascontiguousarray(self.state[:, :, kept]),
            self.logits[kept],
            self.seeds[kept],
            self.positions[kept],
            self.recent[kept],
            self.counts[kept],
        )

    def copy(self) -> "Cursor":
        """Return a cursor that shares nothing with this one."""
        return self.rows(list(range(len(self.seeds))))

    def restore(self, saved: "Cursor") -> None:
        """Rewind to the position of ``saved``, a copy that was made earlier; its arrays are shared from now on."""
        self.state, self.logits, self.seeds = saved.state, saved.logits, saved.seeds
        self.positions, self.recent, self.counts = saved.positions, saved.recent, saved.counts

    @classmethod
    def joined(cls, cursors: Sequence["Cursor"]) -> "Cursor":
        """Concatenate the texts of several cursors; shorter ``recent`` are padded with -1, missing counts with 0."""
        window = max(c.recent.shape[1] for c in cursors)
        known = max(c.counts.shape[1] for c in cursors)
        recent = np.full((sum(len(c.seeds) for c in cursors), window), -1, np.int32)
        counts = np.zeros((len(recent), known), np.int32)
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
    """Return the initial state: zeros (L, S, B, H)."""
    shape = (architecture.num_layers, architecture.state_parts, batch_size, architecture.hidden_size)
    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class Drawn:
    """Sampled characters.

    Attributes:
        ids: (B, T).
        log_probs: Natural logarithm of their probabilities under the model, before temperature and filters, float64
            (B, T); None if not requested.
    """

    ids: NDArray[np.int32]
    log_probs: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Trace:
    """Everything that was computed at each character.

    Attributes:
        logits: Logits of the next character, (B, T, V).
        states: States after each character, (B, T, L, S, H).
        gates: Gates at each character, (B, T, L, G, H): r, z, n of a GRU; i, f, g, o of an LSTM.
        state: State after the last character, (L, S, B, H).
    """

    logits: NDArray[np.float32]
    states: NDArray[np.float32]
    gates: NDArray[np.float32]
    state: State


class Engine(Protocol):
    """Runs one model. Each row of a batch is computed exactly as it would be alone.

    Attributes:
        architecture: The architecture of the model.
        name: "native" or "numpy".
        precision: "float32" or "int8".
        instructions: The instruction set that it uses, as ``charloom doctor`` reports it.
        chunk: Number of characters per call of ``sample`` that takes a fraction of a second.
    """

    architecture: Architecture
    name: str
    precision: str
    instructions: str
    chunk: int

    def initial_state(self, batch_size: int) -> State:
        """Return the initial state, zeros (L, S, B, H)."""
        ...

    def forward(self, ids: NDArray[np.integer], state: State, last: bool = False) -> tuple[NDArray[np.float32], State]:
        """Run the model over texts.

        Args:
            ids: (B, T), each in [0, V), T >= 1.
            state: State before the first character, (L, S, B, H); not modified.
            last: Whether to return only the logits after the last character.

        Returns:
            Logits (B, T, V) of the character after each, or (B, 1, V), and the state after the last.
        """
        ...

    def trace(self, ids: NDArray[np.integer], state: State) -> Trace:
        """Run the model over texts (B, T) and return everything that was computed; ``state`` is not modified."""
        ...

    def sample(
        self,
        cursor: Cursor,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        bias: NDArray[np.float32] | None = None,
        log_probs: bool = False,
    ) -> Drawn:
        """Sample ``count`` characters for each text, feed each back to the model, and advance the cursor.

        Args:
            cursor: Position of the texts; its ``recent`` has as many columns as the largest ``Sampling.window``.
            count: 0 or more.
            sampling: Sampling options for all texts or for each; ``allow`` and ``forbid`` are ignored.
            bias: Added to the logits, (V,), or (B, V) for each text; minus infinity excludes a character.
            log_probs: Whether to return log-probabilities.
        """
        ...
