"""The interface of the implementations of recurrent layers.

There are three implementations: ``compiled_layers`` (the compiled module), ``gru_autograd`` (a GRU window as one
autograd node) and ``pytorch_layers`` (``nn.GRU`` and ``nn.LSTM``). ``CharNetwork`` chooses one of them.

Shapes: T time steps, B streams, E embedding size, H units, G gates, V vocabulary size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

LayerState = Tensor | tuple[Tensor, Tensor]
"""State of one layer: the hidden state of a GRU, (1, B, H), or the hidden and cell state of an LSTM."""

NetworkState = tuple[LayerState, ...]
"""State of the network, carried from window to window: one entry per recurrent layer."""


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of one layer, in PyTorch's gate order.

    Attributes:
        weight_ih: Input weights, (G*H, input width).
        weight_hh: Recurrent weights, (G*H, H).
        bias_ih: Input bias, (G*H,).
        bias_hh: Recurrent bias, (G*H,); None for an LSTM.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor | None


class LayerImplementation(Protocol):
    """One way to compute the forward pass of a network: embedding, recurrent layers and loss.

    All implementations give the same results within rounding.
    """

    def read(
        self,
        embedding: Tensor,
        modules: Sequence[nn.Module],
        weights: Sequence[LayerWeights],
        ids: Tensor,
        state: NetworkState | None,
        masks: Sequence[Tensor | None],
    ) -> tuple[Tensor, NetworkState]:
        """Compute the last layer's hidden states, (B, T, H), and the state after the last step.

        Args:
            embedding: Embedding matrix, (V, E).
            modules: PyTorch's layers, which own the parameters.
            weights: Parameters of each layer for this window. With DropConnect, ``weight_hh`` is a masked copy of the
                module's parameter.
            ids: Input ids, int64 (B, T).
            state: State before the first step; None for zeros.
            masks: Dropout masks of the embedding, (B, E), and of each layer's hidden states, (B, H); None for no
                dropout.
        """
        ...

    def cross_entropy(self, hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy ``-log softmax(output(hidden))[target]`` in nats.

        Args:
            hidden: Hidden states, (N, H).
            output: Output layer.
            targets: Target ids, int64 (N,), each in [0, V).
        """
        ...


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Multiply vectors (B, T, width) by a mask (B, width), if there is one."""
    return x if mask is None else x * mask[:, None].to(x.dtype)
