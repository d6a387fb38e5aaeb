"""One pass over a text with a model, and everything the report shows of it."""

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
_LOW, _HIGH = 0.1, 0.9  # a gate below or above is shut or open, as Karpathy et al. 2015 count it
_CANDIDATE = "candidate"  # no gate in the narrow sense: it is in [-1, 1]


@dataclass(frozen=True)
class Neuron:
    """Where a neuron is.

    Attributes:
        layer: From 0, the lowest.
        part: "hidden", or "cell" in an LSTM.
        index: In its layer, from 0.
    """

    layer: int
    part: str
    index: int


@dataclass(frozen=True)
class Saturation:
    """How often the gates of one kind in one layer are shut and open.

    Attributes:
        layer: From 0.
        gate: Its name.
        shut: For each unit the share of characters at which the gate is below 0.1, (H,).
        open: Likewise above 0.9.
    """

    layer: int
    gate: str
    shut: NDArray[np.float64]
    open: NDArray[np.float64]


@dataclass(frozen=True)
class TextAnalysis:
    """What a model made of a text of T characters, from the zero state.

    Attributes:
        text: The text.
        surprisals: Bits of each character but the first, (T - 1,).
        guesses: Ids of the likeliest after each character, (T, 5) or (T, V).
        probabilities: Of these.
        neurons: Which they are, N of them.
        states: Of each after each character, float16 (T, N); cell states squeezed by tanh into [-1, 1].
        saturation: Of each kind of gate in each layer.
        mistakes: How often a character (first) came where another (second) was thought the likeliest.
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
        """Mean surprisal."""
        return float(self.surprisals.mean())


def analyze_text(
    engine: Engine, vocabulary: Vocabulary, text: str, progress: ProgressCallback | None = None
) -> TextAnalysis:
    """Read a text.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        text: At least two characters.
        progress: Told how many characters are read, and how many there are.

    Raises:
        UnknownCharacterError: If it holds a character that the model does not know.
    """
    ids = vocabulary.encode(text).astype(np.intp)
    neurons = _neurons(engine)
    bits, states = np.empty(len(ids) - 1), np.empty((len(ids), len(neurons)), np.float16)
    k = min(TOP_K, len(vocabulary))
    guesses, probabilities = np.empty((len(ids), k), np.intp), np.empty((len(ids), k))
    gates = _Gates(engine)
    done = 0
    for trace in iter_traces(engine, ids):
        block = slice(done, done + trace.logits.shape[1])
        guesses[block], probabilities[block] = top_k(trace.logits[0], k)
        targets = ids[done + 1 : block.stop + 1]
        bits[done : done + len(targets)] = surprisals_of(trace.logits[0, : len(targets)], targets)
        states[block] = _seen(trace)
        gates.add(trace.gates[0])
        done = block.stop
        if progress is not None:
            progress(done, len(ids))
    wrong = guesses[:-1, 0] != ids[1:]
    pairs = zip(vocabulary.decode(ids[1:][wrong]), vocabulary.decode(guesses[:-1, 0][wrong]), strict=True)
    return TextAnalysis(text, bits, guesses, probabilities, neurons, states, gates.found(), Counter(pairs))


def _neurons(engine: Engine) -> tuple[Neuron, ...]:
    a = engine.architecture
    parts = ("hidden", "cell")[: a.state_parts]
    return tuple(
        Neuron(layer, part, i) for layer in range(a.num_layers) for part in parts for i in range(a.hidden_size)
    )


def _seen(trace: Trace) -> NDArray[np.float32]:
    """Return states (T, N), those of cells squeezed."""
    states: NDArray[np.float32] = trace.states[0].copy()
    states[:, :, 1:] = np.tanh(states[:, :, 1:])
    return states.reshape(len(states), -1)


class _Gates:
    """Counts how often gates are shut and open.

    Args:
        engine: Whose.
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

    def found(self) -> tuple[Saturation, ...]:
        shut, opened = np.asarray(self._shut) / self._read, np.asarray(self._open) / self._read
        return tuple(
            Saturation(layer, name, shut[layer, gate], opened[layer, gate])
            for layer in range(len(shut))
            for gate, name in enumerate(self._names)
            if name != _CANDIDATE
        )
