"""All recurrent layers over a window by the compiled module.

Shapes: T steps, B streams, E embedding, H units, G gates, V characters; inside, steps come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.training.backends.native_window import Recurrence

LayerState = Tensor | tuple[Tensor, Tensor]

_SMALL_ALPHABET = 512  # characters: to find out which occur costs more than to multiply them all


@dataclass(frozen=True)
class LayerWeights:
    """One layer's parameters, as PyTorch has them: ``weight_ih`` (G*H, width) and so on; an LSTM has no ``bias_hh``."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor | None


def read_window(
    recurrences: Sequence[Recurrence],
    embedding: Tensor,
    layers: Sequence[LayerWeights],
    ids: Tensor,
    state: Sequence[LayerState] | None,
    masks: Sequence[Tensor | None],
) -> tuple[Tensor, tuple[LayerState, ...]]:
    """Return the last layer's hidden vectors, (B, T, H) with steps first in memory, and the state after the last.

    Args:
        recurrences: One for each layer.
        embedding: (V, E).
        layers: Parameters.
        ids: int64 (B, T).
        state: Before the first step: (1, B, H) for each layer, a pair of these in an LSTM; zeros if None.
        masks: What the embedding (B, E), and each layer's hidden vectors (B, H), are multiplied with; None: nothing.
    """
    steps_first = ids.t().contiguous()
    x, index = _first_input(embedding, steps_first, masks[0])
    after: list[LayerState] = []
    for i, (recurrence, layer) in enumerate(zip(recurrences, layers, strict=True)):
        rows, bias = _rows(layer, x)
        if layer.weight_hh.shape[1] % 2:
            rows = rows.float()  # bfloat16 is multiplied in pairs
        before = _vectors(layer, len(ids), None if state is None else state[i])
        x, vectors = recurrence.window(rows, index, before, layer.weight_hh, bias, masks[i + 1])
        after.append(vectors[0][None] if len(vectors) == 1 else (vectors[0][None], vectors[1][None]))
        index = None
    return x.transpose(0, 1), tuple(after)


def _first_input(embedding: Tensor, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return vectors for the first layer, and which of them each place (T, B) has; None: each place has its own.

    A character always says the same, so each is multiplied once, and the rest is looking up; of a large alphabet those
    that occur. Under a mask it says something else in each stream.
    """
    if mask is not None:
        return F.embedding(ids, embedding) * mask, None
    if len(embedding) <= _SMALL_ALPHABET:
        return embedding, ids
    occurring, index = torch.unique(ids, return_inverse=True)
    return F.embedding(occurring, embedding), index


def _rows(layer: LayerWeights, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return what the input says to the gates, (R, G*H), and the bias that only a GRU's n has."""
    bias, own = layer.bias_ih, None
    if layer.bias_hh is not None:
        split = 2 * layer.weight_hh.shape[1]
        bias = torch.cat((bias[:split] + layer.bias_hh[:split], bias[split:]))
        own = layer.bias_hh[split:]
    return F.linear(x.flatten(0, -2), layer.weight_ih, bias), own


def _vectors(layer: LayerWeights, streams: int, state: LayerState | None) -> tuple[Tensor, ...]:
    """Return the state before a window as vectors (B, H)."""
    if state is None:
        parts = 2 if layer.bias_hh is None else 1
        return (layer.weight_hh.new_zeros(streams, layer.weight_hh.shape[1]),) * parts
    return tuple(part[0] for part in state) if isinstance(state, tuple) else (state[0],)
