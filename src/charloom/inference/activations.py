"""What a model does at each character of a text: top-k predictions, hidden units, gates."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError
from charloom.inference.engines.base import Engine, Trace
from charloom.inference.generation_options import check_whole
from charloom.inference.log_probs import log_softmax

_BLOCK = 512  # characters per trace
GATE_NAMES = {"gru": ("reset", "update", "candidate"), "lstm": ("input", "forget", "candidate", "output")}


@dataclass(frozen=True)
class Activations:
    """Hidden states and gates of a model over a text, from the zero state.

    Attributes:
        text: T characters.
        hidden: Hidden state after each character, float32 (T, L, H), in [-1, 1].
        cell: Cell state of an LSTM after each character, float32 (T, L, H), unbounded; None for a GRU.
        gates: Gates at each character, float32 (T, L, G, H): reset, update, candidate of a GRU; input, forget,
            candidate, output of an LSTM. Candidates are in [-1, 1], the rest in [0, 1].
    """

    text: str
    hidden: NDArray[np.float32]
    cell: NDArray[np.float32] | None
    gates: NDArray[np.float32]


@dataclass(frozen=True)
class TopPredictions:
    """Top-k predictions of a model after each character of a text, from the zero state.

    Attributes:
        text: T characters.
        characters: The k most probable next characters in descending order: T strings of k characters.
        probabilities: Their probabilities, float64 (T, k).
    """

    text: str
    characters: tuple[str, ...]
    probabilities: NDArray[np.float64]


def activations(engine: Engine, vocabulary: Vocabulary, text: str) -> Activations:
    """Record every hidden state and gate over a text; takes 4 (G + S) L H bytes per character.

    Raises:
        CorpusError: If the text is empty.
        UnknownCharacterError: If it holds a character that the model does not know.
    """
    ids = _ids(vocabulary, text)
    traces = list(iter_traces(engine, ids))
    states = np.concatenate([trace.states[0] for trace in traces])
    gates = np.concatenate([trace.gates[0] for trace in traces])
    cell = states[:, :, 1] if engine.architecture.state_parts == 2 else None
    return Activations(vocabulary.symbols(ids), states[:, :, 0], cell, gates)


def top_predictions(engine: Engine, vocabulary: Vocabulary, text: str, k: int = 5) -> TopPredictions:
    """Return the top-k predictions after each character of a text.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least one character.
        k: From 1 to V.

    Raises:
        CorpusError: If the text is empty.
        SettingsError: If k is out of range.
        UnknownCharacterError: If the text holds a character that the model does not know.
    """
    k = check_whole("k", k, 1, len(vocabulary))
    ids, state = _ids(vocabulary, text), engine.initial_state(1)
    predictions, shares = [], []
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.forward(ids[None, start : start + _BLOCK], state)
        top_ids, probabilities = top_k(logits[0], k)
        predictions.append(top_ids)
        shares.append(probabilities)
    characters = vocabulary.symbols(np.concatenate(predictions).reshape(-1))
    rows = tuple(characters[i : i + k] for i in range(0, len(characters), k))
    return TopPredictions(vocabulary.symbols(ids), rows, np.concatenate(shares))


def top_k(logits: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return ids (T, k) and probabilities (T, k) of the most probable characters under logits (T, V), in order.

    Of equally probable characters the one with the lower id comes first.
    """
    probabilities = np.exp(log_softmax(logits))
    top_ids = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return top_ids, np.take_along_axis(probabilities, top_ids, axis=1)


def iter_traces(engine: Engine, ids: NDArray[np.integer]) -> Iterator[Trace]:
    """Yield traces of a model over a text (T,), block by block, from the zero state."""
    state = engine.initial_state(1)
    for start in range(0, len(ids), _BLOCK):
        trace = engine.trace(ids[None, start : start + _BLOCK], state)
        state = trace.state
        yield trace


def _ids(vocabulary: Vocabulary, text: str) -> NDArray[np.integer]:
    if not text:
        raise CorpusError(
            "The text is empty. Pass at least one character.", code="text_too_short", characters=0, minimum=1
        )
    return vocabulary.encode(text)
