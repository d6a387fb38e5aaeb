"""The training loop: an iterator that makes one update at a time, yields a record of it, and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from charloom.planning.settings import Settings
from charloom.training.backends.device import Device, flushed_denormals, kept_memory
from charloom.training.backends.network import CharNetwork, NetworkState, detached, finite_state
from charloom.training.batches.batches import Batch, Batches
from charloom.training.batches.device_ids import on_device
from charloom.training.distributed.process_group import ALONE, Ranks
from charloom.training.events import StepRecord
from charloom.training.optim.optimizer import learning_rate_at, make_optimizer, set_step

_OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum", "direction")  # Adam's, and Muon's


def train_steps(
    network: CharNetwork, batches: Batches, settings: Settings, steps: int, device: Device, ranks: Ranks = ALONE
) -> Iterator[StepRecord]:
    """Train a network, one update for each record taken: ``Updates`` says what the arguments are.

    Yields:
        A record after each update.
    """
    updates = Updates(network, batches, settings, steps, device, ranks)
    with kept_memory():
        yield from updates


class Updates:
    """An iterator over the updates of a training; all that the next one depends on can be read and set.

    An update whose loss, gradient or state is NaN or infinite is left out: neither the weights, nor the optimizer, nor
    the carried state take anything from it.

    Args:
        network: Changed in place; it must be on the device.
        batches: What to learn from.
        settings: Optimizer, schedule, gradient norm and seed.
        steps: Updates in all.
        device: Where, and how precisely.
        ranks: The processes that share every batch; ``batches`` gives this one its rows.
        ask: Asked once in every update: whether to stop, and whether to save.

    Attributes:
        step: Updates so far, those left out among them.
        rate_factor: What the schedule's learning rate is multiplied with.
        asked: What ``ask`` said at the last update, in any of the processes.
    """

    def __init__(
        self,
        network: CharNetwork,
        batches: Batches,
        settings: Settings,
        steps: int,
        device: Device,
        ranks: Ranks = ALONE,
        ask: Callable[[], tuple[bool, bool]] = lambda: (False, False),
    ) -> None:
        self.network = network
        self.batches = batches
        self.settings = settings
        self.steps = steps
        self.device = device
        self.step = 0
        self.rate_factor = 1.0
        self.ranks = ranks
        self.asked = False, False
        self._ask = ask
        network.rows = None if ranks.size == 1 else (settings.batch_size, ranks.rows(settings.batch_size))
        self._state: NetworkState | None = None
        self._optimizer = make_optimizer(network, settings, device.precision, ranks)
        self._generator = torch.Generator(device.name)

    def __iter__(self) -> Iterator[StepRecord]:
        return self

    def __next__(self) -> StepRecord:
        if self.step >= self.steps:
            raise StopIteration
        began = time.perf_counter()
        self.network.train()
        batch = next(self.batches)
        learning_rate = self.rate_factor * learning_rate_at(self.step, self.steps, self.settings)
        set_step(self._optimizer, self.step, learning_rate, self.settings)
        self._generator.manual_seed(_mask_seed(self.settings.seed, self.step))
        if batch.resets_state:
            self._state = None
        with flushed_denormals():
            loss, grad_norm, finite = self._update(batch)
        self.step += 1
        return StepRecord(
            step=self.step,
            epoch=batch.epoch + (batch.index + 1) / self.batches.batches_per_epoch,
            loss=loss if finite else None,
            grad_norm=grad_norm if finite else None,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - began,
        )

    def _update(self, batch: Batch) -> tuple[float, float, bool]:
        """Make one update; return the loss, the gradient's L2 norm as it was, and whether all was finite."""
        ids, wanted = (on_device(part, self.device.name) for part in (batch.inputs, batch.targets))
        gaps = self.settings.batching == "lines"
        with self.device.autocast():
            loss, after = self.network.loss(ids, wanted, self._state, self._generator, gaps)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss * batch.share)
        after = detached(after)
        finite = finite_state(after) & torch.isfinite(loss.detach())
        told = torch.stack([loss.detach().float() * batch.share, (~finite).float()])
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        told = self._added_up(parameters, told)
        grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, grad_norm)
        # the one place where a step waits for a device: everything else that it needs to know stays there
        mean, bad, stop, save, norm = torch.cat([told, grad_norm.reshape(1)]).tolist()
        self.asked = stop > 0, save > 0
        is_finite = not bad and math.isfinite(mean) and math.isfinite(norm)
        if is_finite:
            self._state = after
            self._optimizer.step()
        return mean, norm, is_finite

    def _added_up(self, parameters: Sequence[Parameter], told: Tensor) -> Tensor:
        """Give parameters the gradient of the whole batch; return what is told, and what is asked for, of all.

        Args:
            parameters: With the gradient of this process' rows.
            told: Of this process, (2,).
        """
        asked = torch.tensor(self._ask(), dtype=told.dtype)
        told = torch.cat([told, asked.to(told.device, non_blocking=True)])
        if self.ranks.size == 1:
            return told
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]  # None: no row to learn of
        parts = [*(gradient.flatten() for gradient in gradients), told]
        both = torch.cat(parts)
        self.ranks.add_up(both)
        *added, told = torch.split(both, [len(part) for part in parts])
        for parameter, whole in zip(parameters, added, strict=True):
            parameter.grad = whole.view_as(parameter)
        return told

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what the next update depends on, besides the weights, ``step`` and the batches' position.

        The state is that of the whole batch: all processes have to ask for it together.
        """
        found: dict[str, Tensor] = {}
        for name, parameter in self._named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{key}.{name}"] = value
        for layer, state in enumerate(self._state or ()):
            for part, value in zip(("hidden", "cell"), state if isinstance(state, tuple) else (state,), strict=False):
                found[f"state.{part}.{layer}"] = self.ranks.whole(value, self.settings.batch_size, 1)
        return {name: value.detach().to("cpu", torch.float32).numpy().copy() for name, value in found.items()}

    def restore(self, tensors: Mapping[str, NDArray[Any]], step: int) -> None:
        """Go on after a step, with what ``tensors`` returned then; tensors of other names are not looked at."""
        self.step = step
        self._optimizer.state.clear()
        for name, parameter in self._named_parameters():
            keys = [key for key in _OPTIMIZER_STATE if f"optimizer.{key}.{name}" in tensors]
            if keys:
                state = {key: self._on_device(tensors[f"optimizer.{key}.{name}"]) for key in keys}
                state = {key: value.reshape(() if key == "step" else parameter.shape) for key, value in state.items()}
                if "momentum" in state:  # Muon counts on the processor: to look at a number on a GPU is to wait for it
                    state["step"] = state["step"].cpu()
                self._optimizer.state[parameter] = state
        layers = [self._layer_state(tensors, layer) for layer in range(self.network.architecture.num_layers)]
        self._state = None if layers[0] is None else tuple(layer for layer in layers if layer is not None)

    def _layer_state(self, tensors: Mapping[str, NDArray[Any]], layer: int) -> Tensor | tuple[Tensor, Tensor] | None:
        if f"state.hidden.{layer}" not in tensors:
            return None
        own = self.ranks.rows(self.settings.batch_size)
        hidden = self._on_device(tensors[f"state.hidden.{layer}"][:, own])
        cell = tensors.get(f"state.cell.{layer}")
        return hidden if cell is None else (hidden, self._on_device(cell[:, own]))

    def _on_device(self, value: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(value)).to(self.device.name)

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.network.architecture.parameter_shapes():
            yield name, self.network.parameter(name)


def _mask_seed(seed: int, step: int) -> int:
    """Return the seed of a step's dropout: it depends on nothing that came before, so a resumed run repeats it."""
    return (seed * 0x9E3779B97F4A7C15 + step) % 2**64
