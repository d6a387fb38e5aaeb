"""Throughput of training on this machine, measured with a network that is then discarded."""

import math
import statistics

import numpy as np

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.model.initializers import initial_weights
from charloom.planning.cost import step_operations
from charloom.planning.settings import Settings
from charloom.training.backends import make_backend
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.batches import make_batches
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.steps import TrainingSteps, kept_memory

# Limits of a measurement: seconds, and share of the training's time budget. The lower one applies.
_STEP_SECONDS, _STEP_SHARE = 10.0, 0.04  # to measure the steps of the training itself
_CALIBRATION_SECONDS, _CALIBRATION_SHARE = 1.0, 0.01  # to measure the speed from which the size is chosen
_WARM_UP_STEPS = 3  # first steps, not counted because they allocate memory


def step_seconds(
    backend: TrainingBackend,
    ids: Ids | RecordIds,
    settings: Settings,
    available: float = math.inf,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Measure the mean seconds of a step. A median would ignore Muon's few expensive steps.

    Args:
        backend: Backend to train for the measurement; discard it afterwards.
        ids: Training text.
        settings: Settings of the training.
        available: Time budget of the training in seconds; the measurement uses a small share of it.
        process_group: Processes that train together.
    """
    return _mean_seconds(backend, ids, settings, min(_STEP_SECONDS, _STEP_SHARE * available), process_group)


def machine_speed(
    ids: Ids,
    vocabulary_size: int,
    settings: Settings,
    device: Device,
    available: float,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Measure the training speed in operations of matrix products per second, summed over all processes.

    Args:
        ids: Training text.
        vocabulary_size: Number of distinct characters, V.
        settings: Settings of the network and the batches for the measurement.
        device: Device and precision.
        available: Time budget of the training in seconds; the measurement uses a small share of it.
        process_group: Processes that train together.
    """
    needed = settings.batch_size * settings.seq_length + 1
    if len(ids) < needed:
        ids = np.resize(ids[:], needed)  # repeat a short text: only the duration matters
    architecture = settings.architecture(vocabulary_size)
    backend = make_backend(architecture, initial_weights(architecture, 0), settings, device, process_group)
    limit = min(_CALIBRATION_SECONDS, _CALIBRATION_SHARE * available)
    return step_operations(settings, vocabulary_size) / _mean_seconds(backend, ids, settings, limit, process_group)


def _mean_seconds(
    backend: TrainingBackend, ids: Ids | RecordIds, settings: Settings, limit: float, process_group: ProcessGroup
) -> float:
    seconds: list[float] = []
    cycle = settings.muon_every if settings.optimizer == "muon" else 1  # steps, one of which orthogonalizes
    batches = make_batches(backend.place_ids(ids), settings, process_group)
    with kept_memory():
        for record in TrainingSteps(backend, batches, settings, 10**6):
            seconds.append(record.seconds)
            counted = len(seconds) - _WARM_UP_STEPS
            if counted > 0 and counted % cycle == 0 and process_group.broadcast(sum(seconds) >= limit):
                break
    mean: float = process_group.broadcast(statistics.fmean(seconds[_WARM_UP_STEPS:]))
    return mean
