"""The protocol between the training loop and the backend that computes its steps. This module does not import PyTorch.

A backend holds the weights, the optimizer state and the hidden state that is carried from batch to batch. The loop
(``charloom.training.steps``) decides the next batch and its learning rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.model.architecture import Architecture
from charloom.training.batches.base import Batch, IdSource

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Accepted device names. "auto" is an NVIDIA GPU if there is one, else an Apple GPU, else the CPU."""


@dataclass(frozen=True)
class Device:
    """A training device and the precision of its matrix products.

    Attributes:
        name: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16". Weights and gradients are float32 in both cases.
        description: Device, precision and the reason for the precision, for people.
    """

    name: str
    precision: str
    description: str


class ControlFlags(NamedTuple):
    """Requests to a training run, made by the user or by a timer.

    Attributes:
        stop: Whether to save a checkpoint and end the training.
        save: Whether to save a checkpoint.
    """

    stop: bool = False
    save: bool = False


class StepStats(NamedTuple):
    """Statistics of one training step; the same in every process.

    Attributes:
        loss: Mean loss of the whole batch before the update, in nats per character.
        grad_norm: L2 norm of the gradient before clipping.
        is_finite: Whether loss, gradient and state were finite. If not, the step was skipped: weights, optimizer state
            and carried hidden state are unchanged.
        control_flags: Each flag is set if ``poll`` set it in any process.
    """

    loss: float
    grad_norm: float
    is_finite: bool
    control_flags: ControlFlags


class TrainingBackend(Protocol):
    """Computes training steps and evaluations of one network on one device.

    Attributes:
        architecture: Architecture of the network.
    """

    architecture: Architecture

    def place_ids(self, ids: Ids | RecordIds) -> IdSource | RecordIds:
        """Return the ids of a training text in the memory from which this backend reads batches fastest."""
        ...

    def step(self, batch: Batch, step: int, learning_rate: float, poll: Callable[[], ControlFlags]) -> StepStats:
        """Make one training step: forward, backward, all-reduce, clipping, optimizer update.

        Args:
            batch: This process' rows of the batch. If ``batch.resets_state``, the carried hidden state is set to zero
                first.
            step: Number of steps before this one. Dropout and Adam's bias correction depend only on this number, so
                that a resumed training repeats them exactly.
            learning_rate: Learning rate of this step.
            poll: Called once during the step.
        """
        ...

    def evaluate(self, ids: Ids | RecordIds, stop: Callable[[], bool] = lambda: False) -> float:
        """Compute the mean loss on a held-out text in nats per character, in float32 and without dropout.

        All processes of a training run must call this method together.

        Args:
            ids: See ``charloom.training.evaluate.evaluation_windows``.
            stop: Called before every window; once it returns true, the evaluation ends without a result.

        Raises:
            EvaluationStopped: If ``stop`` returned true in any process.
        """
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        ...

    def load_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every parameter; optimizer state and carried hidden state are unchanged."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the optimizer state and of the carried hidden state of the whole batch.

        Names and shapes are those of a checkpoint; see ``charloom.training.checkpoint``. All processes of a training
        run must call this method together.
        """
        ...

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore the optimizer state and the carried hidden state that ``state`` returned; ignore other tensors."""
        ...
