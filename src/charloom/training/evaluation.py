"""The loss on a held-out text, as one reader sees it who reads it from beginning to end.

Reading a text character by character as one stream is slow, so it is cut into stretches read in parallel.
So that this does not change the figure, each stretch but the first is preceded by the characters before it,
which bring the state to where it would be and are not counted.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from charloom.training.device import flushed_denormals
from charloom.training.network import CharNetwork, NetworkState, map_state

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
    ids: NDArray[np.unsignedinteger],
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Return the mean loss of every character but the first, in nats, in float32 and without dropout.

    Args:
        network: Left in the mode it was in.
        ids: The held-out text, (N,), N >= 2.
        device: Where the network is.
        stop: Asked often; once it returns true, there is no result.

    Raises:
        EvaluationStopped: If it was stopped.
    """
    was_training = network.training
    network.eval()
    predictions = len(ids) - 1
    rows = max(1, min(_STRETCHES, predictions // _LEAD))
    length = -(-predictions // rows)
    text = torch.from_numpy(ids.astype(np.int64)).to(device)
    starts = torch.arange(rows, device=device) * length
    state = _lead_in(network, text, starts)
    total = 0.0
    window = max(1, min(_LONGEST_WINDOW, _LOGITS_AT_ONCE // (rows * network.architecture.vocabulary_size)))
    for first in range(0, length, window):
        if stop():
            network.train(was_training)
            raise EvaluationStopped
        places = starts[:, None] + torch.arange(first, min(first + window, length), device=device)
        counted = places < predictions  # the last stretch may be shorter than the others
        places = places.clamp(max=predictions - 1)
        logits, state = network(text[places], state)
        losses = F.cross_entropy(logits.flatten(0, 1), text[places + 1].flatten(), reduction="none")
        total += float(losses[counted.flatten()].sum())
    network.train(was_training)
    return total / predictions


def _lead_in(network: CharNetwork, text: Tensor, starts: Tensor) -> NetworkState | None:
    """Return the state at the start of each stretch; the first starts from the zero state, as the text does."""
    if len(starts) == 1:
        return None
    before = (starts[:, None] + torch.arange(-_LEAD, 0, device=text.device)).clamp(min=0)
    _, state = network.read(text[before])
    return map_state(lambda part: part.index_fill(1, starts[:1], 0.0), state)
