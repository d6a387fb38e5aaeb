"""How fast this machine trains, from steps made with a network that is thrown away."""

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

_SECONDS = 10.0  # of measuring, at most, and at most this share of the time there is
_SHARE = 0.04
_PROBE_SECONDS = 1.0  # the same before sizes are chosen
_PROBE_SHARE = 0.01
_WARM_STEPS = 3  # the first steps allocate memory and are slower


def step_seconds(
    network: CharNetwork,
    ids: Ids | LineIds,
    settings: Settings,
    device: Device,
    available: float = math.inf,
    ranks: Ranks = ALONE,
) -> float:
    """Return the mean time of a step: of Muon's, one in a few takes longer than the others.

    Args:
        network: To be thrown away afterwards.
        ids: A training text.
        settings: Of the training.
        device: Where.
        available: The seconds there are in all, of which it takes a small share.
        ranks: The processes that train together.
    """
    return _mean(network, ids, settings, device, min(_SECONDS, _SHARE * available), ranks)


def machine_speed(
    ids: Ids, alphabet: int, settings: Settings, device: Device, available: float, ranks: Ranks = ALONE
) -> float:
    """Return how many operations of matrix products this machine, or all that train together, do in a second.

    Args:
        ids: A training text.
        alphabet: V.
        settings: Of the network and the batches by which it is measured.
        device: Where.
        available: The seconds there are in all, of which it takes a small share.
        ranks: The processes that train together.
    """
    needed = settings.batch_size * settings.seq_length + 1
    if len(ids) < needed:
        ids = np.resize(ids[:], needed)  # a short text again and again: only the time counts
    architecture = settings.architecture(alphabet)
    network = CharNetwork(architecture, initial_weights(architecture, 0)).to(device.name)
    limit = min(_PROBE_SECONDS, _PROBE_SHARE * available)
    return step_operations(settings, alphabet) / _mean(network, ids, settings, device, limit, ranks)


def _mean(
    network: CharNetwork, ids: Ids | LineIds, settings: Settings, device: Device, limit: float, ranks: Ranks
) -> float:
    seconds: list[float] = []
    round_of_steps = settings.muon_every if settings.optimizer == "muon" else 1
    batches = make_batches(resident(ids, device.name), settings, ranks)
    for record in train_steps(network, batches, settings, 10**6, device, ranks):
        seconds.append(record.seconds)
        counted = len(seconds) - _WARM_STEPS
        if counted > 0 and counted % round_of_steps == 0 and ranks.from_first(sum(seconds) >= limit):
            break
    mean: float = ranks.from_first(statistics.fmean(seconds[_WARM_STEPS:]))
    return mean
