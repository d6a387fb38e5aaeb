"""Taking up a model that exists: a text with characters that it does not know makes its tables longer."""

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
from charloom.planning.settings import Settings

SIZES = ("cell", "num_layers", "hidden_size", "embedding_size")
"""Settings that a model which is taken up decides."""


def grown_vocabulary(known: Vocabulary, corpus: Corpus) -> tuple[Vocabulary, tuple[str, ...]]:
    """Return a vocabulary with the corpus' characters behind those that are known, and a sentence that names them.

    Raises:
        SettingsError: If one is of characters and the other of bytes.
    """
    if known.unit != corpus.format.unit:
        raise SettingsError(
            f"The model to begin with reads {known.unit}s, and the text is read as {corpus.format.unit}s. Give --unit "
            f"{known.unit}, or begin a new model."
        )
    new = "".join(c for c in corpus.vocabulary.characters if c not in known.characters)
    if not new:
        return known, ()
    count = f"{len(new)} {'character' if len(new) == 1 else 'characters'}"
    notice = f"{count} of {corpus.name} that the model does not know yet will be learned: {preview(new)}"
    return Vocabulary(known.characters + new), (notice,)


def grown_weights(weights: Mapping[str, NDArray[np.float32]], architecture: Architecture, seed: int) -> Weights:
    """Return a model's weights with rows for the characters that were added.

    What a new character says is drawn as at a beginning; it is held to be as rare as the rarest one known.

    Args:
        weights: Of the model, for fewer characters or as many.
        architecture: With all characters.
        seed: Decides what is drawn.
    """
    drawn = initial_weights(architecture, seed)
    drawn["output.bias"][:] = weights["output.bias"].min()
    return {name: grown_rows(weights[name], drawn[name]) for name in drawn}


def grown_rows(rows: NDArray[Any], longer: NDArray[Any]) -> NDArray[Any]:
    """Return ``longer`` with its first rows replaced."""
    return np.concatenate([rows, longer[len(rows) :]]) if len(rows) < len(longer) else rows


def sizes_of(architecture: Architecture, recipe: Recipe) -> Settings:
    """Return a recipe's settings with a model's sizes.

    Raises:
        SettingsError: If the user asked for other sizes, or the model cannot be trained.
    """
    if not architecture.reset_after:
        raise SettingsError(
            "This model's GRU applies its reset gate before the product, as old Keras models do: it can write and "
            "judge text, but it cannot be trained here."
        )
    sizes = {name: getattr(architecture, name) for name in SIZES}
    for name in SIZES:
        asked = getattr(recipe.settings, name)
        if name in recipe.fixed and asked != sizes[name]:
            raise SettingsError(f"{name} is {sizes[name]} in the model to begin with, but {asked} was asked for.")
    return replace(recipe.settings, **sizes)
