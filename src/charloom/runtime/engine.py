"""What an engine is: the code that runs a trained model, and the choice of one.

Every engine has the same signature, so that the readable one judges the fast one. Everything carried from
one character to the next is explicit: a state can be copied, kept and branched.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture
from charloom.model.model_file import SavedModel
from charloom.runtime.options import Sampling

State = NDArray[np.float32]
"""All that is carried: (L, S, B, H), S = 1 in a GRU (hidden) and 2 in an LSTM (hidden, cell)."""


@dataclass
class Cursor:
    """Where B generated texts stand: enough to go on with each as if it had never been interrupted.

    Attributes:
        state: After every character so far, (L, S, B, H).
        logits: Of the next character, (B, V).
        seeds: The seed of each text, (B,).
        position: How many characters have been drawn for each.
    """

    state: State
    logits: NDArray[np.float32]
    seeds: NDArray[np.uint64]
    position: int = 0


class Engine(Protocol):
    """Runs one model over ids; a row of a batch is computed exactly as it would be alone."""

    architecture: Architecture
    name: str

    def initial_state(self, batch_size: int) -> State:
        """Return the state before any character: zeros (L, S, B, H)."""
        ...

    def forward(self, ids: NDArray[np.integer], state: State) -> tuple[NDArray[np.float32], State]:
        """Read texts.

        Args:
            ids: (B, T), each in [0, V), T >= 1.
            state: Before the first, (L, S, B, H); left as it is.

        Returns:
            Logits (B, T, V) of the character after each, and the state after the last.
        """
        ...

    def sample(self, cursor: Cursor, count: int, sampling: Sampling) -> NDArray[np.intp]:
        """Draw ``count`` characters for each text, feed each back, and move the cursor on.

        Returns:
            Ids (B, count).
        """
        ...


def make_engine(model: SavedModel) -> Engine:
    """Return the fastest engine there is for this model on this machine."""
    from charloom.runtime.numpy_engine import NumpyEngine

    return NumpyEngine(model.architecture, model.weights)
