"""Initial weights, drawn with NumPy so that they are equal on every device."""

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture

Weights = dict[str, NDArray[np.float32]]


def initial_weights(architecture: Architecture, seed: int) -> Weights:
    """Draw initial weights.

    The embedding is uniform in ±0.05. Input, recurrent and output weights are Glorot-uniform, with a fan-out that
    counts the rows of all gates. Biases are 0, except those of an LSTM's forget gate, which are 1.

    Args:
        architecture: The architecture of the model.
        seed: Random seed, 0 or more; equal seeds give equal weights on every machine.

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
