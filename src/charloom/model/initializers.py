"""Initial weights, drawn with NumPy so that they are the same on every device."""

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture

Weights = dict[str, NDArray[np.float32]]


def initial_weights(architecture: Architecture, seed: int) -> Weights:
    """Return freshly drawn weights.

    The embedding is uniform in ±0.05; input and recurrent weights and the output layer are Glorot-uniform,
    with the fan-out of all gates together; biases are 0, but an LSTM's forget gate begins at 1.

    Args:
        architecture: The sizes.
        seed: The same seed gives the same weights on every machine; 0 or more.

    Source: the TensorFlow tutorial "Text generation with an RNN" and Keras' defaults; Glorot & Bengio 2010.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    weights: Weights = {}
    for name, shape in architecture.parameter_shapes().items():
        if len(shape) == 1:
            weights[name] = np.zeros(shape, np.float32)
            continue
        limit = 0.05 if name == "embedding.weight" else np.sqrt(6 / sum(shape))
        weights[name] = rng.uniform(-limit, limit, shape).astype(np.float32)
    if architecture.cell == "lstm":
        width = architecture.hidden_size
        for layer in range(architecture.num_layers):
            weights[f"layers.{layer}.bias_ih"][width : 2 * width] = 1
    return weights
