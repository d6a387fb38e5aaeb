"""Vocabulary extension: train an existing model on a text with characters that are not in its vocabulary."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.data.corpus import Corpus
from charloom.data.vocabulary.characters import Vocabulary, preview
from charloom.errors import SettingsError
from charloom.model.architecture import Architecture
from charloom.model.initializers import Weights, initial_weights
from charloom.planning.recipes import Recipe
from charloom.planning.settings import Notices, Settings
from charloom.training.checkpoint import SavedTraining

_UNITS = {"char": "characters", "byte": "bytes"}

MODEL_SIZES = ("cell", "num_layers", "hidden_size", "embedding_size")
"""Settings that an initial model determines."""


def extend_vocabulary(known: Vocabulary, corpus: Corpus, notices: Notices) -> Vocabulary:
    """Append the new characters of a corpus to a model's vocabulary.

    Args:
        known: Vocabulary of the model.
        corpus: Text to train on.
        notices: Collects a notice that lists the new characters, if there are any.

    Raises:
        SettingsError: If the model reads characters and the corpus is read as bytes, or the reverse.
    """
    if known.unit != corpus.format.unit:
        raise SettingsError(
            f"The initial model reads {_UNITS[known.unit]}, but the text is read as {_UNITS[corpus.format.unit]}. Pass "
            f"--unit {known.unit}, or train a new model.",
            code="unit_mismatch",
            model_unit=known.unit,
            text_unit=corpus.format.unit,
        )
    new = "".join(c for c in corpus.vocabulary.characters if c not in known.characters)
    if not new:
        return known
    count = f"{len(new)} new {'character' if len(new) == 1 else 'characters'}"
    notices.add(
        f"Extending the vocabulary by {count} of {corpus.name}: {preview(new)}",
        code="vocabulary_extended",
        corpus=corpus.name,
        characters=new,
    )
    return Vocabulary(known.characters + new)


def extend_weights(weights: Mapping[str, NDArray[np.float32]], architecture: Architecture, seed: int) -> Weights:
    """Append rows for new characters to a model's embedding and output weights.

    New rows are initialized as in a new model. The output bias of a new character is the minimum of the existing
    biases, because new characters are assumed to be rare.

    Args:
        weights: Weights of the model, with at most V rows in embedding and output.
        architecture: Architecture with the extended vocabulary of V characters.
        seed: Random seed of the new rows.
    """
    drawn = initial_weights(architecture, seed)
    drawn["output.bias"][:] = weights["output.bias"].min()
    return {name: extend_rows(weights[name], drawn[name]) for name in drawn}


def extend_optimizer_state(training: SavedTraining, architecture: Architecture) -> SavedTraining:
    """Append rows of zeros for new characters to the Adam moments of a checkpoint.

    Args:
        training: Training state of a checkpoint, with at most V rows in the moments of embedding and output.
        architecture: Architecture with the extended vocabulary of V characters.
    """
    shapes = architecture.parameter_shapes()
    tensors = dict(training.tensors)
    for key, value in training.tensors.items():
        _, _, name = key.removeprefix("optimizer.").partition(".")
        if key.startswith("optimizer.exp_avg") and len(value) < shapes[name][0]:
            tensors[key] = extend_rows(value, np.zeros(shapes[name], value.dtype))
    return SavedTraining(training.facts, tensors)


def extend_rows(rows: NDArray[Any], longer: NDArray[Any]) -> NDArray[Any]:
    """Return ``rows`` followed by the rows of ``longer`` beyond their number."""
    return np.concatenate([rows, longer[len(rows) :]]) if len(rows) < len(longer) else rows


def settings_with_model_sizes(architecture: Architecture, recipe: Recipe) -> Settings:
    """Return a recipe's settings with the sizes of an initial model.

    Raises:
        SettingsError: If the user chose different sizes, or the model cannot be trained.
    """
    if not architecture.reset_after:
        raise SettingsError(
            "charloom cannot train this model: its GRU applies the reset gate before the matrix product "
            "(reset_after=False, as in early Keras models). It can only generate and score text.",
            code="untrainable_model",
            reset_after=False,
        )
    sizes = {name: getattr(architecture, name) for name in MODEL_SIZES}
    for name in MODEL_SIZES:
        requested = getattr(recipe.settings, name)
        if name in recipe.fixed and requested != sizes[name]:
            raise SettingsError(
                f"{name} is {sizes[name]} in the initial model, got {requested}. Leave out {name} to use the model's "
                "value.",
                code="model_size_mismatch",
                name=name,
                value=requested,
                model_value=sizes[name],
            )
    return replace(recipe.settings, **sizes)
