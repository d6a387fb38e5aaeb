"""The training loop: an iterator that makes one update at a time, yields a record of it, and prints nothing."""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from charloom.errors import NonFiniteError
from charloom.plan.settings import Settings
from charloom.training.device import Device, flushed_denormals, kept_memory
from charloom.training.network import CharNetwork, NetworkState, detached
from charloom.training.optimizer import learning_rate_at, make_optimizer, set_step
from charloom.training.records import StepRecord
from charloom.training.streams import Batches


def train_steps(
    network: CharNetwork, batches: Batches, settings: Settings, steps: int, device: Device
) -> Iterator[StepRecord]:
    """Train a network, one update for each record taken.

    Args:
        network: Changed in place; it must be on the device.
        batches: What to learn from.
        settings: Optimizer, schedule, gradient norm and seed.
        steps: Updates in all.
        device: Where, and how precisely.

    Yields:
        A record after each update.

    Raises:
        NonFiniteError: If a loss or gradient is NaN or infinite; the update is not made.
    """
    network.train()
    optimizer = make_optimizer(network, settings)
    generator = torch.Generator(device.name)
    state: NetworkState | None = None
    with kept_memory():
        for step in range(steps):
            began = time.perf_counter()
            batch = next(batches)
            inputs, targets = (
                torch.from_numpy(a.astype("int64")).to(device.name) for a in (batch.inputs, batch.targets)
            )
            learning_rate = learning_rate_at(step, steps, settings)
            set_step(optimizer, step, learning_rate, settings)
            generator.manual_seed(_mask_seed(settings.seed, step))
            with flushed_denormals():
                with device.autocast():
                    loss, state = network.loss(inputs, targets, None if batch.resets_state else state, generator)
                state = detached(state)
                grad_norm = _update(network, optimizer, loss, settings.max_grad_norm, step)
            yield StepRecord(
                step=step + 1,
                epoch=batch.epoch + (batch.index + 1) / batches.batches_per_epoch,
                loss=loss.item(),
                grad_norm=grad_norm,
                learning_rate=learning_rate,
                seconds=time.perf_counter() - began,
            )


def _update(
    network: CharNetwork, optimizer: torch.optim.Optimizer, loss: Tensor, max_grad_norm: float, step: int
) -> float:
    """Make one update and return the gradient's L2 norm before it was shortened."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    parameters = [p for p in network.parameters() if p.requires_grad]
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm or math.inf))
    if not (math.isfinite(loss.item()) and math.isfinite(grad_norm)):
        raise NonFiniteError(
            f"At step {step + 1} the loss was {loss.item()} and the gradient's norm {grad_norm}: the training has "
            "diverged. Try a lower learning rate (--set learning_rate=...), or "
            "shorten gradients (--set max_grad_norm=1)."
        )
    optimizer.step()
    return grad_norm


def _mask_seed(seed: int, step: int) -> int:
    """Return the seed of a step's dropout: it depends on nothing that came before, so a resumed run repeats it."""
    return (seed * 0x9E3779B97F4A7C15 + step) % 2**64
