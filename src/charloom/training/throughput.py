"""Throughput of training on this machine, measured by steps of a network that is discarded."""

import math
import statistics

import numpy as np

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.model.initializers import initial_weights
from charloom.planning.cost import step_operations
from charloom.planning.settings import Settings
from charloom.training.backends.device import Device
from charloom.training.backends.network import CharNetwork
from charloom.training.backends.updates import train_steps
from charloom.training.batches.batches import make_batches
from charloom.training.batches.device_ids import resident
from charloom.training.distributed.process_group import ALONE, Ranks

# Limits of a measurement: the first number of seconds, but at most this share of the time available.
_STEP_SECONDS, _STEP_SHARE = 10.0, 0.04  # of the training's own steps
_CALIBRATION_SECONDS, _CALIBRATION_SHARE = 1.0, 0.01  # of the steps by which sizes are chosen
_WARM_UP_STEPS = 3  # steps that are not counted: the first ones allocate memory and are slower


def step_seconds(
    network: CharNetwork,
    ids: Ids | LineIds,
    settings: Settings,
    device: Device,
    available: float = math.inf,
    ranks: Ranks = ALONE,
) -> float:
    """Return the mean seconds of a step (the mean, as one in a few of Muon's steps takes longer).

    Args:
        network: Network that is trained by the measurement and then discarded.
        ids: Training text.
        settings: Settings of the training.
        device: Device and precision.
        available: Time budget of the training in seconds, of which a small share is used.
        ranks: Processes that train together.
    """
    return _mean_seconds(network, ids, settings, device, min(_STEP_SECONDS, _STEP_SHARE * available), ranks)


def machine_speed(
    ids: Ids, alphabet: int, settings: Settings, device: Device, available: float, ranks: Ranks = ALONE
) -> float:
    """Return the operations of matrix products per second of this machine, or of all processes that train together.

    Args:
        ids: Training text.
        alphabet: Number of distinct characters, V.
        settings: Settings of the network and the batches that are used for the measurement.
        device: Device and precision.
        available: Time budget of the training in seconds, of which a small share is used.
        ranks: Processes that train together.
    """
    needed = settings.batch_size * settings.seq_length + 1
    if len(ids) < needed:
        ids = np.resize(ids[:], needed)  # a short text is repeated: only the time counts
    architecture = settings.architecture(alphabet)
    network = CharNetwork(architecture, initial_weights(architecture, 0)).to(device.name)
    limit = min(_CALIBRATION_SECONDS, _CALIBRATION_SHARE * available)
    return step_operations(settings, alphabet) / _mean_seconds(network, ids, settings, device, limit, ranks)


def _mean_seconds(
    network: CharNetwork, ids: Ids | LineIds, settings: Settings, device: Device, limit: float, ranks: Ranks
) -> float:
    seconds: list[float] = []
    round_of_steps = settings.muon_every if settings.optimizer == "muon" else 1
    batches = make_batches(resident(ids, device.name), settings, ranks)
    for record in train_steps(network, batches, settings, 10**6, device, ranks):
        seconds.append(record.seconds)
        counted = len(seconds) - _WARM_UP_STEPS
        if counted > 0 and counted % round_of_steps == 0 and ranks.from_first(sum(seconds) >= limit):
            break
    mean: float = ranks.from_first(statistics.fmean(seconds[_WARM_UP_STEPS:]))
    return mean
