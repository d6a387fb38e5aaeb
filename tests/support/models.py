"""Small models and helpers."""

import numpy as np

from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights


def tiny_architecture(cell="gru", num_layers=2, reset_after=True):
    return Architecture(7, cell, embedding_size=4, hidden_size=5, num_layers=num_layers, reset_after=reset_after)


def tiny_weights(architecture, seed=1, spread=1.0):
    """Return random weights large enough that every gate matters, with nonzero biases."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    shapes = architecture.parameter_shapes()
    return {name: rng.normal(0, spread, shape).astype(np.float32) for name, shape in shapes.items()}


def tiny_saved(cell="gru", **facts):
    architecture = tiny_architecture(cell)
    return SavedModel(architecture, Vocabulary("\n abcde"), initial_weights(architecture, 1), facts)


def untrained(vocabulary, hidden_size=8, embedding_size=4, lines=False, **facts):
    """Return an untrained one-layer GRU for a vocabulary."""
    architecture = Architecture(len(vocabulary), embedding_size=embedding_size, hidden_size=hidden_size)
    return SavedModel(architecture, vocabulary, initial_weights(architecture, 1), facts, rules=TextRules(lines=lines))


def bytes_model():
    architecture = Architecture(256, "gru", embedding_size=4, hidden_size=8, num_layers=1)
    return Model(SavedModel(architecture, ByteVocabulary(), initial_weights(architecture, 1)))


def after(prompt, text):
    """Return the text after the prompt with which it must start."""
    assert text.startswith(prompt)
    return text[len(prompt) :]


def quiet(_label):
    """Return a progress callback that does nothing."""
    return lambda _done, _total: None
