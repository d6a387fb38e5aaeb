"""The confusion matrix of characters, and a 2-D map of their embeddings."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from charloom.model.file.model_file import SavedModel

_MAX_CONFUSIONS = 24
_MAX_MAPPED = 200  # characters


@dataclass(frozen=True)
class Confusion:
    """An off-diagonal entry of the confusion matrix.

    Attributes:
        actual: The character in the text.
        predicted: The model's top prediction at that position, a different character.
        count: Number of occurrences of this pair.
        share: ``count`` divided by the number of occurrences of the actual character.
    """

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class MapPoint:
    """A character on the map of embeddings.

    Attributes:
        character: The character.
        x: First principal component of its embedding, scaled to [-1, 1].
        y: Second principal component of its embedding, scaled to [-1, 1].
        count: Number of occurrences of the character in the text.
    """

    character: str
    x: float
    y: float
    count: int


def frequent_confusions(text: str, counts: Counter[tuple[str, str]]) -> list[Confusion]:
    """Return the up to 24 most frequent confusions in descending order.

    Args:
        text: The analyzed text.
        counts: Number of occurrences of each pair (actual, predicted).
    """
    occurrences = Counter(text[1:])
    return [
        Confusion(actual, predicted, count, count / occurrences[actual])
        for (actual, predicted), count in counts.most_common(_MAX_CONFUSIONS)
    ]


def embedding_map(model: SavedModel, text: str) -> list[MapPoint]:
    """Project the embeddings of the most frequent characters of a text onto their first two principal components.

    Args:
        model: The model; its ``embedding.weight`` is (V, E).
        text: The text; its 200 most frequent characters are mapped.

    Returns:
        One point per character; an empty list if fewer than 3 characters are in the vocabulary.
    """
    counts = [(c, n) for c, n in Counter(text).most_common(_MAX_MAPPED) if c in model.vocabulary]
    if len(counts) < 3:
        return []
    ids = model.vocabulary.encode_symbols("".join(c for c, _ in counts)).astype(np.intp)
    vectors = np.asarray(model.weights["embedding.weight"], np.float64)[ids]
    left, singular_values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    points = left[:, :2] * singular_values[:2]
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))  # an embedding of size 1 has one component
    points /= np.abs(points).max(axis=0, initial=1e-12)
    return [MapPoint(c, float(x), float(y), n) for (c, n), (x, y) in zip(counts, points, strict=True)]
