"""What a model takes for what: characters it confuses, and a map of those it thinks alike."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from charloom.model.file.model_file import SavedModel

_SHOWN = 24  # mistakes
_MAPPED = 200  # characters


@dataclass(frozen=True)
class Confusion:
    """Two characters of which one is guessed where the other comes.

    Attributes:
        actual: What came.
        guessed: What was thought the likeliest.
        count: How often.
        share: Of all times that it came.
    """

    actual: str
    guessed: str
    count: int
    share: float


@dataclass(frozen=True)
class MapPoint:
    """Where a character lies on the map of embeddings.

    Attributes:
        character: Which.
        x: In [-1, 1].
        y: In [-1, 1].
        count: How often it is in the text.
    """

    character: str
    x: float
    y: float
    count: int


def frequent_confusions(text: str, counted: Counter[tuple[str, str]]) -> list[Confusion]:
    """Return the most frequent mistakes.

    Args:
        text: That was read.
        counted: How often each (actual, guessed) happened.
    """
    occurrences = Counter(text[1:])
    return [
        Confusion(actual, guessed, count, count / occurrences[actual])
        for (actual, guessed), count in counted.most_common(_SHOWN)
    ]


def embedding_map(model: SavedModel, text: str) -> list[MapPoint]:
    """Return the characters of a text where their embeddings lie: on the two directions in which these differ most.

    Args:
        model: Its ``embedding.weight``, (V, E), is drawn.
        text: Its most frequent characters are.
    """
    counts = [(c, n) for c, n in Counter(text).most_common(_MAPPED) if c in model.vocabulary]
    if len(counts) < 3:
        return []
    ids = model.vocabulary.encode_symbols("".join(c for c, _ in counts)).astype(np.intp)
    vectors = np.asarray(model.weights["embedding.weight"], np.float64)[ids]
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    flat /= np.abs(flat).max(axis=0, initial=1e-12)
    return [MapPoint(c, float(x), float(y), n) for (c, n), (x, y) in zip(counts, flat, strict=True)]
