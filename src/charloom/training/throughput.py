"""How fast this machine trains, from steps made with a network that is thrown away."""

import math
import statistics

import numpy as np

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.model.initializers import initial_weights
from charloom.planning.cost import step_operations
from charloom.planning.settings import Settings
from charloom.training.backends import make_backend
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.batches import make_batches
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.steps import TrainingSteps, kept_memory

_SECONDS = 10.0  # of measuring, at most, and at most this share of the time there is
_SHARE = 0.04
_PROBE_SECONDS = 1.0  # the same before sizes are chosen
_PROBE_SHARE = 0.01
_WARM_STEPS = 3  # the first steps allocate memory and are slower


def step_seconds(
    backend: TrainingBackend,
    ids: Ids | LineIds,
    settings: Settings,
    available: float = math.inf,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Return the mean time of a step: of Muon's, one in a few takes longer than the others.

    Args:
        backend: To be thrown away afterwards.
        ids: A training text.
        settings: Of the training.
        available: The seconds there are in all, of which it takes a small share.
        ranks: The processes that train together.
    """
    return _mean(backend, ids, settings, min(_SECONDS, _SHARE * available), ranks)


def machine_speed(
    ids: Ids, alphabet: int, settings: Settings, device: Device, available: float, ranks: ProcessGroup = SINGLE_PROCESS
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
    weights = initial_weights(architecture, 0)
    backend = make_backend(architecture, weights, settings, device, ranks)
    limit = min(_PROBE_SECONDS, _PROBE_SHARE * available)
    return step_operations(settings, alphabet) / _mean(backend, ids, settings, limit, ranks)


def _mean(backend: TrainingBackend, ids: Ids | LineIds, settings: Settings, limit: float, ranks: ProcessGroup) -> float:
    seconds: list[float] = []
    round_of_steps = settings.muon_every if settings.optimizer == "muon" else 1
    batches = make_batches(backend.place_ids(ids), settings, ranks)
    with kept_memory():
        for record in TrainingSteps(backend, batches, settings, 10**6):
            seconds.append(record.seconds)
            counted = len(seconds) - _WARM_STEPS
            if counted > 0 and counted % round_of_steps == 0 and ranks.broadcast(sum(seconds) >= limit):
                break
    mean: float = ranks.broadcast(statistics.fmean(seconds[_WARM_STEPS:]))
    return mean
