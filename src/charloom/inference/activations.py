"""What a model does at each character of a text: its guesses, its neurons, its gates."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError
from charloom.inference.engines.base import Engine, Trace
from charloom.inference.generation_options import check_whole
from charloom.inference.log_probs import log_softmax

_BLOCK = 512  # characters whose trace is held at once
GATE_NAMES = {"gru": ("reset", "update", "candidate"), "lstm": ("input", "forget", "candidate", "output")}


@dataclass(frozen=True)
class Activations:
    """A model's neurons and gates over a text, from the zero state.

    Attributes:
        text: T characters.
        hidden: After each, float32 (T, L, H), in [-1, 1].
        cell: Likewise an LSTM's cell state, of any size; None in a GRU.
        gates: At each, float32 (T, L, G, H): reset, update, candidate in a GRU; input, forget, candidate, output in an
            LSTM. Candidates are in [-1, 1], the others in [0, 1].
    """

    text: str
    hidden: NDArray[np.float32]
    cell: NDArray[np.float32] | None
    gates: NDArray[np.float32]


@dataclass(frozen=True)
class TopPredictions:
    """What a model expects after each character of a text, from the zero state.

    Attributes:
        text: T characters.
        characters: The k likeliest to come after each, the likeliest first: T strings of k characters.
        probabilities: Of these, float64 (T, k).
    """

    text: str
    characters: tuple[str, ...]
    probabilities: NDArray[np.float64]


def activations(engine: Engine, vocabulary: Vocabulary, text: str) -> Activations:
    """Return what every neuron and gate does over a text; 4 (G + S) L H bytes a character.

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
    """Return the likeliest characters after each character of a text.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
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
        likeliest, probabilities = top_k(logits[0], k)
        predictions.append(likeliest)
        shares.append(probabilities)
    characters = vocabulary.symbols(np.concatenate(predictions).reshape(-1))
    rows = tuple(characters[i : i + k] for i in range(0, len(characters), k))
    return TopPredictions(vocabulary.symbols(ids), rows, np.concatenate(shares))


def top_k(logits: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return ids (T, k) and probabilities (T, k) of the likeliest characters under logits (T, V), the likeliest first.

    Of equals the one with the lower id comes first.
    """
    probabilities = np.exp(log_softmax(logits))
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return likeliest, np.take_along_axis(probabilities, likeliest, axis=1)


def iter_traces(engine: Engine, ids: NDArray[np.integer]) -> Iterator[Trace]:
    """Yield what a model does over a text (T,), block by block, from the zero state."""
    state = engine.initial_state(1)
    for start in range(0, len(ids), _BLOCK):
        trace = engine.trace(ids[None, start : start + _BLOCK], state)
        state = trace.state
        yield trace


def _ids(vocabulary: Vocabulary, text: str) -> NDArray[np.integer]:
    if not text:
        raise CorpusError("There is no text to read. Give at least one character.")
    return vocabulary.encode(text)
