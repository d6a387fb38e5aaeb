"""Recurrent layers and loss computed by the compiled module: the default on the CPU, in float32 and bfloat16.

Shapes: T time steps, B streams, E embedding size, H units, G gates, V vocabulary size, R rows of input projections.
Tensors inside this module are time-major: (T, B, ...).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.model.architecture import Architecture
from charloom.training.backends.torch.compiled_loss import linear_cross_entropy
from charloom.training.backends.torch.compiled_window import CompiledRecurrence
from charloom.training.backends.torch.layers import LayerState, LayerWeights, NetworkState

_SMALL_VOCABULARY = 512  # characters; up to here, projecting all of them is faster than finding those that occur


class CompiledLayers:
    """See ``charloom.training.backends.torch.layers.LayerImplementation``.

    Args:
        architecture: Architecture of the network.
    """

    def __init__(self, architecture: Architecture) -> None:
        self._recurrences = [
            CompiledRecurrence(architecture.cell, architecture.hidden_size) for _ in range(architecture.num_layers)
        ]

    def read(
        self,
        embedding: Tensor,
        modules: Sequence[nn.Module],
        weights: Sequence[LayerWeights],
        ids: Tensor,
        state: NetworkState | None,
        masks: Sequence[Tensor | None],
    ) -> tuple[Tensor, NetworkState]:
        """Compute the last layer's hidden states, (B, T, H) in time-major memory order, and the final state."""
        x, index = _first_input(embedding, ids.t().contiguous(), masks[0])
        last_states: list[LayerState] = []
        for i, (recurrence, layer) in enumerate(zip(self._recurrences, weights, strict=True)):
            input_proj, bias_hn = _input_projections(layer, x)
            if layer.weight_hh.shape[1] % 2:
                input_proj = input_proj.float()  # the bfloat16 kernels multiply pairs, so H must be even
            first = _state_vectors(layer, len(ids), None if state is None else state[i])
            x, last = recurrence.window(input_proj, index, first, layer.weight_hh, bias_hn, masks[i + 1])
            last_states.append(last[0][None] if len(last) == 1 else (last[0][None], last[1][None]))
            index = None
        return x.transpose(0, 1), tuple(last_states)

    def cross_entropy(self, hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy; see ``LayerImplementation``."""
        return linear_cross_entropy(hidden, output.weight, output.bias, targets)


def _first_input(embedding: Tensor, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the distinct input vectors of the first layer, and the index of the vector for each position, (T, B).

    Equal characters have equal input projections, so each character is projected once and then looked up by its index.
    From a large vocabulary only the characters that occur are projected. With a dropout mask the vectors differ between
    streams; then there is one vector for each position, (T, B, E), and the index is None.
    """
    if mask is not None:
        return F.embedding(ids, embedding) * mask, None
    if len(embedding) <= _SMALL_VOCABULARY:
        return embedding, ids
    distinct, index = torch.unique(ids, return_inverse=True)
    return F.embedding(distinct, embedding), index


def _input_projections(layer: LayerWeights, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Compute the input projections of all gates, (R, G*H), and the recurrent bias of a GRU's candidate gate, (H,).

    The reset gate multiplies the recurrent bias of the candidate gate, so it stays separate; it is None for an LSTM.
    All other recurrent biases are added to the projections.
    """
    bias, bias_hn = layer.bias_ih, None
    if layer.bias_hh is not None:
        split = 2 * layer.weight_hh.shape[1]
        bias = torch.cat((bias[:split] + layer.bias_hh[:split], bias[split:]))
        bias_hn = layer.bias_hh[split:]
    return F.linear(x.flatten(0, -2), layer.weight_ih, bias), bias_hn


def _state_vectors(layer: LayerWeights, streams: int, state: LayerState | None) -> tuple[Tensor, ...]:
    """Return the parts of a layer's state, each (B, H)."""
    if state is None:
        parts = 2 if layer.bias_hh is None else 1
        return (layer.weight_hh.new_zeros(streams, layer.weight_hh.shape[1]),) * parts
    return tuple(part[0] for part in state) if isinstance(state, tuple) else (state[0],)
