"""Evaluate a PyTorch network on a held-out text."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.training.backends.torch.device import flushed_denormals
from charloom.training.backends.torch.device_ids import on_device
from charloom.training.backends.torch.network import CharNetwork, map_state
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.evaluate import EvaluationStopped, evaluation_windows


@torch.no_grad()
@flushed_denormals()
def evaluate(
    network: CharNetwork,
    ids: Ids | RecordIds,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float:
    """Compute the mean loss in nats per character, in float32 and without dropout.

    The mean is over every character except the first. For lines, it is over every character and every line feed.

    Args:
        network: The network; its training mode is restored afterwards.
        ids: The held-out text, (N,), N >= 2; or lines.
        device: Name of the network's device.
        stop: Called before every window; once it returns true, the evaluation ends without a result.
        process_group: Processes that share the evaluation; all of them get the result.

    Raises:
        EvaluationStopped: If ``stop`` returned true in any process.
    """
    was_training = network.training
    network.eval()
    windows = evaluation_windows(ids, network.architecture.vocabulary_size, process_group)
    predictions, stopped = 0, False
    losses, state = [], None  # losses stay on the device until the end, so that no window waits for the device
    try:
        for window in windows:
            stopped = stop()
            if stopped:
                break
            inputs, targets = (on_device(part, device) for part in (window.inputs, window.targets))
            state = None if window.resets_state else state
            if window.is_warm_up:
                _, state = network.read(inputs, state)
                if window.resets_first_row:
                    state = map_state(lambda part: part.index_fill(1, part.new_zeros(1, dtype=torch.int64), 0.0), state)
                continue
            logits, state = network(inputs, state)
            losses.append(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"))
            predictions += int((window.targets >= 0).sum())
    finally:
        network.train(was_training)
    # sum over all processes
    loss_sum = math.fsum(torch.stack(losses).tolist()) if losses else 0.0
    totals = torch.tensor([loss_sum, predictions, stopped], dtype=torch.float64)
    process_group.all_reduce(totals)
    if totals[2]:
        raise EvaluationStopped
    return float(totals[0] / totals[1])
