"""The ways of generating that `generation.py` compares: each makes a `write(count)` that draws so many characters.

Every peer has a model of the same sizes with random weights, warmed up, and draws at temperature 1 from the softmax.
"""

import numpy as np

EMBEDDING = 256


def keras_loop(cell, hidden, vocabulary, streams):
    """The tutorial's loop: one call of a stateful model for each character, one draw, fed back."""
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

    def write(count):
        ids = tf.zeros((streams, 1), tf.int32)
        text = []
        for _ in range(count):
            logits = tf.squeeze(model(ids), 1)
            ids = tf.random.categorical(logits, num_samples=1, dtype=tf.int32)
            text.append(ids.numpy())
        return text

    return write


def torch_eager(cell, hidden, vocabulary, streams):
    import torch

    embedding = torch.nn.Embedding(vocabulary, EMBEDDING)
    layer = (torch.nn.GRU if cell == "gru" else torch.nn.LSTM)(EMBEDDING, hidden, batch_first=True)
    output = torch.nn.Linear(hidden, vocabulary)

    @torch.inference_mode()
    def write(count):
        ids, state, text = torch.zeros((streams, 1), dtype=torch.int64), None, []
        for _ in range(count):
            out, state = layer(embedding(ids), state)
            ids = torch.multinomial(output(out[:, 0]).softmax(-1), 1)
            text.append(ids)
        return torch.cat(text, 1).numpy()

    return write


def jax_scan(cell, hidden, vocabulary, streams):
    """All steps in one compiled loop."""
    import jax
    import jax.numpy as jnp

    gates = 3 if cell == "gru" else 4
    shapes = ((vocabulary, EMBEDDING), (EMBEDDING, gates * hidden), (hidden, gates * hidden), (hidden, vocabulary))
    keys = jax.random.split(jax.random.key(0), len(shapes))
    embedding, w, u, out = (0.05 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    b, d = jnp.zeros(gates * hidden), jnp.zeros(gates * hidden)

    def gru(x, state):
        (h,) = state
        a, c = x @ w + b, h @ u + d
        r, z = (
            jax.nn.sigmoid(a[:, i * hidden : (i + 1) * hidden] + c[:, i * hidden : (i + 1) * hidden]) for i in (0, 1)
        )
        n = jnp.tanh(a[:, 2 * hidden :] + r * c[:, 2 * hidden :])
        return ((1 - z) * n + z * h,)

    def lstm(x, state):
        h, c = state
        i, f, g, o = jnp.split(x @ w + b + h @ u, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def step(carried, _):
        ids, state, key = carried
        state = (gru if cell == "gru" else lstm)(embedding[ids], state)
        key, draw = jax.random.split(key)
        ids = jax.random.categorical(draw, state[0] @ out)
        return (ids, state, key), ids

    state = (jnp.zeros((streams, hidden)),) * (1 if cell == "gru" else 2)
    begin = (jnp.zeros(streams, jnp.int32), state, jax.random.key(1))
    compiled = {}

    def write(count):
        if count not in compiled:
            compiled[count] = jax.jit(lambda carried: jax.lax.scan(step, carried, None, count)[1])
        return np.asarray(compiled[count](begin))

    return write


def charloom_engine(engine, precision):
    def make(cell, hidden, vocabulary, streams):
        from charloom.model.architecture import Architecture
        from charloom.model.initializers import initial_weights
        from charloom.runtime.engine import Cursor
        from charloom.runtime.folding import fold
        from charloom.runtime.options import Sampling

        architecture = Architecture(vocabulary, cell, EMBEDDING, hidden)
        network = fold(architecture, initial_weights(architecture, 0), precision)
        if engine == "native":
            from charloom.runtime.native_engine import NativeEngine as Engine
        else:
            from charloom.runtime.numpy_engine import NumpyEngine as Engine
        run = Engine(architecture, network)
        logits, state = run.forward(np.zeros((streams, 1), np.int32), run.initial_state(streams))
        cursor = Cursor(state, logits[:, 0], np.arange(streams, dtype=np.uint64))
        return lambda count: run.sample(cursor, count, Sampling(1.0))

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
