"""Recurrent layers computed by PyTorch's ``nn.GRU`` and ``nn.LSTM``: on GPUs, and where nothing faster applies."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from charloom.training.backends.torch.layers import LayerState, LayerWeights, NetworkState, apply_mask


class PyTorchLayers:
    """Implements ``charloom.training.backends.torch.layers.LayerImplementation`` with ``nn.GRU`` and ``nn.LSTM``."""

    def read(
        self,
        embedding: Tensor,
        modules: Sequence[nn.Module],
        weights: Sequence[LayerWeights],
        ids: Tensor,
        state: NetworkState | None,
        masks: Sequence[Tensor | None],
    ) -> tuple[Tensor, NetworkState]:
        """Compute the last layer's hidden states, (B, T, H), and the final state."""
        x = apply_mask(F.embedding(ids, embedding), masks[0])
        last_states: list[LayerState] = []
        for i, (module, layer) in enumerate(zip(modules, weights, strict=True)):
            first = None if state is None else state[i]
            if layer.weight_hh is module.get_parameter("weight_hh_l0"):
                x, last = module(x, first)
            else:  # DropConnect replaces weight_hh
                x, last = functional_call(module, {"weight_hh_l0": layer.weight_hh}, (x, first))
            last_states.append(last)
            x = apply_mask(x, masks[i + 1])
        return x, tuple(last_states)

    def cross_entropy(self, hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy; see ``LayerImplementation``."""
        return F.cross_entropy(output(hidden).float(), targets)
