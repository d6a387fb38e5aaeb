"""The compiled engine; its C++ source is in ``native/engine/``."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.inference.engines.base import Cursor, Drawn, State, Trace, zero_state
from charloom.inference.engines.folding import FoldedLayer, FoldedNetwork, Matrix
from charloom.inference.generation_options import Sampling
from charloom.inference.sampling import inverse_temperature
from charloom.model.architecture import GATES, Architecture
from charloom.model.quantization import Quantized
from charloom.native import _engine, chosen_isa

_TEXTS_PER_THREAD = 8  # with fewer texts per thread, starting a thread takes longer than it saves


class NativeEngine:
    """Runs a model with the compiled engine; see ``Engine`` for the contract.

    Args:
        architecture: The architecture.
        network: The folded model.
        threads: Maximum number of threads; None for the number of cores. Up to 8 texts use one thread.
    """

    name = "native"
    chunk = 256

    def __init__(self, architecture: Architecture, network: FoldedNetwork, threads: int | None = None) -> None:
        self.architecture = architecture
        int8 = isinstance(network.output, Quantized)
        self.precision = "int8" if int8 else "float32"
        self.instructions = chosen_isa()
        self._threads = threads or os.cpu_count() or 1
        self._engine = _engine.Engine(
            network.cell,
            int8,
            np.ascontiguousarray(network.table),
            [_layer(layer) for layer in network.layers],
            _matrix(network.output),
            network.output_bias,
            self.instructions,
        )

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state, (L, S, B, H)."""
        return zero_state(self.architecture, batch_size)

    def forward(self, ids: NDArray[np.integer], state: State, last: bool = False) -> tuple[NDArray[np.float32], State]:
        """Run the model over texts; see ``Engine``."""
        batch, length = ids.shape
        logits = np.empty((batch, 1 if last else length, self.architecture.vocabulary_size), np.float32)
        after = np.array(state, np.float32, order="C")
        self._engine.read(_ids(ids), after, logits, None, None, self._threads_for(batch))
        return logits, after

    def trace(self, ids: NDArray[np.integer], state: State) -> Trace:
        """Run the model over texts and return logits, states and gates; see ``Engine``."""
        a, (batch, length) = self.architecture, ids.shape
        logits = np.empty((batch, length, a.vocabulary_size), np.float32)
        gates = np.empty((batch, length, a.num_layers, GATES[a.cell], a.hidden_size), np.float32)
        states = np.empty((batch, length, a.num_layers, a.state_parts, a.hidden_size), np.float32)
        after = np.array(state, np.float32, order="C")
        # the engine infers from the shape of `logits` whether to return all logits or only the last
        self._engine.read(_ids(ids), after, logits, gates, states, self._threads_for(batch))
        return Trace(logits, states, gates, after)

    def sample(
        self,
        cursor: Cursor,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        bias: NDArray[np.float32] | None = None,
        log_probs: bool = False,
    ) -> Drawn:
        """Sample characters and advance the cursor; see ``Engine``."""
        batch = len(cursor.seeds)
        ids = np.empty((batch, count), np.int32)
        sampled_log_probs = np.empty((batch, count), np.float64) if log_probs else None
        # copies: the engine updates them in place, and the cursor's arrays may be shared with other cursors
        state, logits = np.array(cursor.state, order="C"), np.array(cursor.logits, order="C")
        recent, counts = np.array(cursor.recent, order="C"), np.array(cursor.counts, order="C")
        samplings = [sampling] if isinstance(sampling, Sampling) else sampling
        self._engine.write(
            ids,
            state,
            logits,
            cursor.seeds,
            cursor.positions,
            recent,
            counts if counts.size else None,
            [_numbers(options) for options in samplings],
            None if bias is None else np.ascontiguousarray(np.atleast_2d(bias), np.float32),
            sampled_log_probs,
            self._threads_for(batch),
        )
        cursor.state, cursor.logits, cursor.recent, cursor.counts = state, logits, recent, counts
        cursor.positions = cursor.positions + np.uint64(count)
        return Drawn(ids, sampled_log_probs)

    def _threads_for(self, batch: int) -> int:
        return min(self._threads, -(-batch // _TEXTS_PER_THREAD))


def _numbers(s: Sampling) -> tuple[float, int, float, float, float, int, float, float]:
    """Return the sampling options as the tuple that the compiled engine takes."""
    factor, top_k = inverse_temperature(s.temperature), min(int(s.top_k or 0), 2**31 - 1)
    penalties = s.repetition_penalty, int(s.window), s.presence_penalty, s.frequency_penalty
    return factor, top_k, s.top_p, s.min_p, *penalties


def _ids(ids: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.ascontiguousarray(ids, np.int32)


def _matrix(matrix: Matrix) -> Any:
    if isinstance(matrix, Quantized):
        return np.ascontiguousarray(matrix.values), matrix.scales
    return np.ascontiguousarray(matrix)


def _layer(layer: FoldedLayer) -> dict[str, Any]:
    parts = {"input": layer.input, "state": layer.state, "candidate": layer.candidate}
    biases = {"input_bias": layer.input_bias, "candidate_bias": layer.candidate_bias}
    return {
        **{name: _matrix(value) for name, value in parts.items() if value is not None},
        **{name: np.ascontiguousarray(value) for name, value in biases.items() if value is not None},
    }
