"""Run a model over a text once and collect everything that the report shows."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.activations import GATE_NAMES, iter_traces, top_k
from charloom.inference.engines.base import Engine, Trace
from charloom.inference.scoring import surprisals_of

TOP_K = 5
"""Number of top predictions kept for each character."""

_LOW, _HIGH = 0.1, 0.9  # gates below are left-saturated (shut), above right-saturated (open): Karpathy et al. 2015
_CANDIDATE = "candidate"  # excluded from saturation: its range is [-1, 1], a gate's is [0, 1]


@dataclass(frozen=True)
class Neuron:
    """The position of a neuron in the network.

    Attributes:
        layer: Layer number from 0, the lowest.
        part: "hidden", or "cell" for the cell state of an LSTM.
        index: Unit number within the layer, from 0.
    """

    layer: int
    part: str
    index: int


@dataclass(frozen=True)
class Saturation:
    """Gate saturation of one layer and one kind of gate.

    Attributes:
        layer: Layer number from 0, the lowest.
        gate: Name of the gate, such as "reset".
        shut: Fraction of characters at which each unit's gate is below 0.1, (H,).
        open: Fraction of characters at which each unit's gate is above 0.9, (H,).
    """

    layer: int
    gate: str
    shut: NDArray[np.float64]
    open: NDArray[np.float64]


@dataclass(frozen=True)
class TextAnalysis:
    """The analysis of a text of T characters, starting from the zero state.

    Attributes:
        text: The text.
        surprisals: Surprisal of each character except the first, in bits, (T - 1,).
        predicted_ids: Ids of the top-k predictions after each character, (T, k), k = min(5, V).
        probabilities: Probabilities of the top-k predictions, (T, k).
        neurons: Positions of the N neurons of the model.
        states: Activation of every neuron after each character, float16 (T, N). Cell states are squashed by tanh to
            [-1, 1].
        saturation: Gate saturation by layer and gate.
        confusions: Counts of pairs (actual character, wrong top prediction).
    """

    text: str
    surprisals: NDArray[np.float64]
    predicted_ids: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    neurons: tuple[Neuron, ...]
    states: NDArray[np.float16]
    saturation: tuple[Saturation, ...]
    confusions: Counter[tuple[str, str]]

    @property
    def bits_per_char(self) -> float:
        """Mean surprisal, in bits per character."""
        return float(self.surprisals.mean())


def analyze_text(
    engine: Engine, vocabulary: Vocabulary, text: str, progress: ProgressCallback | None = None
) -> TextAnalysis:
    """Run the model over a text and record everything that the report shows.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least two characters.
        progress: Called with the number of processed characters and the total.

    Raises:
        UnknownCharacterError: If the text contains a character that is not in the vocabulary.
    """
    ids = vocabulary.encode(text).astype(np.intp)
    neurons = _neurons(engine)
    bits, states = np.empty(len(ids) - 1), np.empty((len(ids), len(neurons)), np.float16)
    k = min(TOP_K, len(vocabulary))
    predicted_ids, probabilities = np.empty((len(ids), k), np.intp), np.empty((len(ids), k))
    gates = _SaturationCounter(engine)
    done = 0
    for trace in iter_traces(engine, ids):
        block = slice(done, done + trace.logits.shape[1])
        predicted_ids[block], probabilities[block] = top_k(trace.logits[0], k)
        targets = ids[done + 1 : block.stop + 1]
        bits[done : done + len(targets)] = surprisals_of(trace.logits[0, : len(targets)], targets)
        states[block] = _squashed_states(trace)
        gates.add(trace.gates[0])
        done = block.stop
        if progress is not None:
            progress(done, len(ids))
    wrong = predicted_ids[:-1, 0] != ids[1:]
    confusions = zip(vocabulary.decode(ids[1:][wrong]), vocabulary.decode(predicted_ids[:-1, 0][wrong]), strict=True)
    return TextAnalysis(text, bits, predicted_ids, probabilities, neurons, states, gates.result(), Counter(confusions))


def _neurons(engine: Engine) -> tuple[Neuron, ...]:
    a = engine.architecture
    parts = ("hidden", "cell")[: a.state_parts]
    return tuple(
        Neuron(layer, part, i) for layer in range(a.num_layers) for part in parts for i in range(a.hidden_size)
    )


def _squashed_states(trace: Trace) -> NDArray[np.float32]:
    """Return hidden states and tanh of cell states, (T, N)."""
    states: NDArray[np.float32] = trace.states[0].copy()
    states[:, :, 1:] = np.tanh(states[:, :, 1:])
    return states.reshape(len(states), -1)


class _SaturationCounter:
    """Counts saturated gates over the blocks of a text."""

    def __init__(self, engine: Engine) -> None:
        self._names = GATE_NAMES[engine.architecture.cell]
        self._characters = 0
        self._shut: NDArray[np.float64] | float = 0.0
        self._open: NDArray[np.float64] | float = 0.0

    def add(self, gates: NDArray[np.float32]) -> None:
        self._characters += len(gates)
        self._shut = self._shut + (gates < _LOW).sum(axis=0)
        self._open = self._open + (gates > _HIGH).sum(axis=0)

    def result(self) -> tuple[Saturation, ...]:
        shut, opened = np.asarray(self._shut) / self._characters, np.asarray(self._open) / self._characters
        return tuple(
            Saturation(layer, name, shut[layer, gate], opened[layer, gate])
            for layer in range(len(shut))
            for gate, name in enumerate(self._names)
            if name != _CANDIDATE
        )
