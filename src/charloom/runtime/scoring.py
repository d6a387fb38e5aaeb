"""What a text costs under a model: the surprisal of each of its characters, and their sum."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CorpusError
from charloom.runtime.engine import Engine
from charloom.text.vocabulary import Vocabulary

_LARGEST_EXPONENT = 709.0  # exp of more does not fit into a double
_BLOCK = 512  # characters whose logits are held at once


@dataclass(frozen=True)
class Score:
    """The cost of a text: of every character but the first, given all before it, from the zero state.

    Attributes:
        surprisals: Bits for each character but the first, float64 (T - 1,).
    """

    surprisals: NDArray[np.float64]

    @property
    def characters(self) -> int:
        """How many characters were scored: all but the first."""
        return len(self.surprisals)

    @cached_property
    def total_nats(self) -> float:
        """Minus the log-probability of the text after its first character, in nats."""
        return float(self.surprisals.sum()) * math.log(2)

    @property
    def nats_per_char(self) -> float:
        """Mean loss, in nats per character."""
        return self.total_nats / self.characters

    @property
    def bits_per_char(self) -> float:
        """Mean surprisal, in bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters that would be as hard to guess: exp(nats per character)."""
        return math.exp(self.nats_per_char) if self.nats_per_char < _LARGEST_EXPONENT else math.inf


def score(
    engine: Engine, vocabulary: Vocabulary, text: str, progress: Callable[[int, int], None] | None = None
) -> Score:
    """Score a text.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        text: At least two characters.
        progress: Told how many characters are scored, and how many there are.

    Raises:
        CorpusError: If the text is shorter than that.
        UnknownCharacterError: If it holds a character that the model does not know.
    """
    if len(text) < 2:
        raise CorpusError(f"A text to score needs at least 2 characters, as the first is not scored; got {len(text)}.")
    ids = vocabulary.encode(text).astype(np.intp)
    surprisals = np.empty(len(ids) - 1)
    state = engine.initial_state(1)
    for start in range(0, len(surprisals), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(surprisals)))
        logits, state = engine.forward(ids[None, block], state)
        surprisals[block] = _surprisals(logits[0], ids[block.start + 1 : block.stop + 1])
        if progress is not None:
            progress(block.stop, len(surprisals))
    return Score(surprisals)


def _surprisals(logits: NDArray[np.float32], targets: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the bits that each target (T,) costs under its logits (T, V)."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(exact).sum(axis=1))
    nats: NDArray[np.float64] = log_total - exact[np.arange(len(targets)), targets]
    return nats / math.log(2)
