"""Training with the tutorial recipes compared with Keras: the same layers, loss, Adam and batches.

A tiny model with every peculiarity: shuffled windows, state carried into unrelated windows, Adam's epsilon. The initial
weights are charloom's; a separate test compares their distribution with Keras'.
"""

import itertools
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch

from charloom.model.architecture import Architecture
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch.backend import train_steps
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised within Keras
both = pytest.mark.parametrize("cell", ["gru", "lstm"])
STEPS, VOCABULARY = 30, 11


def tutorial_settings(cell, **values):
    values = {"hidden_size": 24, "embedding_size": 8, "batch_size": 4, "seq_length": 10, "learning_rate": 0.01} | values
    return RECIPES[f"tutorial-{cell}"].with_values(values).settings


def keras_model(settings, weights=None):
    """Return the tutorial's model from Keras' layers: ids and state in, logits and state out."""
    layer = keras.layers.GRU if settings.cell == "gru" else keras.layers.LSTM
    ids = keras.Input(batch_shape=(settings.batch_size, settings.seq_length), dtype="int32")
    state = [keras.Input((settings.hidden_size,)) for _ in range(1 if settings.cell == "gru" else 2)]
    x = keras.layers.Embedding(VOCABULARY, settings.embedding_size)(ids)
    # Keras' PyTorch backend cannot train stateful=True, so the state is an explicit input and output
    recurrent = layer(
        settings.hidden_size, return_sequences=True, return_state=True, recurrent_initializer="glorot_uniform"
    )
    x, *after = recurrent(x, initial_state=state)
    model = keras.Model([ids, *state], [keras.layers.Dense(VOCABULARY)(x), *after])
    if weights is not None:
        model.set_weights(keras_weights(settings.cell, weights))
    return model


def train_keras(model, settings, batches, steps):
    """Train for some steps and return the loss of each."""
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    zeros = [torch.zeros(settings.batch_size, settings.hidden_size)] * (len(model.inputs) - 1)
    state, losses = zeros, []
    for batch in itertools.islice(batches, steps):
        inputs, targets = (torch.from_numpy(ids.astype(np.int64)) for ids in (batch.inputs, batch.targets))
        logits, *state = model([inputs, *(zeros if batch.resets_state else state)])
        loss = loss_function(targets, logits)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in model.trainable_weights], model.trainable_weights)
        state = [part.detach() for part in state]
        losses.append(loss.item())
    return losses


def keras_weights(cell, weights):
    """Return charloom's weights in Keras' layout: transposed, a GRU's gates in the order z, r, n."""

    def in_order(array):
        if cell == "lstm":
            return array
        r, z, n = np.split(array, 3)
        return np.concatenate([z, r, n])

    ih, hh = (in_order(weights[f"layers.0.weight_{kind}"]).T for kind in ("ih", "hh"))
    if cell == "gru":
        bias = np.stack([in_order(weights[f"layers.0.bias_{kind}"]) for kind in ("ih", "hh")])
    else:
        bias = weights["layers.0.bias_ih"]
    return [weights["embedding.weight"], ih, hh, bias, weights["output.weight"].T, weights["output.bias"]]


@both
@pytest.mark.parametrize("reset_state", ["never", "epoch", "window"])
def test_losses_equal_keras_at_every_step(cell, reset_state):
    settings = tutorial_settings(cell, reset_state=reset_state)
    ids = (np.random.default_rng(5).integers(1, 3, 600).cumsum() % VOCABULARY).astype(np.uint8)
    architecture = Architecture(VOCABULARY, cell, settings.embedding_size, settings.hidden_size, 1)
    weights = initial_weights(architecture, 3)
    device = choose_device("cpu", "float32")
    steps = train_steps(CharNetwork(architecture, weights), make_batches(ids, settings), settings, STEPS, device)
    ours = [record.loss for record in steps]

    theirs = train_keras(keras_model(settings, weights), settings, make_batches(ids, settings), STEPS)
    assert ours[-1] < ours[0] - 0.05  # the model has learned something
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@both
def test_initial_weights_have_keras_distribution(cell):
    """Uniform with the same bounds: the extremes of n draws are within about 1/n of them. Biases are equal."""
    settings = tutorial_settings(cell, hidden_size=96, embedding_size=64)
    architecture = Architecture(VOCABULARY, cell, settings.embedding_size, settings.hidden_size, 1)
    ours = keras_weights(cell, initial_weights(architecture, 3))
    for mine, theirs in zip(ours, keras_model(settings).get_weights(), strict=True):
        assert mine.shape == theirs.shape
        if mine.ndim == 1 or mine.shape[0] == 2:
            np.testing.assert_array_equal(mine, theirs)
        else:
            np.testing.assert_allclose([mine.min(), mine.max()], [theirs.min(), theirs.max()], rtol=20 / mine.size)
            assert mine.std() == pytest.approx(theirs.std(), rel=4 / np.sqrt(mine.size))
