"""The NumPy engine: the reference of the native engine, and the fallback if nothing was compiled.

In int8, both engines compute the same bits. In float32, they differ by rounding.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from charloom.inference.engines import int8_reference
from charloom.inference.engines.base import Cursor, Drawn, State, Trace, zero_state
from charloom.inference.engines.folding import FoldedLayer, FoldedNetwork, Matrix
from charloom.inference.generation_options import Sampling
from charloom.inference.log_probs import log_probs_of
from charloom.inference.sampling import draw, random_words
from charloom.model.architecture import GATES, Architecture
from charloom.model.quantization import Quantized

Floats = NDArray[np.float32]
Product = Callable[[Floats], Floats]


class NumpyEngine:
    """Runs a model with NumPy; see ``Engine`` for the contract.

    Args:
        architecture: The architecture.
        network: The folded model.
    """

    name = "numpy"
    instructions = "NumPy"
    chunk = 16

    def __init__(self, architecture: Architecture, network: FoldedNetwork) -> None:
        self.architecture = architecture
        int8 = isinstance(network.output, Quantized)
        self.precision = "int8" if int8 else "float32"
        self._sigmoid = int8_reference.sigmoid if int8 else _sigmoid
        self._tanh = int8_reference.tanh if int8 else np.tanh
        self._table = network.table
        self._layers = [_Layer(layer) for layer in network.layers]
        self._predict = _affine(network.output, network.output_bias)

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state, (L, S, B, H)."""
        return zero_state(self.architecture, batch_size)

    def forward(self, ids: NDArray[np.integer], state: State, last: bool = False) -> tuple[Floats, State]:
        """Run the model over texts; see ``Engine``."""
        hidden, state = self._run(ids, state, None)
        return self._predict(hidden[:, -1:] if last else hidden), state

    def trace(self, ids: NDArray[np.integer], state: State) -> Trace:
        """Run the model over texts and return logits, states and gates; see ``Engine``."""
        a, (batch, length) = self.architecture, ids.shape
        gates = np.empty((batch, length, a.num_layers, GATES[a.cell], a.hidden_size), np.float32)
        states = np.empty((batch, length, a.num_layers, a.state_parts, a.hidden_size), np.float32)
        hidden, state = self._run(ids, state, (states, gates))
        return Trace(self._predict(hidden), states, gates, state)

    def sample(
        self,
        cursor: Cursor,
        count: int,
        sampling: Sampling | Sequence[Sampling],
        bias: NDArray[np.float32] | None = None,
        log_probs: bool = False,
    ) -> Drawn:
        """Sample characters and advance the cursor; see ``Engine``."""
        ids = np.empty((len(cursor.seeds), count), np.int32)
        sampled_log_probs = np.empty(ids.shape, np.float64) if log_probs else None
        words = random_words(cursor.seeds, cursor.positions, count)
        for i in range(count):
            ids[:, i] = _draw(cursor, sampling, words[:, i], bias)
            if sampled_log_probs is not None:
                sampled_log_probs[:, i] = log_probs_of(cursor.logits, ids[:, i])
            logits, cursor.state = self.forward(ids[:, i : i + 1], cursor.state)
            cursor.logits = logits[:, 0]
            if cursor.recent.shape[1]:
                cursor.recent = np.concatenate([cursor.recent[:, 1:], ids[:, i : i + 1]], axis=1)
            if cursor.counts.shape[1]:
                cursor.counts = cursor.counts.copy()
                cursor.counts[np.arange(len(ids)), ids[:, i]] += 1
        cursor.positions = cursor.positions + np.uint64(count)
        return Drawn(ids, sampled_log_probs)

    def _run(self, ids: NDArray[np.integer], state: State, trace: tuple[Floats, Floats] | None) -> tuple[Floats, State]:
        """Run all layers over time.

        Args:
            ids: Ids of the texts, (B, T).
            state: State before the texts, (L, S, B, H); not modified.
            trace: Arrays for states (B, T, L, S, H) and gates (B, T, L, G, H) to fill, or None.

        Returns:
            Hidden states of the highest layer, (B, T, H), and the state after the last character.
        """
        state = state.copy()
        activations: Floats = self._table[ids]  # input projections of the first layer, (B, T, G*H)
        for index, layer in enumerate(self._layers):
            if layer.input is not None:
                activations = layer.input(activations)
            activations = self._unroll(index, activations, state[index], trace)
        return activations, state

    def _unroll(self, index: int, inputs: Floats, state: Floats, trace: tuple[Floats, Floats] | None) -> Floats:
        """Run one layer over input projections (B, T, G*H); update its state (S, B, H) in place."""
        step = self._lstm_step if self.architecture.cell == "lstm" else self._gru_step
        hidden = np.empty((*inputs.shape[:2], self.architecture.hidden_size), np.float32)
        for t in range(inputs.shape[1]):
            gates = step(index, inputs[:, t], state)
            hidden[:, t] = state[0]
            if trace is not None:
                trace[0][:, t, index] = state.swapaxes(0, 1)
                trace[1][:, t, index] = np.stack(gates, axis=1)
        return hidden

    def _gru_step(self, index: int, inputs: Floats, state: Floats) -> tuple[Floats, ...]:
        h, width, layer = state[0], self.architecture.hidden_size, self._layers[index]
        product = layer.state(h)
        rz = self._sigmoid(inputs[:, : 2 * width] + product[:, : 2 * width])
        r, z = rz[:, :width], rz[:, width:]
        if layer.candidate is None:
            n = self._tanh(inputs[:, 2 * width :] + r * (product[:, 2 * width :] + layer.candidate_bias))
        else:
            n = self._tanh(inputs[:, 2 * width :] + layer.candidate(r * h))
        state[0] = n + z * (h - n)
        return r, z, n

    def _lstm_step(self, index: int, inputs: Floats, state: Floats) -> tuple[Floats, ...]:
        h, c = state
        i, f, g, o = np.split(inputs + self._layers[index].state(h), 4, axis=1)
        i, f, g, o = self._sigmoid(i), self._sigmoid(f), self._tanh(g), self._sigmoid(o)
        state[1] = f * c + i * g
        state[0] = o * self._tanh(state[1])
        return i, f, g, o


class _Layer:
    """The matrix products of a layer as functions.

    Args:
        folded: The folded layer.
    """

    def __init__(self, folded: FoldedLayer) -> None:
        bias = folded.input_bias
        self.input = None if folded.input is None or bias is None else _affine(folded.input, bias)
        self.state = _product(folded.state)
        self.candidate = None if folded.candidate is None else _product(folded.candidate)
        self.candidate_bias = np.zeros(1, np.float32) if folded.candidate_bias is None else folded.candidate_bias


def _affine(matrix: Matrix, bias: Floats) -> Product:
    product = _product(matrix)
    return lambda x: product(x) + bias


def _product(matrix: Matrix) -> Product:
    if isinstance(matrix, Quantized):
        return int8_reference.Int8Product(matrix)
    transposed = np.ascontiguousarray(matrix).T

    def product(x: Floats) -> Floats:
        """Multiply x, (B, K) or (B, T, K), by the matrix."""
        # one BLAS call per text: the rounding of a text must not depend on the size of the batch
        result: Floats = np.matmul(x, transposed) if x.ndim == 3 else np.matmul(x[:, None], transposed)[:, 0]
        return result

    return product


def _draw(
    cursor: Cursor,
    sampling: Sampling | Sequence[Sampling],
    words: NDArray[np.uint64],
    bias: NDArray[np.float32] | None,
) -> NDArray[np.int32]:
    """Sample the next id of each text, (B,)."""
    if isinstance(sampling, Sampling):
        return draw(cursor.logits, sampling, words, cursor.recent, bias, cursor.counts)
    biases = None if bias is None else np.broadcast_to(bias, cursor.logits.shape)
    rows = [slice(row, row + 1) for row in range(len(words))]
    drawn = (
        draw(cursor.logits[r], s, words[r], cursor.recent[r], None if biases is None else biases[r], cursor.counts[r])
        for r, s in zip(rows, sampling, strict=True)
    )
    return np.concatenate(list(drawn))


def _sigmoid(x: Floats) -> Floats:
    half = np.float32(0.5)
    result: Floats = half + half * np.tanh(half * x)
    return result
