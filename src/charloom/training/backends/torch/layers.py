"""The interface that all implementations of the recurrent layers share.

There are three: ``compiled_layers`` (the compiled module), ``gru_autograd`` (a GRU's window as one autograd node) and
``pytorch_layers`` (``nn.GRU`` and ``nn.LSTM``). ``CharNetwork`` chooses one and keeps it.

Shapes: T steps, B streams, E embedding, H units, G gates, V characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

LayerState = Tensor | tuple[Tensor, Tensor]
"""The state of one layer: a GRU's hidden state (1, B, H), or an LSTM's hidden and cell state."""

NetworkState = tuple[LayerState, ...]
"""The state that is carried from window to window: one entry per recurrent layer."""


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of one layer in PyTorch's gate order, ``weight_ih`` (G*H, width) and so on.

    An LSTM has no ``bias_hh``.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor | None


class LayerImplementation(Protocol):
    """Computes embedding, recurrent layers and loss; all implementations agree within rounding."""

    def read(
        self,
        embedding: Tensor,
        modules: Sequence[nn.Module],
        weights: Sequence[LayerWeights],
        ids: Tensor,
        state: NetworkState | None,
        masks: Sequence[Tensor | None],
    ) -> tuple[Tensor, NetworkState]:
        """Return the last layer's hidden states, (B, T, H), and the state after the last step.

        Args:
            embedding: (V, E).
            modules: PyTorch's layers, which hold the parameters.
            weights: Parameters of each layer as this window uses them: with DropConnect ``weight_hh`` is another tensor
                than the module's.
            ids: int64 (B, T).
            state: Before the first step; zeros if None.
            masks: Factors of the embedding (B, E), and of each layer's hidden states (B, H); None: no dropout.
        """
        ...

    def cross_entropy(self, hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        """Return the mean of ``-log softmax(output(hidden))[target]``, in nats.

        Args:
            hidden: (N, H).
            output: The output layer.
            targets: int64 (N,), each in [0, V).
        """
        ...


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return vectors (B, T, width) times a mask (B, width), if there is one."""
    return x if mask is None else x * mask[:, None].to(x.dtype)
