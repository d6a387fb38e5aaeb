"""The tutorial's code in Keras with TensorFlow: one epoch of all 172 batches, with the state carried between them.

    python keras_tutorial.py gru|lstm TEXT FOLDER    train; write tutorial.keras, windows and their logits
    python keras_tutorial.py back FOLDER             open FOLDER/back.keras, evaluate the same windows, continue
    training

Losses are written to FOLDER/losses.json.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

V, WINDOW, BATCH = 65, 100, 64


def model_of(cell, batch_size, stateful):
    layer = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    recurrent = {"return_sequences": True, "stateful": stateful, "recurrent_initializer": "glorot_uniform"}
    shape = keras.Input(batch_shape=(batch_size, None))
    return keras.Sequential([shape, keras.layers.Embedding(V, 256), layer(1024, **recurrent), keras.layers.Dense(V)])


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def evaluate(model, windows):
    return model.evaluate(windows[:, :-1], windows[:, 1:], batch_size=BATCH, verbose=0)


def train(cell, text, folder):
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = np.array([number[character] for character in text], np.int32)
    chunks = tf.data.Dataset.from_tensor_slices(ids).batch(WINDOW + 1, drop_remainder=True)
    pairs = chunks.map(lambda chunk: (chunk[:-1], chunk[1:]))
    model = model_of(cell, BATCH, stateful=True)
    model.compile("adam", loss())
    history = model.fit(pairs.shuffle(10_000, seed=1).batch(BATCH, drop_remainder=True), epochs=1, verbose=0)
    model.save(folder / "tutorial.keras")
    stateless = model_of(cell, None, stateful=False)  # the tutorial rebuilds the model for generation
    stateless.set_weights(model.get_weights())
    stateless.compile("adam", loss())
    windows = ids[: 2 * BATCH * (WINDOW + 1)].reshape(-1, WINDOW + 1)
    np.savez(folder / "computed.npz", windows=windows, logits=np.asarray(stateless(windows[:2, :-1])))
    return {"trained": history.history["loss"][0], "judged": evaluate(stateless, windows)}


def continue_training(folder):
    model = keras.models.load_model(folder / "back.keras")
    windows = np.load(folder / "computed.npz")["windows"]
    before = evaluate(model, windows)
    model.fit(windows[:, :-1], windows[:, 1:], batch_size=BATCH, epochs=3, verbose=0)
    return {"judged": before, "after": evaluate(model, windows)}


if __name__ == "__main__":
    where = Path(sys.argv[-1])
    losses = (
        continue_training(where)
        if sys.argv[1] == "back"
        else train(sys.argv[1], Path(sys.argv[2]).read_text("utf-8"), where)
    )
    (where / "losses.json").write_text(json.dumps(losses))
