"""The network in PyTorch: embedding, stacked recurrent layers, dense logits, state in and out.

Shapes: ids (B, T), logits (B, T, V), a layer's state: a GRU's hidden (1, B, H), an LSTM's pair of those.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.model.architecture import Architecture
from charloom.training.recurrence import character_gates, gru_window

LayerState = Tensor | tuple[Tensor, Tensor]
NetworkState = tuple[LayerState, ...]
"""All that is carried from window to window: one entry per recurrent layer."""

_LAYER_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class CharNetwork(nn.Module):
    """A character model that can be trained.

    Args:
        architecture: The sizes; ``reset_after`` must be true, as PyTorch's GRU has no other form.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        dropout: Shares dropped from the embedding, between layers, and before the output, each in [0, 1).
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray[np.float32]],
        dropout: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        super().__init__()
        if not architecture.reset_after:
            raise NotImplementedError("PyTorch's GRU applies the reset gate after the product only.")
        self.architecture = architecture
        self.dropout = dropout
        with torch.random.fork_rng(devices=[]):  # PyTorch draws weights of its own, which are not used
            self.embedding = nn.Embedding(architecture.vocabulary_size, architecture.embedding_size)
            self.layers = nn.ModuleList(self._make_layer(i) for i in range(architecture.num_layers))
            self.output = nn.Linear(architecture.hidden_size, architecture.vocabulary_size)
        self._load(weights)

    def forward(
        self, ids: Tensor, state: NetworkState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Return logits (B, T, V) of the character after each, and the state after the last.

        Args:
            ids: int64 (B, T), each in [0, V).
            state: Before the first character; zeros if None.
            generator: Draws what is dropped, on the network's device; PyTorch's own if None.
        """
        hidden, state = self.read(ids, state, generator)
        return self.output(hidden), state

    def read(
        self, ids: Tensor, state: NetworkState | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Do all of ``forward`` but the output layer: return the last layer's hidden vectors (B, T, H)."""
        at_input, between, at_output = self.dropout
        fast = self.architecture.cell == "gru" and ids.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        looked_up = fast and not (self.training and at_input)  # layer 1 finds the characters in a table
        x = ids if looked_up else self._locked_dropout(self.embedding(ids), at_input, generator)
        states: list[LayerState] = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else state[i]
            x, after = self._run_gru(layer, x, before) if fast else layer(x, before)
            states.append(after)
            x = self._locked_dropout(x, at_output if layer is self.layers[-1] else between, generator)
        return x, tuple(states)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        return {
            name: self._parameter(name).detach().to("cpu", torch.float32).numpy().copy()
            for name in self.architecture.parameter_shapes()
        }

    def _run_gru(self, layer: nn.Module, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        """Do what the layer itself does, faster; ``x`` are vectors (B, T, width), or the characters' ids (B, T)."""
        weight_ih, weight_hh, bias_ih, bias_hh = (layer.get_parameter(f"{name}_l0") for name in _LAYER_PARAMETERS)
        if x.dim() == 2:
            gates = character_gates(x, self.embedding.weight, weight_ih, bias_ih)
        else:
            gates = F.linear(x.transpose(0, 1), weight_ih, bias_ih)
        hidden = gates.new_zeros(len(x), weight_hh.shape[1]) if state is None else state[0]
        hiddens = gru_window(gates, hidden, weight_hh, bias_hh)
        return hiddens.transpose(0, 1), hiddens[-1:]

    def _make_layer(self, index: int) -> nn.RNNBase:
        a = self.architecture
        width = a.embedding_size if index == 0 else a.hidden_size
        if a.cell == "gru":
            return nn.GRU(width, a.hidden_size, batch_first=True)
        layer = nn.LSTM(width, a.hidden_size, batch_first=True)
        # PyTorch gives an LSTM a second bias that only adds to the first: kept at zero, it is no parameter
        layer.get_parameter("bias_hh_l0").requires_grad_(False).zero_()
        return layer

    def _load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        with torch.no_grad():
            for name in self.architecture.parameter_shapes():
                self._parameter(name).copy_(torch.from_numpy(weights[name]))

    def _parameter(self, name: str) -> Tensor:
        """Return the tensor that a model file calls by this name: PyTorch puts ``_l0`` behind a layer's."""
        return self.get_parameter(f"{name}_l0" if name.startswith("layers.") else name)

    def _locked_dropout(self, x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        """Drop the same numbers at every step of a window.

        Args:
            x: (B, T, width).
            share: Dropped, in [0, 1); the rest grows so that the mean stays.
            generator: Draws what is dropped.

        Source: Gal & Ghahramani 2016, arXiv:1512.05287; "locked" as in Merity et al. 2017, arXiv:1708.02182.
        """
        if not self.training or share == 0:
            return x
        keep = torch.rand(x.shape[0], 1, x.shape[2], device=x.device, generator=generator) >= share
        return x * (keep / (1 - share)).to(x.dtype)


def detached(state: NetworkState) -> NetworkState:
    """Return the state without its history: gradients stop at the window's edge."""
    return map_state(Tensor.detach, state)


def map_state(change: Callable[[Tensor], Tensor], state: NetworkState) -> NetworkState:
    """Return the state with every vector (1, B, H) of it changed."""
    return tuple((change(s[0]), change(s[1])) if isinstance(s, tuple) else change(s) for s in state)
