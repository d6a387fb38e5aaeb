"""A GRU's recurrence over a window on the CPU: one autograd node for all steps, its gradient derived by hand.

PyTorch's own GRU keeps a graph of every step and multiplies out the weights' gradient step by step. Here a step
is one matrix product and a few calls on whole batches, and the weights' gradient is one product over all steps.
`charloom.model.reference` has the equations to read, and judges these.

Shapes: T steps, B rows, H units, V characters, E embedding; gates in the order r, z, n.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * s * (1 - s), written in place
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - t * t), written in place


def character_gates(ids: Tensor, embedding: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
    """Return what the characters themselves say to the first layer's gates, (T, B, 3H).

    A character always says the same, so where the alphabet is smaller than the batch each character is
    multiplied once, and the rest is looking up.

    Args:
        ids: int64 (B, T).
        embedding: (V, E).
        weight_ih: (3H, E).
        bias_ih: (3H,).
    """
    if len(embedding) > ids.numel():
        return F.linear(F.embedding(ids.t(), embedding), weight_ih, bias_ih)
    return F.embedding(ids.t(), F.linear(embedding, weight_ih, bias_ih))


def gru_window(gates: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
    """Return the hidden vectors after every step, (T, B, H); the reset gate acts after the product.

    Args:
        gates: What the input says to the gates of every step, its bias included, (T, B, 3H).
        hidden: Before the first step, (B, H).
        weight_hh: (3H, H).
        bias_hh: (3H,).
    """
    hiddens: Tensor = _GruWindow.apply(gates, hidden, weight_hh, bias_hh)  # type: ignore[no-untyped-call]
    return hiddens


class _GruWindow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, hidden: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
        steps, rows, size = len(gates), *hidden.shape
        active = torch.empty_like(gates)  # r, z, and what the state says to n before r weighs it
        candidates = gates.new_empty(steps, rows, size)
        hiddens = gates.new_empty(steps + 1, rows, size)
        hiddens[0] = hidden
        for t in range(steps):
            x, a, h = gates[t], active[t], hiddens[t]
            torch.addmm(bias_hh, h, weight_hh.t(), out=a)
            rz, hn = a[:, : 2 * size], a[:, 2 * size :]
            rz.add_(x[:, : 2 * size]).sigmoid_()
            n = torch.addcmul(x[:, 2 * size :], rz[:, :size], hn, out=candidates[t]).tanh_()
            torch.lerp(n, h, rz[:, size:], out=hiddens[t + 1])
        ctx.save_for_backward(weight_hh)
        ctx.window = active, candidates, hiddens
        return hiddens[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hiddens: Tensor) -> tuple[Tensor, ...]:
        (weight_hh,) = ctx.saved_tensors
        active, candidates, hiddens = ctx.window
        size = hiddens.shape[2]
        grad_gates, grad_candidates = torch.empty_like(active), torch.empty_like(candidates)
        carried = torch.zeros_like(hiddens[0])
        scratch, dh = torch.empty_like(carried), torch.empty_like(carried)
        for t in reversed(range(len(active))):
            r, z, hn = torch.split(active[t], size, dim=1)
            dr, dz, dhn = torch.split(grad_gates[t], size, dim=1)
            n, dn = candidates[t], grad_candidates[t]
            torch.add(grad_hiddens[t], carried, out=dh)
            torch.sub(hiddens[t], n, out=scratch).mul_(dh)
            _sigmoid_backward(scratch, z, grad_input=dz)
            torch.mul(dh, z, out=carried)
            _tanh_backward(dh.sub_(carried), n, grad_input=dn)
            _sigmoid_backward(torch.mul(dn, hn, out=scratch), r, grad_input=dr)
            torch.mul(dn, r, out=dhn)
            carried.addmm_(grad_gates[t], weight_hh)
        grad_weight_hh = grad_gates.flatten(0, 1).t() @ hiddens[:-1].flatten(0, 1)
        grad_bias_hh = grad_gates.sum((0, 1))
        grad_gates[:, :, 2 * size :] = grad_candidates  # towards the input, no r stands before n
        return grad_gates, carried, grad_weight_hh, grad_bias_hh
