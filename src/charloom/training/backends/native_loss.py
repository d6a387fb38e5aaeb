"""The output layer and the loss by the compiled module: logits are made, used and forgotten in parts."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.training.backends.native_module import array, division, module

_BYTES_AT_ONCE = 1 << 25  # of logits: in smaller parts the products are slower, in larger ones no faster


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -log softmax(hidden @ weight.T + bias)[target]; its gradients are computed at once.

    Args:
        hidden: (N, H), float32 or bfloat16, in which products are made.
        weight: (V, H), float32, like all that follows.
        bias: (V,).
        targets: int64 (N,), each in [0, V).
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows, known = len(hidden), len(weight)
        at_once = max(1, _BYTES_AT_ONCE // (known * hidden.itemsize))
        isa, threads = division()
        multiplied = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight, grad_bias = torch.zeros_like(weight), bias.new_zeros(threads, known)
        buffer = hidden.new_empty(min(rows, at_once), known)
        total = 0.0
        for start in range(0, rows, at_once):
            part = hidden[start : start + at_once]
            logits = torch.mm(part, multiplied.t(), out=buffer[: len(part)])
            arrays = array(logits), array(bias), array(targets[start : start + at_once])
            total += module().cross_entropy(*arrays, 1 / rows, array(grad_bias), isa, threads)
            gradient = logits  # is what they are from here on
            torch.mm(gradient, multiplied, out=grad_hidden[start : start + at_once])
            if gradient.dtype == grad_weight.dtype:
                grad_weight.addmm_(gradient.t(), part)
            else:
                grad_weight.add_(gradient.t() @ part)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias.sum(0))
        return bias.new_tensor(total / rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if grad_loss.item() != 1.0:
            gradients = tuple(gradient * grad_loss.to(gradient.dtype) for gradient in gradients)
        return *gradients, None
