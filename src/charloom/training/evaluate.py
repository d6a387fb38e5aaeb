"""The loss on a held-out text, as one reader sees it who reads it from beginning to end.

Reading a text character by character as one stream is slow, so it is cut into stretches read in parallel.
So that this does not change the figure, each stretch but the first is preceded by the characters before it,
which bring the state to where it would be and are not counted. Several processes read some of the stretches each.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.training.backends.device import flushed_denormals
from charloom.training.backends.network import CharNetwork, NetworkState, map_state
from charloom.training.batches.device_ids import on_device
from charloom.training.distributed.process_group import ALONE, Ranks

_STRETCHES = 64
_LEAD = 256  # characters read before a stretch: after these, how the state began does not show in the 4th decimal
_LONGEST_WINDOW = 128
_LOGITS_AT_ONCE = 1 << 22  # numbers: what is larger than the caches is slower, not faster


class EvaluationStopped(Exception):
    """An evaluation was stopped before it had a result."""


@torch.no_grad()
@flushed_denormals()
def evaluate(
    network: CharNetwork,
    ids: Ids | LineIds,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> float:
    """Return the mean loss of every character but the first, in nats, in float32 and without dropout.

    Of lines, every character counts, and the line feed that ends each.

    Args:
        network: Left in the mode it was in.
        ids: The held-out text, (N,), N >= 2; or lines.
        device: Where the network is.
        stop: Asked often; once it returns true, there is no result.
        ranks: The processes that share the work; all of them get the result.

    Raises:
        EvaluationStopped: If it was stopped.
    """
    was_training = network.training
    network.eval()
    windows = _lines(ids, ranks) if isinstance(ids, LineIds) else _stretches(ids, network, ranks)
    predictions, stopped = 0, False
    losses, state = [], None  # they stay on the device until the end: nobody waits for one of them
    try:
        for window in windows:
            stopped = stop()
            if stopped:
                break
            read, wanted = (on_device(part, device) for part in (window.inputs, window.targets))
            state = None if window.begins else state
            if window.is_lead:
                _, state = network.read(read)
                state = _begun_anew(state) if window.holds_first else state
                continue
            logits, state = network(read, state)
            losses.append(F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="sum"))
            predictions += int((window.targets >= 0).sum())
    finally:
        network.train(was_training)
    total = math.fsum(torch.stack(losses).tolist()) if losses else 0.0
    found = torch.tensor([total, predictions, stopped], dtype=torch.float64)
    ranks.add_up(found)
    if found[2]:
        raise EvaluationStopped
    return float(found[0] / found[1])


def _begun_anew(state: NetworkState) -> NetworkState:
    """Return the state with that of the first stretch at zero, as at the beginning of the text."""
    return map_state(lambda part: part.index_fill(1, part.new_zeros(1, dtype=torch.int64), 0.0), state)


@dataclass(frozen=True)
class _Window:
    """What is read at once: inputs and targets (B, T), of which those below zero do not count.

    ``begins`` says that the state before it is zero; ``is_lead`` that it only brings the state to where it would be,
    and ``holds_first`` that its first row is that of the text's beginning.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    begins: bool = False
    is_lead: bool = False
    holds_first: bool = False


def _stretches(ids: Ids, network: CharNetwork, ranks: Ranks) -> Iterator[_Window]:
    """Yield a text as stretches that are read in parallel; the first starts from the zero state, as the text does.

    Of these a process gets its own.
    """
    predictions = len(ids) - 1
    rows = max(1, min(_STRETCHES, predictions // _LEAD))
    length = -(-predictions // rows)
    own = ranks.rows(rows)
    starts = np.arange(rows)[own, None] * length
    if not len(starts):
        return
    if rows > 1:
        before = np.maximum(starts + np.arange(-_LEAD, 0), 0)
        yield _Window(ids[before], ids[before], begins=True, is_lead=True, holds_first=own.start == 0)
    window = max(1, min(_LONGEST_WINDOW, _LOGITS_AT_ONCE // (rows * network.architecture.vocabulary_size)))
    for first in range(0, length, window):
        places = starts + np.arange(first, min(first + window, length))
        inside = places < predictions  # the last stretch may be shorter than the others
        places = np.minimum(places, predictions - 1)
        targets = np.where(inside, ids[places + 1].astype(np.int64), -1)
        yield _Window(ids[places], targets, begins=rows == 1 and first == 0)


def _lines(lines: LineIds, ranks: Ranks) -> Iterator[_Window]:
    """Yield lines side by side, those of like length together; a process gets every so many-th of them."""
    order = np.argsort(lines.lengths, kind="stable")[ranks.rank :: ranks.size]
    for start in range(0, len(order), _STRETCHES):
        inputs, targets = lines.windows(order[start : start + _STRETCHES], _STRETCHES)
        for first in range(0, inputs.shape[1], _LONGEST_WINDOW):
            part = slice(first, first + _LONGEST_WINDOW)
            yield _Window(inputs[:, part], targets[:, part], begins=first == 0)
