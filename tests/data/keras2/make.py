"""Create the model files in this folder with Keras 2: ``pip install tf-keras``, then ``python make.py FOLDER``.

The models resemble the tutorial's and have random weights. The files are in all formats that Keras 2 writes, and
expected.json contains the logits that Keras 2 computes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

V, E, H = 7, 4, 5
layers = keras.layers
folder = Path(sys.argv[1])
ids = np.random.default_rng(5).integers(0, V, (2, 12))
expected = {"ids": ids.tolist(), "logits": {}}


def save(model, names, inputs=ids):
    """Give a model random weights, save it under these names, and record its logits."""
    draw = np.random.default_rng(1)
    model.set_weights([draw.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    result = model(inputs)
    for name in names:
        path = str(folder / name)
        (model.save if ".weights" not in name and "." in name else model.save_weights)(path)
        expected["logits"][name] = np.asarray(result[0] if isinstance(result, list) else result).tolist()


def sequential(*recurrent, **dense):
    first = layers.Embedding(V, E, batch_input_shape=[2, None])
    return keras.Sequential([first, *recurrent, layers.Dense(V, **dense)])


model = sequential(layers.GRU(H, return_sequences=True, stateful=True, recurrent_initializer="glorot_uniform"))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(ids, ids, batch_size=2, verbose=0)
model.reset_states()
save(model, ["trained_gru.h5"])
model.reset_states()
save(model, ["gru.weights.h5"])
model.reset_states()
save(model, ["ckpt_1"])

lstm = {"units": H, "return_sequences": True}
save(sequential(layers.LSTM(**lstm), layers.Dropout(0.2), layers.LSTM(**lstm)), ["two_lstm.h5", "two_lstm.keras"])

one_hot = keras.Sequential([layers.LSTM(H, input_shape=(None, V)), layers.Dense(V), layers.Activation("softmax")])
save(one_hot, ["one_hot_lstm.h5"], np.eye(V)[ids])

reset_before = sequential(layers.GRU(H, return_sequences=True, reset_after=False))
save(reset_before, ["reset_before.h5"])

inputs = keras.Input((None,))
outputs, state = layers.GRU(H, return_sequences=True, return_state=True)(layers.Embedding(V, E)(inputs))
save(keras.Model(inputs, [layers.TimeDistributed(layers.Dense(V))(outputs), state]), ["graph.h5"])


class Own(keras.Model):
    """The class of the tutorial's later editions."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(V, E)
        self.gru = layers.GRU(H, return_sequences=True, return_state=True)
        self.dense = layers.Dense(V)

    def call(self, ids):
        return self.dense(self.gru(self.embedding(ids))[0])


own = Own()
own(ids)
save(own, ["own.weights.h5"])
tf.train.Checkpoint(model=own).write(str(folder / "own_ckpt"))
(folder / "expected.json").write_text(json.dumps(expected) + "\n")
