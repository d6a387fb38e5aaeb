"""Reference equations of the cells and the whole model in float64, against which fast code is tested.

One step and its unrolling over time are separate functions. Nothing here is fast; everything is meant to
be read beside the papers.

Shapes: x (B, input width), h and c (B, H), gates (B, H) each, W = ``weight_ih``, U = ``weight_hh``.

Source: GRU: Cho et al. 2014, arXiv:1406.1078, in the two forms of cuDNN (``reset_after``) and of the paper;
LSTM: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000. Gate order and the meaning of
z (it keeps the old state) are PyTorch's.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.model.architecture import Architecture

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), written with tanh so that no exponential overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def gru_step(x: Array, h: Array, weights: Mapping[str, Array], reset_after: bool = True) -> Array:
    """Return the next hidden vector (B, H) of a GRU.

    r = sigmoid(W_r x + b_r + U_r h + d_r),  z = sigmoid(W_z x + b_z + U_z h + d_z)
    n = tanh(W_n x + b_n + r * (U_n h + d_n))      with ``reset_after``
    n = tanh(W_n x + b_n + U_n (r * h))            without; then there is no second bias d
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
    """Return the next hidden and cell vectors (B, H) of an LSTM.

    i, f, o = sigmoid(W x + b + U h) each,  g = tanh(W_g x + b_g + U_g h)
    c' = f * c + i * g,  h' = o * tanh(c')
    """
    a_i, a_f, a_g, a_o = np.split(
        x @ weights["weight_ih"].T + weights["bias_ih"] + h @ weights["weight_hh"].T, 4, axis=1
    )
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return sigmoid(a_o) * np.tanh(c), c


def initial_state(architecture: Architecture, batch_size: int) -> Array:
    """Return the state before any character: zeros (L, S, B, H), S = 1 in a GRU and 2 in an LSTM."""
    shape = (architecture.num_layers, architecture.state_parts, batch_size, architecture.hidden_size)
    return np.zeros(shape)


def forward(
    architecture: Architecture,
    weights: Mapping[str, ArrayLike],
    ids: NDArray[np.integer],
    state: Array | None = None,
) -> tuple[Array, Array]:
    """Run the whole model over a batch of texts, character by character.

    Args:
        architecture: The sizes.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        ids: Characters read, (B, T), each in [0, V).
        state: The state before them, (L, S, B, H); zeros if None.

    Returns:
        Logits (B, T, V) of the character after each, and the state after the last.
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
    """Return the mean cost of the target characters, in nats: -log softmax(logits)[target].

    Args:
        logits: (B, T, V).
        targets: The characters that followed, (B, T), each in [0, V).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float(-np.take_along_axis(log_probs, targets[..., None].astype(np.intp), axis=-1).mean())


def _layer(weights: Mapping[str, Array], index: int) -> dict[str, Array]:
    prefix = f"layers.{index}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
