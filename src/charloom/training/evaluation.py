"""The loss on a held-out text, as one reader sees it who reads it from beginning to end.

Reading a text character by character as one stream is slow, so it is cut into stretches read in parallel.
So that this does not change the figure, each stretch but the first is preceded by the characters before it,
which bring the state to where it would be and are not counted.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charloom.training.device import flushed_denormals
from charloom.training.network import CharNetwork

_STRETCHES = 64
_LEAD = 256  # characters read before a stretch: after these, how the state began does not show in the 4th decimal
_WINDOW = 128  # characters whose logits are held at once


@torch.no_grad()
@flushed_denormals()
def evaluate(network: CharNetwork, ids: NDArray[np.unsignedinteger], device: str = "cpu") -> float:
    """Return the mean loss of every character but the first, in nats, in float32 and without dropout.

    Args:
        network: Left in the mode it was in.
        ids: The held-out text, (N,), N >= 2.
        device: Where the network is.
    """
    was_training = network.training
    network.eval()
    inputs, targets, counted = (torch.from_numpy(a).to(device) for a in _stretches(ids))
    total, state = 0.0, None
    for start in range(0, inputs.shape[1], _WINDOW):
        window = slice(start, start + _WINDOW)
        logits, state = network(inputs[:, window], state)
        losses = F.cross_entropy(logits.transpose(1, 2), targets[:, window], reduction="none")
        total += float((losses * counted[:, window]).sum(dtype=torch.float64))
    network.train(was_training)
    return total / (len(ids) - 1)


def _stretches(
    ids: NDArray[np.unsignedinteger],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return inputs, targets and which of them count, each (S, lead + length).

    Row s counts the predictions s*length to (s+1)*length - 1. The first row has nothing before it: it
    starts at the text's beginning from the zero state, and rows that would begin before it do the same.
    """
    predictions = len(ids) - 1
    rows = min(_STRETCHES, -(-predictions // _LEAD))
    length = -(-predictions // rows)
    first = np.maximum(np.arange(rows) * length - _LEAD, 0)[:, None]
    places = first + np.arange(_LEAD + length)
    begin = np.arange(rows)[:, None] * length
    counted = (places >= begin) & (places < np.minimum(begin + length, predictions))
    places = np.minimum(places, predictions - 1)
    return ids[places].astype(np.int64), ids[places + 1].astype(np.int64), counted
