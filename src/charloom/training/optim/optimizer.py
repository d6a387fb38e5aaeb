"""Adam, AdamW, Muon beside it, and the learning rate over a training."""

import math

import torch
from torch import Tensor

from charloom.planning.settings import Settings
from charloom.training.backends.network import CharNetwork
from charloom.training.distributed.process_group import ALONE, Ranks
from charloom.training.optim.muon import Muon


def make_optimizer(
    network: CharNetwork, settings: Settings, precision: str = "float32", ranks: Ranks = ALONE
) -> torch.optim.Optimizer:
    """Return the optimizer of the settings; weight decay acts on matrices only, not on biases.

    Args:
        network: Whose parameters it moves.
        settings: Which optimizer, and its numbers.
        precision: "float32" or "bfloat16": of Muon's products; see ``charloom.training.backends.device.Device``.
        ranks: The processes that train together.

    Source: Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    betas, epsilon = (settings.adam_beta1, settings.adam_beta2), settings.adam_epsilon
    fused = parameters[0].device.type != "mps"  # one pass over each parameter; on Apple's GPUs some calls for all
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)
    square = _square_matrices(network) if settings.optimizer == "muon" else []
    rest = [p for p in parameters if all(p is not other for other in square)]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)
    if not square:
        return adamw
    size, decay = network.architecture.hidden_size, settings.weight_decay
    made_in = getattr(torch, precision)
    return Muon(square, size, adamw, settings.muon_momentum, decay, settings.muon_every, made_in, ranks)


def _square_matrices(network: CharNetwork) -> list[Tensor]:
    """Return the matrices from state to gates, and those from one layer to the gates of the next."""
    names = [
        f"layers.{layer}.{name}"
        for layer in range(network.architecture.num_layers)
        for name in ("weight_ih", "weight_hh")
        if layer or name == "weight_hh"
    ]
    return [p for name in names if (p := network.parameter(name)).requires_grad]


def learning_rate_at(step: int, steps: int, settings: Settings) -> float:
    """Return the learning rate of a step.

    Args:
        step: From 0; of the update about to be made.
        steps: Updates in all.
        settings: ``learning_rate``, ``warmup_steps``, ``schedule``.

    Source: warm-up and cosine as in Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    warmup = settings.warmup_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / (steps - warmup)
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def set_step(optimizer: torch.optim.Optimizer, step: int, learning_rate: float, settings: Settings) -> None:
    """Make an optimizer ready for its next update.

    Adam's epsilon is added to the root of the average as it is, before that average is corrected for having
    begun at zero: the last form of section 2 of Kingma & Ba, and TensorFlow's. PyTorch adds it afterwards,
    which is the same with an epsilon that falls to its value as the correction fades.

    Args:
        optimizer: Of ``make_optimizer``.
        step: From 0; of the update about to be made.
        learning_rate: Of this update.
        settings: ``muon_ratio``, ``adam_epsilon``, ``adam_beta2``.
    """
    correction = math.sqrt(1 - settings.adam_beta2 ** (step + 1))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        group["eps"] = settings.adam_epsilon / correction
        if group.get("orthogonal"):
            group["lr"] *= settings.muon_ratio
