"""The network in PyTorch: embedding, stacked recurrent layers, dense logits, state in and out.

Shapes: ids (B, T), logits (B, T, V), a layer's state: a GRU's hidden (1, B, H), an LSTM's pair of those.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.model.architecture import Architecture
from charloom.training import compiled
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
        self._recurrences: list[Any] = []
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
        on_cpu = ids.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if on_cpu and compiled.available() and self.embedding.weight.dtype == torch.float32:
            return self._read_compiled(ids, state, generator)
        at_input, between, at_output = self.dropout
        fast = on_cpu and self.architecture.cell == "gru"
        looked_up = fast and not (self.training and at_input)  # layer 1 finds the characters in a table
        x = ids if looked_up else self._locked_dropout(self.embedding(ids), at_input, generator)
        states: list[LayerState] = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else state[i]
            x, after = self._run_gru(layer, x, before) if fast else layer(x, before)
            states.append(after)
            x = self._locked_dropout(x, at_output if layer is self.layers[-1] else between, generator)
        return x, tuple(states)

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: NetworkState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Return the mean loss of the targets (B, T) in nats, and the state after the last, both as ``forward``."""
        hidden, state = self.read(ids, state, generator)
        weight, bias = self.output.weight, self.output.bias
        if hidden.device.type == "cpu" and hidden.dtype == torch.float32 and compiled.available():
            steps_first = hidden.transpose(0, 1)  # as the layers have left it
            return compiled.linear_cross_entropy(steps_first.flatten(0, 1), weight, bias, targets.t().flatten()), state
        logits = self.output(hidden)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten()), state

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        return {
            name: self._parameter(name).detach().to("cpu", torch.float32).numpy().copy()
            for name in self.architecture.parameter_shapes()
        }

    def _read_compiled(
        self, ids: Tensor, state: NetworkState | None, generator: torch.Generator | None
    ) -> tuple[Tensor, NetworkState]:
        if not self._recurrences:
            a = self.architecture
            self._recurrences = [compiled.make_recurrence(a.cell, a.hidden_size) for _ in self.layers]
        at_input, between, at_output = self.dropout
        index = ids.t().contiguous()
        x: Tensor | None = None
        states: list[LayerState] = []
        drop = self._dropout_mask(len(ids), self.embedding.embedding_dim, at_input, generator)
        for i, layer in enumerate(self.layers):
            rows, bias = self._input_rows(layer, index, x, drop)
            looked_up = index if x is None and len(rows) != index.numel() else None
            weight_hh = layer.get_parameter("weight_hh_l0")
            before = self._state_before(weight_hh, len(ids), None if state is None else state[i])
            share = at_output if layer is self.layers[-1] else between
            mask = self._dropout_mask(len(ids), weight_hh.shape[1], share, generator)
            x, after = compiled.window(self._recurrences[i], rows, looked_up, before, weight_hh, bias, mask)
            states.append(after[0][None] if len(after) == 1 else (after[0][None], after[1][None]))
        assert x is not None
        return x.transpose(0, 1), tuple(states)

    def _input_rows(
        self, layer: nn.Module, index: Tensor, below: Tensor | None, drop: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the input says to a layer's gates, (R, G*H), and the bias that only a GRU's n has.

        The first layer's rows are those of the alphabet, to be looked up, where that is smaller than the window and
        characters say the same in every stream; otherwise those of each step and stream.
        """
        weight_ih, _, bias_ih, bias_hh = (layer.get_parameter(f"{name}_l0") for name in _LAYER_PARAMETERS)
        split = 2 * weight_ih.shape[0] // 3
        if self.architecture.cell == "gru":
            bias, own = torch.cat((bias_ih[:split] + bias_hh[:split], bias_ih[split:])), bias_hh[split:]
        else:
            bias, own = bias_ih, None
        if below is None and drop is None and self.architecture.vocabulary_size < index.numel():
            below = self.embedding.weight
        elif below is None:
            below = self.embedding(index)
            below = (below if drop is None else below * drop).flatten(0, 1)
        else:
            below = below.flatten(0, 1)
        return F.linear(below, weight_ih, bias), own

    @staticmethod
    def _state_before(weight_hh: Tensor, streams: int, state: LayerState | None) -> tuple[Tensor, ...]:
        size = weight_hh.shape[1]
        if state is None:
            return tuple(weight_hh.new_zeros(streams, size) for _ in range(1 if len(weight_hh) == 3 * size else 2))
        return tuple(part[0] for part in state) if isinstance(state, tuple) else (state[0],)

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
        mask = self._dropout_mask(x.shape[0], x.shape[2], share, generator)
        return x if mask is None else x * mask[:, None].to(x.dtype)

    def _dropout_mask(
        self, streams: int, width: int, share: float, generator: torch.Generator | None
    ) -> Tensor | None:
        """Return what vectors (..., B, width) are multiplied with, or None if nothing is dropped."""
        if not self.training or share == 0:
            return None
        keep = torch.rand(streams, width, device=self.output.weight.device, generator=generator) >= share
        return keep / (1 - share)


def detached(state: NetworkState) -> NetworkState:
    """Return the state without its history: gradients stop at the window's edge."""
    return map_state(Tensor.detach, state)


def map_state(change: Callable[[Tensor], Tensor], state: NetworkState) -> NetworkState:
    """Return the state with every vector (1, B, H) of it changed."""
    return tuple((change(s[0]), change(s[1])) if isinstance(s, tuple) else change(s) for s in state)
