"""Training backends, which compute training steps behind the protocol in ``base``.

This module chooses the backend and its device, and is the only one that knows which backends there are. Importing it
loads none of them. A further backend is a module beside ``torch`` and a case in ``make_backend``.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture
from charloom.planning.settings import Settings
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Return the device to train on.

    Args:
        name: One of ``charloom.training.backends.base.DEVICES``.
        precision: "auto", "float32" or "bfloat16"; auto takes bfloat16 where the hardware multiplies it faster.

    Raises:
        SettingsError: If this machine has no such device.
    """
    from charloom.training.backends.torch import device  # loads PyTorch

    return device.choose_device(name, precision)


def make_backend(
    architecture: Architecture,
    weights: Mapping[str, NDArray[np.float32]],
    settings: Settings,
    device: Device,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingBackend:
    """Return the backend that trains on a device.

    Args:
        architecture: The network's sizes.
        weights: Every parameter before the first step.
        settings: Optimizer, dropout, gradient clipping and seed.
        device: Where to train.
        process_group: The processes that share every batch.
    """
    from charloom.training.backends.torch.backend import TorchBackend  # loads PyTorch

    return TorchBackend.create(architecture, weights, settings, device, process_group)
