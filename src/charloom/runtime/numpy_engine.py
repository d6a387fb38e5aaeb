"""The engine that needs nothing but NumPy, in float32.

What can be multiplied once is multiplied once: the embedding, the first layer's input weights and its bias
become one table (V, G*H), so that the first layer's input product is a look-up.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture
from charloom.runtime.engine import Cursor, State
from charloom.runtime.options import Sampling
from charloom.runtime.sampling import draw, uniforms

Floats = NDArray[np.float32]


class NumpyEngine:
    """Runs a model with NumPy's float32 products; see ``Engine`` for the contract.

    Args:
        architecture: The sizes.
        weights: Every parameter of ``architecture.parameter_shapes()``, float32.
    """

    name = "numpy"

    def __init__(self, architecture: Architecture, weights: Mapping[str, Floats]) -> None:
        self.architecture = architecture
        self._weights = weights
        self._table: Floats = (
            weights["embedding.weight"] @ weights["layers.0.weight_ih"].T + weights["layers.0.bias_ih"]
        )

    def initial_state(self, batch_size: int) -> State:
        """Return zeros (L, S, B, H)."""
        a = self.architecture
        return np.zeros((a.num_layers, a.state_parts, batch_size, a.hidden_size), np.float32)

    def forward(self, ids: NDArray[np.integer], state: State) -> tuple[Floats, State]:
        """Return logits (B, T, V) and the next state."""
        state = state.copy()
        below: Floats = self._table[ids]  # input gates of the first layer, (B, T, G*H)
        for layer, parts in enumerate(state):
            if layer > 0:
                below = self._times(below, f"layers.{layer}.weight_ih") + self._weights[f"layers.{layer}.bias_ih"]
            below = self._unroll(layer, below, parts)
        return self._times(below, "output.weight") + self._weights["output.bias"], state

    def sample(self, cursor: Cursor, count: int, sampling: Sampling) -> NDArray[np.intp]:
        """Return ids (B, count) and move the cursor on."""
        drawn = np.empty((len(cursor.seeds), count), np.intp)
        numbers = uniforms(cursor.seeds, cursor.position, count)
        for i in range(count):
            drawn[:, i] = draw(cursor.logits, sampling, numbers[:, i])
            logits, cursor.state = self.forward(drawn[:, i : i + 1], cursor.state)
            cursor.logits = logits[:, 0]
        cursor.position += count
        return drawn

    def _times(self, x: Floats, name: str) -> Floats:
        """Return x (B, T, width) times a weight matrix, one product per row so that no row sees another."""
        product: Floats = np.matmul(x, self._weights[name].T)
        return product

    def _unroll(self, layer: int, gates: Floats, parts: Floats) -> Floats:
        """Run one layer over time; its state ``parts`` (S, B, H) is updated in place.

        Returns:
            The hidden vector after each character, (B, T, H).
        """
        step = self._lstm_step if self.architecture.cell == "lstm" else self._gru_step
        hidden = np.empty((*gates.shape[:2], self.architecture.hidden_size), np.float32)
        for t in range(gates.shape[1]):
            step(layer, gates[:, t], parts)
            hidden[:, t] = parts[0]
        return hidden

    def _gru_step(self, layer: int, gates: Floats, parts: Floats) -> None:
        h, width = parts[0], self.architecture.hidden_size
        name = f"layers.{layer}.weight_hh"
        if self.architecture.reset_after:
            product = self._from_state(h, self._weights[name]) + self._weights[f"layers.{layer}.bias_hh"]
            rz = _sigmoid(gates[:, : 2 * width] + product[:, : 2 * width])
            n = np.tanh(gates[:, 2 * width :] + rz[:, :width] * product[:, 2 * width :])
        else:
            rz = _sigmoid(gates[:, : 2 * width] + self._from_state(h, self._weights[name][: 2 * width]))
            n = np.tanh(gates[:, 2 * width :] + self._from_state(rz[:, :width] * h, self._weights[name][2 * width :]))
        parts[0] = n + rz[:, width:] * (h - n)

    def _lstm_step(self, layer: int, gates: Floats, parts: Floats) -> None:
        h, c = parts
        total = gates + self._from_state(h, self._weights[f"layers.{layer}.weight_hh"])
        i, f, g, o = np.split(total, 4, axis=1)
        parts[1] = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        parts[0] = _sigmoid(o) * np.tanh(parts[1])

    @staticmethod
    def _from_state(h: Floats, weight: Floats) -> Floats:
        """Return h (B, H) times ``weight``, one matrix-vector product per row: a row never depends on B."""
        product: Floats = np.matmul(h[:, None, :], weight.T)
        return product[:, 0]


def _sigmoid(x: Floats) -> Floats:
    half = np.float32(0.5)
    result: Floats = half + half * np.tanh(half * x)
    return result
