"""The optimizers in PyTorch: Adam, AdamW, and Muon for square matrices with AdamW for all other parameters."""

import math

import torch
from torch import Tensor

from charloom.planning.settings import Settings
from charloom.training.backends.torch.muon import Muon
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def make_optimizer(
    network: CharNetwork, settings: Settings, precision: str = "float32", process_group: ProcessGroup = SINGLE_PROCESS
) -> torch.optim.Optimizer:
    """Create the optimizer. Weight decay applies to matrices but not to biases.

    Args:
        network: Network whose parameters are updated.
        settings: Name and hyperparameters of the optimizer.
        precision: Precision of Muon's matrix products, "float32" or "bfloat16".
        process_group: Processes that train together.

    Source: Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    betas, epsilon = (settings.adam_beta1, settings.adam_beta2), settings.adam_epsilon
    fused = parameters[0].device.type != "mps"  # fused kernels, except on Apple GPUs
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)
    square = _square_matrices(network) if settings.optimizer == "muon" else []
    rest = [p for p in parameters if all(p is not matrix for matrix in square)]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, settings.learning_rate, betas, epsilon, fused=fused, foreach=not fused)
    if not square:
        return adamw
    size, decay = network.architecture.hidden_size, settings.weight_decay
    muon_precision = getattr(torch, precision)
    return Muon(square, size, adamw, settings.muon_momentum, decay, settings.muon_every, muon_precision, process_group)


def _square_matrices(network: CharNetwork) -> list[Tensor]:
    """Return the matrices of H x H per gate: every ``weight_hh``, and ``weight_ih`` of all layers but the first."""
    names = [
        f"layers.{layer}.{name}"
        for layer in range(network.architecture.num_layers)
        for name in ("weight_ih", "weight_hh")
        if layer or name == "weight_hh"
    ]
    return [p for name in names if (p := network.parameter(name)).requires_grad]


def set_step(optimizer: torch.optim.Optimizer, step: int, learning_rate: float, settings: Settings) -> None:
    """Set an optimizer's learning rate and epsilon for the next step.

    ``adam_epsilon`` is added to the square root of the second moment before bias correction, as in the last form of
    section 2 of Kingma & Ba and in TensorFlow. PyTorch adds epsilon after bias correction; dividing epsilon by the
    correction makes both forms equal.

    Args:
        optimizer: Result of ``make_optimizer``.
        step: Number of steps before this one.
        learning_rate: Learning rate of this step.
        settings: ``muon_ratio``, ``adam_epsilon``, ``adam_beta2``.
    """
    correction = math.sqrt(1 - settings.adam_beta2 ** (step + 1))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        group["eps"] = settings.adam_epsilon / correction
        if group.get("orthogonal"):
            group["lr"] *= settings.muon_ratio
