"""Training backends: implementations of the protocol in ``base``, which compute the training steps.

This module chooses the backend and the device. It is the only module that refers to a particular backend, and imports
it only on use. To add a backend, add a package next to ``torch`` and a case to ``make_backend``.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.model.architecture import Architecture
from charloom.planning.settings import Settings
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Choose the training device.

    Args:
        name: One of ``charloom.training.backends.base.DEVICES``.
        precision: "auto", "float32" or "bfloat16". "auto" is bfloat16 if the hardware has fast bfloat16 products.

    Raises:
        SettingsError: If the device is unknown or unavailable.
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
    """Create the backend that trains on a device.

    Args:
        architecture: Architecture of the network.
        weights: Initial value of every parameter.
        settings: Optimizer, dropout, gradient clipping and seed.
        device: Training device and precision.
        process_group: Processes that share every batch.
    """
    from charloom.training.backends.torch.backend import TorchBackend  # loads PyTorch

    return TorchBackend.create(architecture, weights, settings, device, process_group)
