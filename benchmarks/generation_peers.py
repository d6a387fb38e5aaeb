"""Peers of `generation.py`: each function returns `generate(count)`, which generates `count` characters per stream.

All peers use models of the same size with random weights and sample from the softmax at temperature 1.
"""

import numpy as np

EMBEDDING = 256


def keras_loop(cell, hidden, vocabulary, streams):
    """The tutorial's loop: call a stateful model for each character, sample, feed the sample back."""
    import keras
    import tensorflow as tf

    layer = keras.layers.GRU if cell == "gru" else keras.layers.LSTM
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(streams, 1), dtype="int32"),
            keras.layers.Embedding(vocabulary, EMBEDDING),
            layer(hidden, return_sequences=True, stateful=True),
            keras.layers.Dense(vocabulary),
        ]
    )

    def generate(count):
        ids = tf.zeros((streams, 1), tf.int32)
        text = []
        for _ in range(count):
            logits = tf.squeeze(model(ids), 1)
            ids = tf.random.categorical(logits, num_samples=1, dtype=tf.int32)
            text.append(ids.numpy())
        return text

    return generate


def torch_eager(cell, hidden, vocabulary, streams):
    import torch

    embedding = torch.nn.Embedding(vocabulary, EMBEDDING)
    layer = (torch.nn.GRU if cell == "gru" else torch.nn.LSTM)(EMBEDDING, hidden, batch_first=True)
    output = torch.nn.Linear(hidden, vocabulary)

    @torch.inference_mode()
    def generate(count):
        ids, state, text = torch.zeros((streams, 1), dtype=torch.int64), None, []
        for _ in range(count):
            out, state = layer(embedding(ids), state)
            ids = torch.multinomial(output(out[:, 0]).softmax(-1), 1)
            text.append(ids)
        return torch.cat(text, 1).numpy()

    return generate


def jax_parameters(cell, hidden, vocabulary, embedding_size):
    """Return random weights of a one-layer model."""
    import jax
    import jax.numpy as jnp

    gates = (3 if cell == "gru" else 4) * hidden
    shapes = {
        "embedding": (vocabulary, embedding_size),
        "input": (embedding_size, gates),
        "state": (hidden, gates),
        "output": (hidden, vocabulary),
    }
    keys = jax.random.split(jax.random.key(0), len(shapes))
    weights = {n: 0.05 * jax.random.normal(k, s) for (n, s), k in zip(shapes.items(), keys, strict=True)}
    return {**weights, "bias": jnp.zeros(gates), "state_bias": jnp.zeros(gates)}


def jax_cell(cell):
    """Return the function for one time step: (weights, input, state) -> state."""
    import jax
    import jax.numpy as jnp

    def gru(weights, x, state):
        (h,) = state
        a = jnp.split(x @ weights["input"] + weights["bias"], 3, axis=-1)
        c = jnp.split(h @ weights["state"] + weights["state_bias"], 3, axis=-1)
        r, z = (jax.nn.sigmoid(a[i] + c[i]) for i in (0, 1))
        n = jnp.tanh(a[2] + r * c[2])
        return ((1 - z) * n + z * h,)

    def lstm(weights, x, state):
        h, c = state
        gates = x @ weights["input"] + weights["bias"] + h @ weights["state"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    return gru if cell == "gru" else lstm


def jax_scan(cell, hidden, vocabulary, streams):
    """All time steps in one compiled loop."""
    import jax
    import jax.numpy as jnp

    weights, run = jax_parameters(cell, hidden, vocabulary, EMBEDDING), jax_cell(cell)

    def step(carry, _):
        ids, state, key = carry
        state = run(weights, weights["embedding"][ids], state)
        key, sample_key = jax.random.split(key)
        ids = jax.random.categorical(sample_key, state[0] @ weights["output"])
        return (ids, state, key), ids

    state = (jnp.zeros((streams, hidden)),) * (1 if cell == "gru" else 2)
    start = (jnp.zeros(streams, jnp.int32), state, jax.random.key(1))
    compiled = {}

    def generate(count):
        if count not in compiled:
            compiled[count] = jax.jit(lambda carry: jax.lax.scan(step, carry, None, count)[1])
        return np.asarray(compiled[count](start))

    return generate


def charloom_engine(engine, precision):
    def make(cell, hidden, vocabulary, streams):
        from charloom.inference.engines.base import Cursor
        from charloom.inference.engines.folding import fold
        from charloom.inference.generation_options import Sampling
        from charloom.model.architecture import Architecture
        from charloom.model.initializers import initial_weights

        architecture = Architecture(vocabulary, cell, EMBEDDING, hidden)
        network = fold(architecture, initial_weights(architecture, 0), precision)
        if engine == "native":
            from charloom.inference.engines.native import NativeEngine as Engine
        else:
            from charloom.inference.engines.numpy import NumpyEngine as Engine
        charloom = Engine(architecture, network)
        logits, state = charloom.forward(np.zeros((streams, 1), np.int32), charloom.initial_state(streams))
        cursor = Cursor(state, logits[:, 0], np.arange(streams, dtype=np.uint64))
        return lambda count: charloom.sample(cursor, count, Sampling(1.0))

    return make


PEERS = {
    "Keras, the tutorial's loop": keras_loop,
    "PyTorch, eager": torch_eager,
    "JAX, one compiled loop": jax_scan,
    "charloom, NumPy, float32": charloom_engine("numpy", "float32"),
    "charloom, NumPy, int8": charloom_engine("numpy", "int8"),
    "charloom, float32": charloom_engine("native", "float32"),
    "charloom, int8": charloom_engine("native", "int8"),
}
