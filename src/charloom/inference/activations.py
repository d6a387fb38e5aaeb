"""Record the hidden states, gates and top-k predictions of a model over a text."""

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
    """Hidden states and gates of a model over a text, starting from the zero state.

    Attributes:
        text: The text, T characters.
        hidden: Hidden state after each character, float32 (T, L, H), in [-1, 1].
        cell: Cell state of an LSTM after each character, float32 (T, L, H), unbounded; None for a GRU.
        gates: Gates at each character, float32 (T, L, G, H). A GRU has reset, update and candidate; an LSTM has input,
            forget, candidate and output. Candidates are in [-1, 1], the other gates in [0, 1].
    """

    text: str
    hidden: NDArray[np.float32]
    cell: NDArray[np.float32] | None
    gates: NDArray[np.float32]


@dataclass(frozen=True)
class TopPredictions:
    """Top-k predictions of a model after each character of a text, starting from the zero state.

    Attributes:
        text: The text, T characters.
        characters: T strings, each with the k most probable next characters in descending order of probability.
        probabilities: Probabilities of ``characters``, float64 (T, k).
    """

    text: str
    characters: tuple[str, ...]
    probabilities: NDArray[np.float64]


def activations(engine: Engine, vocabulary: Vocabulary, text: str) -> Activations:
    """Record every hidden state and gate over a text, using 4 (G + S) L H bytes of memory per character.

    Raises:
        CorpusError: If the text is empty.
        UnknownCharacterError: If the text contains a character that is not in the vocabulary.
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
        text: The text; at least one character.
        k: Number of predictions per character, in [1, V].

    Raises:
        CorpusError: If the text is empty.
        SettingsError: If k is out of range.
        UnknownCharacterError: If the text contains a character that is not in the vocabulary.
    """
    k = check_whole("k", k, 1, len(vocabulary))
    ids, state = _ids(vocabulary, text), engine.initial_state(1)
    predicted_ids, probabilities = [], []
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.forward(ids[None, start : start + _BLOCK], state)
        block_ids, block_probabilities = top_k(logits[0], k)
        predicted_ids.append(block_ids)
        probabilities.append(block_probabilities)
    characters = vocabulary.symbols(np.concatenate(predicted_ids).reshape(-1))
    rows = tuple(characters[i : i + k] for i in range(0, len(characters), k))
    return TopPredictions(vocabulary.symbols(ids), rows, np.concatenate(probabilities))


def top_k(logits: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return ids and probabilities, both (T, k), of the k most probable characters under logits (T, V).

    They are in descending order of probability, ties in ascending order of id.
    """
    probabilities = np.exp(log_softmax(logits))
    top_ids = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return top_ids, np.take_along_axis(probabilities, top_ids, axis=1)


def iter_traces(engine: Engine, ids: NDArray[np.integer]) -> Iterator[Trace]:
    """Run a model over a text (T,) from the zero state and yield the traces of its blocks."""
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
