"""A GRU layer over one window as a single autograd node, for CPUs without the compiled module, in float32.

PyTorch's GRU records a graph of every step and computes the weight gradient step by step. Here, a step is one matrix
product and a few element-wise operations, the backward pass is written by hand, and the weight gradient is one matrix
product over all steps. A training step is 1.3 times faster; see docs/decisions/training-kernels.md.
``charloom.model.reference`` contains the equations; the tests compare with it.

Shapes: T time steps, B streams, H units, V vocabulary size, E embedding size. Gate order: r, z, n.

Saved tensors:

    hidden_seq    (T+1, B, H)   hidden states; hidden_seq[t] is h_t, and h_0 is the state before the window
    saved_gates   (T, B, 3H)    r, z and h_{t-1} @ W_hn.T + b_hn (before the reset gate multiplies it)
    candidates    (T, B, H)     n
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from charloom.training.backends.torch.layers import LayerState, LayerWeights, NetworkState, apply_mask
from charloom.training.backends.torch.pytorch_layers import PyTorchLayers

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * s * (1 - s), into an existing tensor
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - t * t), into an existing tensor


class GruAutogradLayers(PyTorchLayers):
    """GRU layers computed by ``gru_window``; see ``charloom.training.backends.torch.layers.LayerImplementation``."""

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
        last_states: list[LayerState] = []
        x = None if masks[0] is None else apply_mask(F.embedding(ids, embedding), masks[0])
        for i, layer in enumerate(weights):
            if x is None:
                input_proj = embedded_input_projections(ids, embedding, layer.weight_ih, layer.bias_ih)
            else:
                input_proj = F.linear(x.transpose(0, 1), layer.weight_ih, layer.bias_ih)
            hidden = input_proj.new_zeros(len(ids), layer.weight_hh.shape[1]) if state is None else state[i][0]
            assert layer.bias_hh is not None, "a GRU has a recurrent bias"
            hidden_seq = gru_window(input_proj, hidden, layer.weight_hh, layer.bias_hh)
            last_states.append(hidden_seq[-1:])
            x = apply_mask(hidden_seq.transpose(0, 1), masks[i + 1])
        assert x is not None, "there is at least one layer"
        return x, tuple(last_states)


def embedded_input_projections(ids: Tensor, embedding: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
    """Compute the input projections of the first layer, (T, B, 3H).

    Equal characters have equal projections. If the vocabulary is smaller than the batch, each character is therefore
    projected once, and its projection is looked up at every position.

    Args:
        ids: Input ids, int64 (B, T).
        embedding: Embedding matrix, (V, E).
        weight_ih: Input weights, (3H, E).
        bias_ih: Input bias, (3H,).
    """
    if len(embedding) > ids.numel():
        return F.linear(F.embedding(ids.t(), embedding), weight_ih, bias_ih)
    return F.embedding(ids.t(), F.linear(embedding, weight_ih, bias_ih))


def gru_window(input_proj: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
    """Compute the hidden states of all steps, (T, B, H). The reset gate is applied after the matrix product.

    Args:
        input_proj: Input projections of all gates, ``x @ W_ih.T + b_ih``, (T, B, 3H).
        hidden: State before the window, (B, H).
        weight_hh: Recurrent weights, (3H, H).
        bias_hh: Recurrent bias, (3H,).
    """
    hidden_seq: Tensor = _GruWindow.apply(input_proj, hidden, weight_hh, bias_hh)  # type: ignore[no-untyped-call]
    return hidden_seq


class _GruWindow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_proj: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
        steps, streams, size = len(input_proj), *hidden.shape
        saved_gates = torch.empty_like(input_proj)
        candidates = input_proj.new_empty(steps, streams, size)
        hidden_seq = input_proj.new_empty(steps + 1, streams, size)
        hidden_seq[0] = hidden
        for t in range(steps):
            x, gates, h = input_proj[t], saved_gates[t], hidden_seq[t]
            torch.addmm(bias_hh, h, weight_hh.t(), out=gates)
            rz, hn = gates[:, : 2 * size], gates[:, 2 * size :]
            rz.add_(x[:, : 2 * size]).sigmoid_()
            n = torch.addcmul(x[:, 2 * size :], rz[:, :size], hn, out=candidates[t]).tanh_()
            torch.lerp(n, h, rz[:, size:], out=hidden_seq[t + 1])
        ctx.save_for_backward(weight_hh)
        ctx.window = saved_gates, candidates, hidden_seq
        return hidden_seq[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden_seq: Tensor) -> tuple[Tensor, ...]:
        (weight_hh,) = ctx.saved_tensors
        saved_gates, candidates, hidden_seq = ctx.window
        size = hidden_seq.shape[2]
        grad_pre_act, grad_candidates = torch.empty_like(saved_gates), torch.empty_like(candidates)
        grad_state = torch.zeros_like(hidden_seq[0])  # gradient of h_t from the steps after t
        scratch, dh = torch.empty_like(grad_state), torch.empty_like(grad_state)
        # 1. all steps, last to first: gradients of the pre-activations and of the previous state
        for t in reversed(range(len(saved_gates))):
            r, z, hn = torch.split(saved_gates[t], size, dim=1)
            dr, dz, dhn = torch.split(grad_pre_act[t], size, dim=1)
            n, dn = candidates[t], grad_candidates[t]
            torch.add(grad_hidden_seq[t], grad_state, out=dh)
            torch.sub(hidden_seq[t], n, out=scratch).mul_(dh)
            _sigmoid_backward(scratch, z, grad_input=dz)
            torch.mul(dh, z, out=grad_state)
            _tanh_backward(dh.sub_(grad_state), n, grad_input=dn)
            _sigmoid_backward(torch.mul(dn, hn, out=scratch), r, grad_input=dr)
            torch.mul(dn, r, out=dhn)
            grad_state.addmm_(grad_pre_act[t], weight_hh)
        # 2. gradients of weights and inputs, over all steps at once
        grad_weight_hh = grad_pre_act.flatten(0, 1).t() @ hidden_seq[:-1].flatten(0, 1)
        grad_bias_hh = grad_pre_act.sum((0, 1))
        grad_pre_act[:, :, 2 * size :] = grad_candidates  # input projections: without the factor r
        return grad_pre_act, grad_state, grad_weight_hh, grad_bias_hh
