"""One pass over a text with a model, which collects everything that the report shows."""

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
"""Number of predictions that are kept for each character."""

_LOW, _HIGH = 0.1, 0.9  # below, a gate is left-saturated (shut); above, right-saturated (open): Karpathy et al. 2015
_CANDIDATE = "candidate"  # not a gate in the narrow sense: its range is [-1, 1]


@dataclass(frozen=True)
class Neuron:
    """The position of a neuron.

    Attributes:
        layer: Its layer, from 0, the lowest.
        part: "hidden", or "cell" for an LSTM's cell state.
        index: Its number in the layer, from 0.
    """

    layer: int
    part: str
    index: int


@dataclass(frozen=True)
class Saturation:
    """How often the gates of one kind in one layer are saturated.

    Attributes:
        layer: The layer, from 0.
        gate: The name of the gate.
        shut: For each unit the share of characters at which the gate is below 0.1, (H,).
        open: For each unit the share of characters at which the gate is above 0.9, (H,).
    """

    layer: int
    gate: str
    shut: NDArray[np.float64]
    open: NDArray[np.float64]


@dataclass(frozen=True)
class TextAnalysis:
    """The analysis of a text of T characters, read from the zero state.

    Attributes:
        text: The text.
        surprisals: Surprisal of each character but the first, in bits, (T - 1,).
        guesses: Ids of the top-k predictions after each character, (T, k), k = min(5, V).
        probabilities: Probabilities of these, (T, k).
        neurons: The N neurons of the model.
        states: Their activations after each character, float16 (T, N); cell states are squashed by tanh to [-1, 1].
        saturation: Gate saturation by layer and kind.
        mistakes: How often an actual character (first) was predicted as another (second), for wrong top predictions.
    """

    text: str
    surprisals: NDArray[np.float64]
    guesses: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    neurons: tuple[Neuron, ...]
    states: NDArray[np.float16]
    saturation: tuple[Saturation, ...]
    mistakes: Counter[tuple[str, str]]

    @property
    def bits_per_char(self) -> float:
        """Mean surprisal, in bits per character."""
        return float(self.surprisals.mean())


def analyze_text(
    engine: Engine, vocabulary: Vocabulary, text: str, progress: ProgressCallback | None = None
) -> TextAnalysis:
    """Read a text and record everything that a report shows of it.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        text: At least two characters.
        progress: Called with the number of characters read and their total.

    Raises:
        UnknownCharacterError: If the text contains a character that the model does not know.
    """
    ids = vocabulary.encode(text).astype(np.intp)
    neurons = _neurons(engine)
    bits, states = np.empty(len(ids) - 1), np.empty((len(ids), len(neurons)), np.float16)
    k = min(TOP_K, len(vocabulary))
    guesses, probabilities = np.empty((len(ids), k), np.intp), np.empty((len(ids), k))
    gates = _SaturationCounter(engine)
    done = 0
    for trace in iter_traces(engine, ids):
        block = slice(done, done + trace.logits.shape[1])
        guesses[block], probabilities[block] = top_k(trace.logits[0], k)
        targets = ids[done + 1 : block.stop + 1]
        bits[done : done + len(targets)] = surprisals_of(trace.logits[0, : len(targets)], targets)
        states[block] = _squashed_states(trace)
        gates.add(trace.gates[0])
        done = block.stop
        if progress is not None:
            progress(done, len(ids))
    wrong = guesses[:-1, 0] != ids[1:]
    pairs = zip(vocabulary.decode(ids[1:][wrong]), vocabulary.decode(guesses[:-1, 0][wrong]), strict=True)
    return TextAnalysis(text, bits, guesses, probabilities, neurons, states, gates.result(), Counter(pairs))


def _neurons(engine: Engine) -> tuple[Neuron, ...]:
    a = engine.architecture
    parts = ("hidden", "cell")[: a.state_parts]
    return tuple(
        Neuron(layer, part, i) for layer in range(a.num_layers) for part in parts for i in range(a.hidden_size)
    )


def _squashed_states(trace: Trace) -> NDArray[np.float32]:
    """Return the states (T, N), with cell states squashed by tanh."""
    states: NDArray[np.float32] = trace.states[0].copy()
    states[:, :, 1:] = np.tanh(states[:, :, 1:])
    return states.reshape(len(states), -1)


class _SaturationCounter:
    """Counts how often gates are saturated.

    Args:
        engine: The engine that runs the model.
    """

    def __init__(self, engine: Engine) -> None:
        self._names = GATE_NAMES[engine.architecture.cell]
        self._read = 0
        self._shut: NDArray[np.float64] | float = 0.0
        self._open: NDArray[np.float64] | float = 0.0

    def add(self, gates: NDArray[np.float32]) -> None:
        self._read += len(gates)
        self._shut = self._shut + (gates < _LOW).sum(axis=0)
        self._open = self._open + (gates > _HIGH).sum(axis=0)

    def result(self) -> tuple[Saturation, ...]:
        shut, opened = np.asarray(self._shut) / self._read, np.asarray(self._open) / self._read
        return tuple(
            Saturation(layer, name, shut[layer, gate], opened[layer, gate])
            for layer in range(len(shut))
            for gate, name in enumerate(self._names)
            if name != _CANDIDATE
        )
