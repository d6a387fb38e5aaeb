"""The output layer and the loss by the compiled module: logits are computed, used and discarded in blocks of rows."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.training.backends.torch.compiled_module import as_array, compiled_module, isa_and_threads

_BLOCK_BYTES = 1 << 25  # bytes of logits per block; smaller blocks are slower, larger ones are not faster


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean of ``-log softmax(hidden @ weight.T + bias)[target]``.

    The forward pass also computes the gradients, so that no logits need to be kept for the backward pass.

    Args:
        hidden: (N, H), float32 or bfloat16; matrix products have the same type.
        weight: (V, H), float32.
        bias: (V,), float32.
        targets: int64 (N,), each in [0, V).
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows, vocabulary_size = len(hidden), len(weight)
        block_rows = max(1, _BLOCK_BYTES // (vocabulary_size * hidden.itemsize))
        isa, threads = isa_and_threads()
        cast_weight = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight, grad_bias = torch.zeros_like(weight), bias.new_zeros(threads, vocabulary_size)
        buffer = hidden.new_empty(min(rows, block_rows), vocabulary_size)
        total = 0.0
        for start in range(0, rows, block_rows):
            # 1. logits, loss and gradient of the logits
            block = hidden[start : start + block_rows]
            logits = torch.mm(block, cast_weight.t(), out=buffer[: len(block)])
            arrays = as_array(logits), as_array(bias), as_array(targets[start : start + block_rows])
            total += compiled_module().cross_entropy(*arrays, 1 / rows, as_array(grad_bias), isa, threads)
            # 2. gradients of hidden states and weight
            grad_logits = logits  # the kernel has overwritten the logits with their gradient
            torch.mm(grad_logits, cast_weight, out=grad_hidden[start : start + block_rows])
            if grad_logits.dtype == grad_weight.dtype:
                grad_weight.addmm_(grad_logits.t(), block)
            else:
                grad_weight.add_(grad_logits.t() @ block)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias.sum(0))
        return bias.new_tensor(total / rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if grad_loss.item() != 1.0:
            gradients = tuple(gradient * grad_loss.to(gradient.dtype) for gradient in gradients)
        return *gradients, None
