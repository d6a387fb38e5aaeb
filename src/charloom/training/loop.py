"""The training loop: an iterator that makes one update at a time, yields a record of it, and prints nothing."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.plan.settings import Settings
from charloom.training.device import Device, flushed_denormals, kept_memory
from charloom.training.network import CharNetwork, NetworkState, chosen_state, detached, finite_state
from charloom.training.optimizer import learning_rate_at, make_optimizer, set_step
from charloom.training.records import StepRecord
from charloom.training.streams import Batches

_OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum", "direction")  # Adam's, and Muon's


def train_steps(
    network: CharNetwork, batches: Batches, settings: Settings, steps: int, device: Device
) -> Iterator[StepRecord]:
    """Train a network, one update for each record taken: ``Updates`` says what the arguments are.

    Yields:
        A record after each update.
    """
    updates = Updates(network, batches, settings, steps, device)
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

    Attributes:
        step: Updates so far, those left out among them.
        rate_factor: What the schedule's learning rate is multiplied with.
    """

    def __init__(self, network: CharNetwork, batches: Batches, settings: Settings, steps: int, device: Device) -> None:
        self.network = network
        self.batches = batches
        self.settings = settings
        self.steps = steps
        self.device = device
        self.step = 0
        self.rate_factor = 1.0
        self._state: NetworkState | None = None
        self._optimizer = make_optimizer(network, settings)
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
            loss, grad_norm, finite = self._update(batch.inputs, batch.targets)
        self.step += 1
        return StepRecord(
            step=self.step,
            epoch=batch.epoch + (batch.index + 1) / self.batches.batches_per_epoch,
            loss=loss if finite else None,
            grad_norm=grad_norm if finite else None,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - began,
        )

    def _update(self, inputs: NDArray[Any], targets: NDArray[Any]) -> tuple[float, float, bool]:
        """Make one update; return the loss, the gradient's L2 norm as it was, and whether all was finite."""
        ids, wanted = (torch.from_numpy(a.astype("int64")).to(self.device.name) for a in (inputs, targets))
        with self.device.autocast():
            loss, after = self.network.loss(ids, wanted, self._state, self._generator)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, grad_norm)
        after = detached(after)
        bad = ~(torch.isfinite(loss.detach()) & torch.isfinite(grad_norm) & finite_state(after))
        self._state = chosen_state(bad, self._state, after)
        self._step_optimizer(bad)
        return loss.item(), float(grad_norm), not bad.item()

    def _step_optimizer(self, bad: Tensor) -> None:
        """Change the weights unless the flag is set; a fused optimizer looks at it where it is, on the device."""
        if self._optimizer.defaults["fused"]:
            self._optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # its own name for it
        elif bad.item():
            return
        self._optimizer.step()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what the next update depends on, besides the weights, ``step`` and the batches' position."""
        found: dict[str, Tensor] = {}
        for name, parameter in self._named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{key}.{name}"] = value
        for layer, state in enumerate(self._state or ()):
            for part, value in zip(("hidden", "cell"), state if isinstance(state, tuple) else (state,), strict=False):
                found[f"state.{part}.{layer}"] = value
        return {name: value.detach().to("cpu", torch.float32).numpy().copy() for name, value in found.items()}

    def restore(self, tensors: Mapping[str, NDArray[Any]], step: int) -> None:
        """Go on after a step, with what ``tensors`` returned then; tensors of other names are not looked at."""
        self.step = step
        self._optimizer.state.clear()
        for name, parameter in self._named_parameters():
            keys = [key for key in _OPTIMIZER_STATE if f"optimizer.{key}.{name}" in tensors]
            if keys:
                self._optimizer.state[parameter] = {
                    key: self._on_device(tensors[f"optimizer.{key}.{name}"]).reshape(
                        () if key == "step" else parameter.shape
                    )
                    for key in keys
                }
        layers = [self._layer_state(tensors, layer) for layer in range(self.network.architecture.num_layers)]
        self._state = None if layers[0] is None else tuple(layer for layer in layers if layer is not None)

    def _layer_state(self, tensors: Mapping[str, NDArray[Any]], layer: int) -> Tensor | tuple[Tensor, Tensor] | None:
        if f"state.hidden.{layer}" not in tensors:
            return None
        hidden = self._on_device(tensors[f"state.hidden.{layer}"])
        cell = tensors.get(f"state.cell.{layer}")
        return hidden if cell is None else (hidden, self._on_device(cell))

    def _on_device(self, value: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(value)).to(self.device.name)

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.network.architecture.parameter_shapes():
            yield name, self.network.parameter(name)


def _mask_seed(seed: int, step: int) -> int:
    """Return the seed of a step's dropout: it depends on nothing that came before, so a resumed run repeats it."""
    return (seed * 0x9E3779B97F4A7C15 + step) % 2**64
