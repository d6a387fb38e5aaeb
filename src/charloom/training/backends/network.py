"""The network in PyTorch: embedding, stacked recurrent layers, dense logits, state in and out.

Shapes: ids (B, T), logits (B, T, V), a layer's state: a GRU's hidden (1, B, H), an LSTM's pair of those.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from charloom.model.architecture import Architecture
from charloom.training.backends.gru_autograd import character_gates, gru_window
from charloom.training.backends.native_layers import LayerState, LayerWeights, read_window
from charloom.training.backends.native_loss import linear_cross_entropy
from charloom.training.backends.native_module import can_train
from charloom.training.backends.native_window import Recurrence

NetworkState = tuple[LayerState, ...]
"""All that is carried from window to window: one entry per recurrent layer."""

_LAYER_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class CharNetwork(nn.Module):
    """A character model that can be trained.

    Args:
        architecture: The sizes; ``reset_after`` must be true, as PyTorch's GRU has no other form.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        dropout: Shares dropped from the embedding, between layers, and before the output, each in [0, 1).
        dropconnect: Share dropped of every ``weight_hh``, in [0, 1).

    Attributes:
        rows: How many rows the batches have of which this network reads some, and which; None: it reads all. What is
            dropped is drawn for the whole batch, so that it does not depend on how many processes share it.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, NDArray[np.float32]],
        dropout: tuple[float, float, float] = (0.0, 0.0, 0.0),
        dropconnect: float = 0.0,
    ) -> None:
        super().__init__()
        if not architecture.reset_after:
            raise NotImplementedError("PyTorch's GRU applies the reset gate after the product only.")
        self.architecture = architecture
        self.dropout = dropout
        self.dropconnect = dropconnect
        self.rows: tuple[int, slice] | None = None
        self._recurrences: list[Recurrence] = []
        with torch.random.fork_rng(devices=[]):  # PyTorch draws weights of its own, which are not used
            self.embedding = nn.Embedding(architecture.vocabulary_size, architecture.embedding_size)
            self.layers = nn.ModuleList(self._make_layer(i) for i in range(architecture.num_layers))
            self.output = nn.Linear(architecture.hidden_size, architecture.vocabulary_size)
        self.load(weights)

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
        masks = self._dropout_masks(len(ids), generator)
        weights = [self._layer_weights(layer, generator) for layer in self.layers]
        if can_train(self.embedding.weight):
            return self._read_natively(weights, ids, state, masks)
        on_cpu = ids.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        fast = on_cpu and self.architecture.cell == "gru"
        looked_up = fast and masks[0] is None  # layer 1 finds the characters in a table
        x = ids if looked_up else _masked(self.embedding(ids), masks[0])
        states: list[LayerState] = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else state[i]
            if fast:
                x, after = self._run_gru(weights[i], x, before)
            elif self.training and self.dropconnect:
                x, after = functional_call(layer, {"weight_hh_l0": weights[i].weight_hh}, (x, before))
            else:
                x, after = layer(x, before)
            states.append(after)
            x = _masked(x, masks[i + 1])
        return x, tuple(states)

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: NetworkState | None = None,
        generator: torch.Generator | None = None,
        gaps: bool = True,
    ) -> tuple[Tensor, NetworkState]:
        """Return the mean loss of the targets (B, T) in nats, and the state after the last, both as ``forward``.

        Args:
            ids: See ``forward``.
            targets: int64 (B, T), the ids that followed.
            state: See ``forward``.
            generator: Likewise.
            gaps: Whether targets may be below zero, which do not count; if none counts the loss is 0. To look for them,
                the processor waits for a GPU.
        """
        hidden, state = self.read(ids, state, generator)
        weight, bias = self.output.weight, self.output.bias
        steps_first, wanted = hidden.transpose(0, 1).flatten(0, 1), targets.t().flatten()  # as the layers have left it
        if gaps and bool((wanted < 0).any()):
            counted = (wanted >= 0).nonzero()[:, 0]
            if not len(counted):
                return steps_first.sum() * 0.0, state
            steps_first, wanted = steps_first[counted], wanted[counted]
        if can_train(weight):
            return linear_cross_entropy(steps_first, weight, bias, wanted), state
        return F.cross_entropy(self.output(steps_first).float(), wanted), state

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of every parameter under its name in a model file."""
        return {
            name: self.parameter(name).detach().to("cpu", torch.float32).numpy().copy()
            for name in self.architecture.parameter_shapes()
        }

    def _read_natively(
        self,
        weights: Sequence[LayerWeights],
        ids: Tensor,
        state: NetworkState | None,
        masks: Sequence[Tensor | None],
    ) -> tuple[Tensor, NetworkState]:
        if not self._recurrences:
            a = self.architecture
            self._recurrences = [Recurrence(a.cell, a.hidden_size) for _ in self.layers]
        return read_window(self._recurrences, self.embedding.weight, weights, ids, state, masks)

    def _layer_weights(self, layer: nn.Module, generator: torch.Generator | None) -> LayerWeights:
        """Return a layer's parameters as a window uses them: DropConnect drops some of ``weight_hh``.

        Source: Wan et al. 2013, "Regularization of Neural Networks using DropConnect"; between states as in Merity et
        al. 2017, arXiv:1708.02182.
        """
        parameters: list[Tensor] = [layer.get_parameter(f"{name}_l0") for name in _LAYER_PARAMETERS]
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        if self.training and self.dropconnect:
            drawn = torch.rand(weight_hh.shape, device=weight_hh.device, generator=generator)
            weight_hh = weight_hh * ((drawn >= self.dropconnect) / (1 - self.dropconnect))
        return LayerWeights(weight_ih, weight_hh, bias_ih, bias_hh if self.architecture.cell == "gru" else None)

    def _run_gru(self, weights: LayerWeights, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        """Do what the layer itself does, faster; ``x`` are vectors (B, T, width), or the characters' ids (B, T)."""
        if x.dim() == 2:
            gates = character_gates(x, self.embedding.weight, weights.weight_ih, weights.bias_ih)
        else:
            gates = F.linear(x.transpose(0, 1), weights.weight_ih, weights.bias_ih)
        hidden = gates.new_zeros(len(x), weights.weight_hh.shape[1]) if state is None else state[0]
        assert weights.bias_hh is not None
        hiddens = gru_window(gates, hidden, weights.weight_hh, weights.bias_hh)
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

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take every parameter from a model."""
        with torch.no_grad():
            for name in self.architecture.parameter_shapes():
                self.parameter(name).copy_(torch.from_numpy(weights[name]))

    def parameter(self, name: str) -> Tensor:
        """Return the tensor that a model file calls by this name: PyTorch puts ``_l0`` behind a layer's."""
        return self.get_parameter(f"{name}_l0" if name.startswith("layers.") else name)

    def _dropout_masks(self, streams: int, generator: torch.Generator | None) -> list[Tensor | None]:
        """Return what the embedding, and each layer's hidden vectors, are multiplied with: (B, width), or None.

        The same numbers are dropped at every step of a window, and the rest grows so that the mean stays.

        Args:
            streams: B.
            generator: Draws what is dropped.

        Source: Gal & Ghahramani 2016, arXiv:1512.05287; "locked" as in Merity et al. 2017, arXiv:1708.02182.
        """
        at_input, between, at_output = self.dropout
        size, above = self.architecture.hidden_size, self.architecture.num_layers - 1
        shares = [(at_input, self.architecture.embedding_size), *[(between, size)] * above, (at_output, size)]
        device = self.output.weight.device
        drawn, own = (streams, slice(streams)) if self.rows is None else self.rows
        return [
            (torch.rand(drawn, width, device=device, generator=generator)[own] >= share) / (1 - share)
            if self.training and share
            else None
            for share, width in shares
        ]


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return vectors (B, T, width) times a mask (B, width), if there is one."""
    return x if mask is None else x * mask[:, None].to(x.dtype)


def detached(state: NetworkState) -> NetworkState:
    """Return the state without its history: gradients stop at the window's edge."""
    return map_state(Tensor.detach, state)


def finite_state(state: NetworkState) -> Tensor:
    """Return a flag: whether all numbers of a state are finite."""
    parts = [part for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]
    return torch.stack([part.isfinite().all() for part in parts]).all()


def map_state(change: Callable[[Tensor], Tensor], state: NetworkState) -> NetworkState:
    """Return the state with every vector (1, B, H) of it changed."""
    return tuple((change(s[0]), change(s[1])) if isinstance(s, tuple) else change(s) for s in state)
