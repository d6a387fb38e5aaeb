"""The PyTorch backend: forward, backward, all-reduce, gradient clipping and optimizer update of one network."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.model.architecture import Architecture
from charloom.planning.settings import Settings
from charloom.training.backends.base import ControlFlags, Device, StepStats
from charloom.training.backends.torch.device import TorchDevice, flushed_denormals
from charloom.training.backends.torch.device_ids import on_device, place_ids
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.layers import NetworkState
from charloom.training.backends.torch.network import CharNetwork, detached, finite_state
from charloom.training.backends.torch.optimizer import make_optimizer, set_step
from charloom.training.batches.base import Batch, Batches, IdSource
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.events import StepRecord
from charloom.training.steps import TrainingSteps, kept_memory

_OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum", "direction")  # state keys of Adam and of Muon


def train_steps(
    network: CharNetwork,
    batches: Batches,
    settings: Settings,
    steps: int,
    device: Device,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[StepRecord]:
    """Train a network: make one step whenever the next record is requested.

    Args:
        network: The network, on the device; changed in place.
        batches: Batches to train on.
        settings: Optimizer, schedule, gradient clipping and seed.
        steps: Number of steps.
        device: Device of the network, and precision of its matrix products.
        process_group: Processes that share every batch; ``batches`` must return this process' rows.

    Yields:
        A record after each step.
    """
    backend = TorchBackend(network, settings, device, process_group)
    with kept_memory():
        yield from TrainingSteps(backend, batches, settings, steps)


class Updates(TrainingSteps):
    """Deprecated form of ``TrainingSteps`` with the arguments of earlier releases; use ``TrainingSteps`` instead."""

    def __init__(
        self,
        network: CharNetwork,
        batches: Batches,
        settings: Settings,
        steps: int,
        device: Device,
        process_group: ProcessGroup = SINGLE_PROCESS,
        ask: Callable[[], tuple[bool, bool]] = lambda: (False, False),
    ) -> None:
        backend = TorchBackend(network, settings, device, process_group)
        super().__init__(backend, batches, settings, steps, lambda: ControlFlags(*ask()))
        self.network = network

    @property
    def asked(self) -> tuple[bool, bool]:
        """The result of ``ask`` in the last step."""
        return self.control_flags

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the state of the backend; see ``TrainingBackend.state``."""
        return self.backend.state()


class TorchBackend:
    """See ``charloom.training.backends.base.TrainingBackend``.

    Args:
        network: The network, on the device; changed in place.
        settings: Optimizer, gradient clipping and seed.
        device: Device of the network, and precision of its matrix products.
        process_group: Processes that share every batch.
    """

    def __init__(
        self,
        network: CharNetwork,
        settings: Settings,
        device: Device,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.network = network
        self.architecture = network.architecture
        self.settings = settings
        self.device = TorchDevice(device.name, device.precision, device.description)
        self.process_group = process_group
        rows = process_group.rows(settings.batch_size)
        network.rows = None if process_group.size == 1 else (settings.batch_size, rows)
        network.implementation(device.precision)  # choose the implementation of the layers now
        self._state: NetworkState | None = None
        self._optimizer = make_optimizer(network, settings, device.precision, process_group)
        self._generator = torch.Generator(device.name)

    @classmethod
    def create(
        cls,
        architecture: Architecture,
        weights: Mapping[str, NDArray[np.float32]],
        settings: Settings,
        device: Device,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> Self:
        """Create a network and its backend; see ``charloom.training.backends.make_backend``."""
        dropout = (settings.dropout_input, settings.dropout_hidden, settings.dropout_output)
        network = CharNetwork(architecture, weights, dropout, settings.dropconnect).to(device.name)
        return cls(network, settings, device, process_group)

    def place_ids(self, ids: Ids | RecordIds) -> IdSource | RecordIds:
        """Return the ids of a training text in the device's memory, if they fit there."""
        return place_ids(ids, self.device.name)

    def step(self, batch: Batch, step: int, learning_rate: float, poll: Callable[[], ControlFlags]) -> StepStats:
        """Make one training step; see ``TrainingBackend.step``."""
        self.network.train()
        set_step(self._optimizer, step, learning_rate, self.settings)
        self._generator.manual_seed(_dropout_seed(self.settings.seed, step))
        if batch.resets_state:
            self._state = None
        with flushed_denormals():
            return self._update(batch, poll)

    def evaluate(self, ids: Ids | RecordIds, stop: Callable[[], bool] = lambda: False) -> float:
        """Compute the mean loss on a held-out text in nats per character; see ``TrainingBackend.evaluate``."""
        return evaluate(self.network, ids, self.device.name, stop, self.process_group)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        return self.network.weights()

    def load_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every parameter; optimizer state and carried hidden state are unchanged."""
        self.network.load(weights)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of optimizer state and carried hidden state; see ``TrainingBackend.state``.

        All processes must call this method together.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        for layer, state in enumerate(self._state or ()):
            for part, value in zip(("hidden", "cell"), state if isinstance(state, tuple) else (state,), strict=False):
                tensors[f"state.{part}.{layer}"] = self.process_group.all_gather(value, self.settings.batch_size, 1)
        return {name: value.detach().to("cpu", torch.float32).numpy().copy() for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Restore the optimizer state and the carried hidden state that ``state`` returned; ignore other tensors."""
        self._optimizer.state.clear()
        for name, parameter in self._named_parameters():
            keys = [key for key in _OPTIMIZER_STATE if f"optimizer.{key}.{name}" in tensors]
            if keys:
                state = {key: self._on_device(tensors[f"optimizer.{key}.{name}"]) for key in keys}
                state = {key: value.reshape(() if key == "step" else parameter.shape) for key, value in state.items()}
                if "momentum" in state:  # Muon reads its step count on the CPU, without waiting for the GPU
                    state["step"] = state["step"].cpu()
                self._optimizer.state[parameter] = state
        layers = [self._layer_state(tensors, layer) for layer in range(self.architecture.num_layers)]
        self._state = None if layers[0] is None else tuple(layer for layer in layers if layer is not None)

    def _update(self, batch: Batch, poll: Callable[[], ControlFlags]) -> StepStats:
        # 1. forward and backward on the rows of this process
        inputs, targets = (on_device(part, self.device.name) for part in (batch.inputs, batch.targets))
        has_padding = self.settings.batching == "lines"
        with self.device.autocast():
            loss, state = self.network.loss(inputs, targets, self._state, self._generator, has_padding)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss * (batch.share * batch.weight))
        state = detached(state)
        is_finite = finite_state(state) & torch.isfinite(loss.detach())
        # 2. all-reduce of gradients and statistics
        stats = torch.stack([loss.detach().float() * batch.share, (~is_finite).float()])
        flags = torch.tensor(poll(), dtype=stats.dtype)
        stats = torch.cat([stats, flags.to(stats.device, non_blocking=True)])
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        stats = self._all_reduce(parameters, stats)
        # 3. gradient clipping
        grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, grad_norm)
        # 4. read all statistics at once: the only point at which a step waits for the device
        mean, not_finite, stop, save, norm = torch.cat([stats, grad_norm.reshape(1)]).tolist()
        # 5. optimizer update, unless a statistic is not finite
        applied = not not_finite and math.isfinite(mean) and math.isfinite(norm)
        if applied:
            self._state = state
            self._optimizer.step()
        return StepStats(mean, norm, applied, ControlFlags(stop > 0, save > 0))

    def _all_reduce(self, parameters: Sequence[Parameter], stats: Tensor) -> Tensor:
        """Sum gradients and statistics over all processes in one all-reduce; return the summed statistics.

        Args:
            parameters: Parameters with the gradients of this process' rows, which become those of the whole batch.
            stats: Statistics of this process, (N,).
        """
        if self.process_group.size == 1:
            return stats
        gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad for p in parameters
        ]  # None if no row has targets
        parts = [*(gradient.flatten() for gradient in gradients), stats]
        buffer = torch.cat(parts)
        self.process_group.all_reduce(buffer)
        *sums, stats = torch.split(buffer, [len(part) for part in parts])
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return stats

    def _layer_state(self, tensors: Mapping[str, NDArray[Any]], layer: int) -> Tensor | tuple[Tensor, Tensor] | None:
        if f"state.hidden.{layer}" not in tensors:
            return None
        own = self.process_group.rows(self.settings.batch_size)
        hidden = self._on_device(tensors[f"state.hidden.{layer}"][:, own])
        cell = tensors.get(f"state.cell.{layer}")
        return hidden if cell is None else (hidden, self._on_device(cell[:, own]))

    def _on_device(self, value: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(value)).to(self.device.name)

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.architecture.parameter_shapes():
            yield name, self.network.parameter(name)


def _dropout_seed(seed: int, step: int) -> int:
    """Return the seed of a step's dropout masks, so that a resumed training draws the same masks."""
    return (seed * 0x9E3779B97F4A7C15 + step) % 2**64
