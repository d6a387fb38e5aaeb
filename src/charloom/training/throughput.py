"""Throughput of training on this machine, measured by steps of a network that is discarded."""

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

# Limits of a measurement: the first number of seconds, but at most this share of the time available.
_STEP_SECONDS, _STEP_SHARE = 10.0, 0.04  # of the training's own steps
_CALIBRATION_SECONDS, _CALIBRATION_SHARE = 1.0, 0.01  # of the steps by which sizes are chosen
_WARM_UP_STEPS = 3  # steps that are not counted: the first ones allocate memory and are slower


def step_seconds(
    backend: TrainingBackend,
    ids: Ids | LineIds,
    settings: Settings,
    available: float = math.inf,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Return the mean seconds of a step (the mean, as one in a few of Muon's steps takes longer).

    Args:
        backend: Backend that is trained by the measurement and then discarded.
        ids: Training text.
        settings: Settings of the training.
        available: Time budget of the training in seconds, of which a small share is used.
        process_group: Processes that train together.
    """
    return _mean_seconds(backend, ids, settings, min(_STEP_SECONDS, _STEP_SHARE * available), process_group)


def machine_speed(
    ids: Ids,
    alphabet: int,
    settings: Settings,
    device: Device,
    available: float,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Return the operations of matrix products per second of this machine, or of all processes that train together.

    Args:
        ids: Training text.
        alphabet: Number of distinct characters, V.
        settings: Settings of the network and the batches that are used for the measurement.
        device: Device and precision.
        available: Time budget of the training in seconds, of which a small share is used.
        process_group: Processes that train together.
    """
    needed = settings.batch_size * settings.seq_length + 1
    if len(ids) < needed:
        ids = np.resize(ids[:], needed)  # a short text is repeated: only the time counts
    architecture = settings.architecture(alphabet)
    backend = make_backend(architecture, initial_weights(architecture, 0), settings, device, process_group)
    limit = min(_CALIBRATION_SECONDS, _CALIBRATION_SHARE * available)
    return step_operations(settings, alphabet) / _mean_seconds(backend, ids, settings, limit, process_group)


def _mean_seconds(
    backend: TrainingBackend, ids: Ids | LineIds, settings: Settings, limit: float, process_group: ProcessGroup
) -> float:
    seconds: list[float] = []
    round_of_steps = settings.muon_every if settings.optimizer == "muon" else 1
    batches = make_batches(backend.place_ids(ids), settings, process_group)
    with kept_memory():
        for record in TrainingSteps(backend, batches, settings, 10**6):
            seconds.append(record.seconds)
            counted = len(seconds) - _WARM_UP_STEPS
            if counted > 0 and counted % round_of_steps == 0 and process_group.broadcast(sum(seconds) >= limit):
                break
    mean: float = process_group.broadcast(statistics.fmean(seconds[_WARM_UP_STEPS:]))
    return mean
