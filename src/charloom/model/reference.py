"""Reference implementation of the cells and the model in float64, against which the fast implementations are tested.

It follows the notation of the papers and is not optimized.

Shapes: x (B, input size), h and c (B, H), each gate (B, H), W = ``weight_ih``, U = ``weight_hh``.

Source: GRU: Cho et al. 2014, arXiv:1406.1078, in the form of cuDNN (``reset_after``) and in that of the paper. LSTM:
Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000. The order of the gates and the meaning of z (1
keeps the old state) are PyTorch's.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.model.architecture import Architecture

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) with tanh, which cannot overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def gru_step(x: Array, h: Array, weights: Mapping[str, Array], reset_after: bool = True) -> Array:
    """Compute one step of a GRU; return the next hidden state (B, H).

    r = sigmoid(W_r x + b_r + U_r h + d_r),  z = sigmoid(W_z x + b_z + U_z h + d_z)
    n = tanh(W_n x + b_n + r * (U_n h + d_n))      with ``reset_after``
    n = tanh(W_n x + b_n + U_n (r * h))            otherwise, without recurrent biases d
    h' = (1 - z) * n + z * h
    """
    a_r, a_z, a_n = np.split(x @ weights["weight_ih"].T + weights["bias_ih"], 3, axis=1)
    u_r, u_z, u_n = np.split(weights["weight_hh"], 3)
    d_r, d_z, d_n = np.split(weights["bias_hh"], 3) if reset_after else (0.0, 0.0, 0.0)
    r = sigmoid(a_r + h @ u_r.T + d_r)
    z = sigmoid(a_z + h @ u_z.T + d_z)
    n = np.tanh(a_n + r * (h @ u_n.T + d_n)) if reset_after else np.tanh(a_n + (r * h) @ u_n.T)
    return (1 - z) * n + z * h


def lstm_step(x: Array, h: Array, c: Array, weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """Compute one step of an LSTM; return the next hidden and cell states (B, H).

    i, f, o = sigmoid(W x + b + U h), each with its own rows,  g = tanh(W_g x + b_g + U_g h)
    c' = f * c + i * g,  h' = o * tanh(c')
    """
    a_i, a_f, a_g, a_o = np.split(
        x @ weights["weight_ih"].T + weights["bias_ih"] + h @ weights["weight_hh"].T, 4, axis=1
    )
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return sigmoid(a_o) * np.tanh(c), c


def initial_state(architecture: Architecture, batch_size: int) -> Array:
    """Return the initial state: zeros (L, S, B, H) with S = 1 for a GRU and S = 2 for an LSTM."""
    shape = (architecture.num_layers, architecture.state_parts, batch_size, architecture.hidden_size)
    return np.zeros(shape)


def forward(
    architecture: Architecture,
    weights: Mapping[str, ArrayLike],
    ids: NDArray[np.integer],
    state: Array | None = None,
) -> tuple[Array, Array]:
    """Run the model over a batch of texts.

    Args:
        architecture: The architecture of the model.
        weights: All parameters of ``architecture.parameter_shapes()``.
        ids: Input ids (B, T), each in [0, V).
        state: Initial state (L, S, B, H); zeros if None.

    Returns:
        Logits (B, T, V) for the character after each input, and the state after the last input (L, S, B, H).
    """
    exact = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    layers = [_layer(exact, i) for i in range(architecture.num_layers)]
    state = initial_state(architecture, len(ids)) if state is None else state.astype(np.float64)
    logits = np.empty((*ids.shape, architecture.vocabulary_size))
    for t in range(ids.shape[1]):
        x = exact["embedding.weight"][ids[:, t]]
        for layer, parts in zip(layers, state, strict=True):
            if architecture.cell == "lstm":
                parts[0], parts[1] = lstm_step(x, parts[0], parts[1], layer)
            else:
                parts[0] = gru_step(x, parts[0], layer, architecture.reset_after)
            x = parts[0]
        logits[:, t] = x @ exact["output.weight"].T + exact["output.bias"]
    return logits, state


def loss(logits: Array, targets: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy of the targets in nats, -log softmax(logits)[target].

    Args:
        logits: Logits (B, T, V).
        targets: Target ids (B, T), each in [0, V).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float(-np.take_along_axis(log_probs, targets[..., None].astype(np.intp), axis=-1).mean())


def _layer(weights: Mapping[str, Array], index: int) -> dict[str, Array]:
    prefix = f"layers.{index}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
