"""The network in PyTorch: embedding, stacked recurrent layers and output layer, with explicit state.

Shapes: ids (B, T), logits (B, T, V); state of a layer: hidden state (1, B, H) of a GRU, or hidden and cell state, each
(1, B, H), of an LSTM.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charloom.model.architecture import Architecture
from charloom.training.backends.torch.compiled_layers import CompiledLayers
from charloom.training.backends.torch.compiled_module import can_train
from charloom.training.backends.torch.gru_autograd import GruAutogradLayers
from charloom.training.backends.torch.layers import LayerImplementation, LayerWeights, NetworkState
from charloom.training.backends.torch.pytorch_layers import PyTorchLayers

IMPLEMENTATIONS: dict[str, Callable[[Architecture], LayerImplementation]] = {
    "compiled": CompiledLayers,
    "gru_autograd": lambda _: GruAutogradLayers(),
    "pytorch": lambda _: PyTorchLayers(),
}
"""Implementations of the recurrent layers by name; see ``charloom.training.backends.torch.layers``."""

_LAYER_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def choose_implementation(architecture: Architecture, device: str, dtype: torch.dtype, precision: str) -> str:
    """Return the name of the fastest implementation for a network.

    Args:
        architecture: Architecture of the network.
        device: Name of its device.
        dtype: Data type of its parameters.
        precision: Precision of its matrix products, "float32" or "bfloat16".
    """
    if device != "cpu":
        return "pytorch"
    if dtype == torch.float32 and can_train():
        return "compiled"
    return "gru_autograd" if architecture.cell == "gru" and precision == "float32" else "pytorch"


class CharNetwork(nn.Module):
    """A trainable character language model.

    Args:
        architecture: Architecture of the network. ``reset_after`` must be true, because PyTorch's GRU supports no other
            form.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        dropout: Dropout rates of the embedding, between layers, and before the output layer, each in [0, 1).
        dropconnect: DropConnect rate of every ``weight_hh``, in [0, 1).
        implementation: A key of ``IMPLEMENTATIONS``. By default, ``choose_implementation`` chooses it at the first use,
            when the network is on its device.

    Attributes:
        rows: Number of rows of the whole batch, and the slice of them that this network reads; None if it reads all.
            Dropout masks are drawn for the whole batch, so that they do not depend on the number of processes.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray[np.float32]],
        dropout: tuple[float, float, float] = (0.0, 0.0, 0.0),
        dropconnect: float = 0.0,
        implementation: str | None = None,
    ) -> None:
        super().__init__()
        if not architecture.reset_after:
            raise NotImplementedError("PyTorch's GRU supports only reset_after=True.")
        self.architecture = architecture
        self.dropout = dropout
        self.dropconnect = dropconnect
        self.rows: tuple[int, slice] | None = None
        self._implementation = None if implementation is None else IMPLEMENTATIONS[implementation](architecture)
        with torch.random.fork_rng(devices=[]):  # keep the global generator: these random weights are replaced below
            self.embedding = nn.Embedding(architecture.vocabulary_size, architecture.embedding_size)
            self.layers = nn.ModuleList(self._make_layer(i) for i in range(architecture.num_layers))
            self.output = nn.Linear(architecture.hidden_size, architecture.vocabulary_size)
        self.load(weights)

    def forward(
        self, ids: Tensor, state: NetworkState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Compute the logits of the next character at each position, (B, T, V), and the state after the last character.

        Args:
            ids: Input ids, int64 (B, T), each in [0, V).
            state: State before the first character; None for zeros.
            generator: Generator of dropout masks, on the network's device; None for PyTorch's default generator.
        """
        hidden, state = self.read(ids, state, generator)
        return self.output(hidden), state

    def read(
        self, ids: Tensor, state: NetworkState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Compute the last layer's hidden states, (B, T, H), and the final state: ``forward`` without output layer."""
        masks = self._dropout_masks(len(ids), generator)
        weights = [self._layer_weights(layer, generator) for layer in self.layers]
        return self.implementation().read(self.embedding.weight, list(self.layers), weights, ids, state, masks)

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: NetworkState | None = None,
        generator: torch.Generator | None = None,
        has_padding: bool = True,
    ) -> tuple[Tensor, NetworkState]:
        """Compute the mean loss in nats per character, and the state after the last character.

        Args:
            ids: See ``forward``.
            targets: Next ids, int64 (B, T); negative at padding, which the mean excludes.
            state: See ``forward``.
            generator: See ``forward``.
            has_padding: Whether targets may contain padding. The loss is 0 if all targets are padding. Looking for
                padding makes the CPU wait for a GPU.
        """
        hidden, state = self.read(ids, state, generator)
        vectors, targets = (
            hidden.transpose(0, 1).flatten(0, 1),
            targets.t().flatten(),
        )  # time-major, the order in memory
        if has_padding and bool((targets < 0).any()):
            counted = (targets >= 0).nonzero()[:, 0]
            if not len(counted):
                return vectors.sum() * 0.0, state
            vectors, targets = vectors[counted], targets[counted]
        return self.implementation().cross_entropy(vectors, self.output, targets), state

    def implementation(self, precision: str | None = None) -> LayerImplementation:
        """Return the implementation of the layers, which the first call chooses.

        Args:
            precision: Precision of matrix products, "float32" or "bfloat16"; by default that of the current autocast
                context.
        """
        if self._implementation is None:
            weight = self.embedding.weight
            precision = precision or ("bfloat16" if torch.is_autocast_enabled("cpu") else "float32")
            name = choose_implementation(self.architecture, weight.device.type, weight.dtype, precision)
            self._implementation = IMPLEMENTATIONS[name](self.architecture)
        return self._implementation

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        return {
            name: self.parameter(name).detach().to("cpu", torch.float32).numpy().copy()
            for name in self.architecture.parameter_shapes()
        }

    def _layer_weights(self, layer: nn.Module, generator: torch.Generator | None) -> LayerWeights:
        """Return a layer's parameters for one window; DropConnect sets a random part of ``weight_hh`` to zero.

        Source: Wan et al. 2013, "Regularization of Neural Networks using DropConnect"; for recurrent weights as in
        Merity et al. 2017, arXiv:1708.02182.
        """
        parameters: list[Tensor] = [layer.get_parameter(f"{name}_l0") for name in _LAYER_PARAMETERS]
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        if self.training and self.dropconnect:
            drawn = torch.rand(weight_hh.shape, device=weight_hh.device, generator=generator)
            weight_hh = weight_hh * ((drawn >= self.dropconnect) / (1 - self.dropconnect))
        return LayerWeights(weight_ih, weight_hh, bias_ih, bias_hh if self.architecture.cell == "gru" else None)

    def _make_layer(self, index: int) -> nn.RNNBase:
        a = self.architecture
        width = a.embedding_size if index == 0 else a.hidden_size
        if a.cell == "gru":
            return nn.GRU(width, a.hidden_size, batch_first=True)
        layer = nn.LSTM(width, a.hidden_size, batch_first=True)
        # PyTorch's LSTM has a second, redundant bias: keep it at zero
        layer.get_parameter("bias_hh_l0").requires_grad_(False).zero_()
        return layer

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every parameter."""
        with torch.no_grad():
            for name in self.architecture.parameter_shapes():
                self.parameter(name).copy_(torch.from_numpy(weights[name]))

    def parameter(self, name: str) -> Tensor:
        """Return a parameter by its name in a model file; PyTorch appends ``_l0`` to the names of layer parameters."""
        return self.get_parameter(f"{name}_l0" if name.startswith("layers.") else name)

    def _dropout_masks(self, streams: int, generator: torch.Generator | None) -> list[Tensor | None]:
        """Draw the dropout masks of the embedding and of each layer's hidden states, (B, width); None for no dropout.

        A mask is the same at every step of a window ("locked" or variational dropout). Its nonzero factors are
        ``1 / (1 - rate)``.

        Args:
            streams: Number of streams, B.
            generator: Generator of the masks.

        Source: Gal & Ghahramani 2016, arXiv:1512.05287; Merity et al. 2017, arXiv:1708.02182.
        """
        input_rate, hidden_rate, output_rate = self.dropout
        size, num_hidden = self.architecture.hidden_size, self.architecture.num_layers - 1
        rates = [
            (input_rate, self.architecture.embedding_size),
            *[(hidden_rate, size)] * num_hidden,
            (output_rate, size),
        ]
        device = self.output.weight.device
        batch_size, own = (streams, slice(streams)) if self.rows is None else self.rows
        return [
            (torch.rand(batch_size, width, device=device, generator=generator)[own] >= rate) / (1 - rate)
            if self.training and rate
            else None
            for rate, width in rates
        ]


def detached(state: NetworkState) -> NetworkState:
    """Detach a state from its autograd graph, so that gradients stop at the beginning of the next window."""
    return map_state(Tensor.detach, state)


def finite_state(state: NetworkState) -> Tensor:
    """Return whether a state is finite, as a boolean tensor with one element."""
    parts = [part for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]
    return torch.stack([part.isfinite().all() for part in parts]).all()


def map_state(change: Callable[[Tensor], Tensor], state: NetworkState) -> NetworkState:
    """Apply a function to every tensor of a state, (1, B, H)."""
    return tuple((change(s[0]), change(s[1])) if isinstance(s, tuple) else change(s) for s in state)
