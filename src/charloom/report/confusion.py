"""The confusion matrix of characters, and a map of similar embeddings."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from charloom.model.file.model_file import SavedModel

_MAX_CONFUSIONS = 24
_MAX_MAPPED = 200  # characters


@dataclass(frozen=True)
class Confusion:
    """An entry of the confusion matrix off its diagonal.

    Attributes:
        actual: The actual character.
        guessed: The top prediction in its place.
        count: Number of times that this happened.
        share: The same as a share of all occurrences of the actual character.
    """

    actual: str
    guessed: str
    count: int
    share: float


@dataclass(frozen=True)
class MapPoint:
    """A character on the map of embeddings.

    Attributes:
        character: The character.
        x: First principal component, scaled to [-1, 1].
        y: Second principal component, scaled to [-1, 1].
        count: Number of its occurrences in the text.
    """

    character: str
    x: float
    y: float
    count: int


def frequent_confusions(text: str, counted: Counter[tuple[str, str]]) -> list[Confusion]:
    """Return the most frequent confusions.

    Args:
        text: The text that was read.
        counted: Number of occurrences of each pair (actual, guessed).
    """
    occurrences = Counter(text[1:])
    return [
        Confusion(actual, guessed, count, count / occurrences[actual])
        for (actual, guessed), count in counted.most_common(_MAX_CONFUSIONS)
    ]


def embedding_map(model: SavedModel, text: str) -> list[MapPoint]:
    """Project the embeddings of the most frequent characters of a text on their first two principal components.

    Args:
        model: The model; its ``embedding.weight`` is (V, E).
        text: The text; its 200 most frequent characters are mapped.
    """
    counts = [(c, n) for c, n in Counter(text).most_common(_MAX_MAPPED) if c in model.vocabulary]
    if len(counts) < 3:
        return []
    ids = model.vocabulary.encode_symbols("".join(c for c, _ in counts)).astype(np.intp)
    vectors = np.asarray(model.weights["embedding.weight"], np.float64)[ids]
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    flat /= np.abs(flat).max(axis=0, initial=1e-12)
    return [MapPoint(c, float(x), float(y), n) for (c, n), (x, y) in zip(counts, flat, strict=True)]
