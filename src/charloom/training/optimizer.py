"""Adam, AdamW and the learning rate over a training."""

import math

import torch

from charloom.plan.settings import Settings
from charloom.training.network import CharNetwork


def make_optimizer(network: CharNetwork, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer of the settings; weight decay acts on matrices only, not on biases.

    Source: Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    betas, epsilon = (settings.adam_beta1, settings.adam_beta2), settings.adam_epsilon
    fused = parameters[0].device.type != "mps"  # one pass over each parameter; on Apple's GPUs some calls for all
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)


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
        settings: ``adam_epsilon``, ``adam_beta2``.
    """
    correction = math.sqrt(1 - settings.adam_beta2 ** (step + 1))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        group["eps"] = settings.adam_epsilon / correction
