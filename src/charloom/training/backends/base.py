"""The protocol between the training loop and the backend that computes its steps. Needs no PyTorch.

A backend holds the weights, the optimizer's state and the recurrent state that is carried from batch to batch. The loop
(``charloom.training.steps``) decides which batch comes next and at which learning rate; ``charloom.training.backends``
chooses the backend.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.model.architecture import Architecture
from charloom.training.batches.base import Batch, IdSource

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What a device may be called; auto takes an NVIDIA GPU, else an Apple one, else the processor."""


@dataclass(frozen=True)
class Device:
    """A device and the precision of its matrix products.

    Attributes:
        name: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16"; weights, gradients and their sums are float32 in both cases.
        description: For people: which device, which precision, and why.
    """

    name: str
    precision: str
    description: str


class ControlFlags(NamedTuple):
    """What the user or the clock requests of a training between two steps.

    Attributes:
        stop: Save and end the training.
        save: Save a checkpoint.
    """

    stop: bool = False
    save: bool = False


class StepStats(NamedTuple):
    """What one update reports; every process of a training gets the same values.

    Attributes:
        loss: Mean loss of the batch before the update, in nats per character.
        grad_norm: L2 norm of the gradient before clipping.
        is_finite: Whether loss, gradient and state were finite. If not, the update was left out: neither the weights,
            nor the optimizer, nor the carried state have changed.
        control_flags: The flags that ``poll`` returned in any of the processes.
    """

    loss: float
    grad_norm: float
    is_finite: bool
    control_flags: ControlFlags


class TrainingBackend(Protocol):
    """Computes training steps and evaluations of one network on one device.

    Attributes:
        architecture: The network's sizes.
    """

    architecture: Architecture

    def place_ids(self, ids: Ids | LineIds) -> IdSource | LineIds:
        """Return the ids of a training text in the memory from which this backend reads batches fastest."""
        ...

    def step(self, batch: Batch, step: int, learning_rate: float, poll: Callable[[], ControlFlags]) -> StepStats:
        """Make one update.

        Args:
            batch: The rows of this process; the carried state is set to zero first if ``batch.resets_state``.
            step: Updates before this one. Dropout and Adam's bias correction depend on it and on nothing earlier, so
                that a resumed training repeats them.
            learning_rate: Of this update.
            poll: Called once during the update.
        """
        ...

    def evaluate(self, ids: Ids | LineIds, stop: Callable[[], bool] = lambda: False) -> float:
        """Return the mean loss on a held-out text in nats per character, in float32 and without dropout.

        All processes of a training must call it together.

        Args:
            ids: See ``charloom.training.evaluate.evaluation_windows``.
            stop: Called before every window; once it returns true, the evaluation ends without a result.

        Raises:
            EvaluationStopped: If ``stop`` returned true in any of the processes.
        """
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        ...

    def load_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every parameter; the optimizer's state and the carried state stay."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the optimizer's state and of the carried state of the whole batch.

        Names and shapes are those of a checkpoint; see ``charloom.training.checkpoint``. All processes of a training
        must call it together.
        """
        ...

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Replace the optimizer's state and the carried state by what ``state`` returned; other names are ignored."""
        ...
