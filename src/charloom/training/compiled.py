"""A recurrent layer over a window, and the loss, by the compiled module: products and maths in one pass.

The products of a tile of streams with the weights of some units stay in the processor's registers until the maths of
those units is done. Each thread takes some of the streams through the whole window and waits for nobody.
`charloom.model.cells` has the equations to read, and judges these.

Shapes: T steps, B streams, H units, G gates, V characters, N = T * B.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.native import chosen_isa
from charloom.native import engine as compiled

LOGITS_AT_ONCE = 1 << 20  # numbers: they stay in the caches between the product that makes them and those that use them


def available() -> bool:
    """Return whether the compiled module is there and can train."""
    return compiled is not None and hasattr(compiled, "Recurrence")


def make_recurrence(cell: str, hidden_size: int) -> Any:
    """Return the memory in which a layer's ``weight_hh`` is put in order for every window."""
    _share_threads()
    return compiled.Recurrence(cell, hidden_size, chosen_isa())  # type: ignore[union-attr]


@cache
def _share_threads() -> None:
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        compiled.share_threads(str(library))  # type: ignore[union-attr]


def window(
    recurrence: Any,
    rows: Tensor,
    index: Tensor | None,
    state: tuple[Tensor, ...],
    weight_hh: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the hidden vectors after every step, (T, B, H), times the mask, and the state after the last.

    Gradients stop at the window's edges.

    Args:
        recurrence: Of ``make_recurrence``; only one window at a time may be between forward and backward.
        rows: What the input says to the gates, with all biases that only add: (R, G*H).
        index: int64 (T, B): which row for each step and stream; if None row t * B + b.
        state: Before the first step: hidden, and an LSTM's cell, each (B, H).
        weight_hh: (G*H, H).
        bias: (H,), of a GRU's n, which the reset gate weighs.
        mask: (B, H): what the hidden vectors are multiplied with on their way up, if anything.
    """
    out, *after = _Window.apply(recurrence, rows, index, state, weight_hh, bias, mask)  # type: ignore[no-untyped-call]
    return out, tuple(after)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        recurrence: Any,
        rows: Tensor,
        index: Tensor | None,
        state: tuple[Tensor, ...],
        weight_hh: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, ...]:
        size = weight_hh.shape[1]
        streams = len(state[0])
        steps = len(rows) // streams if index is None else len(index)
        tracks = tuple(rows.new_empty(steps + 1, streams, size) for _ in state)
        for track, before in zip(tracks, state, strict=True):
            track[0] = before
        active = rows.new_empty(steps, streams, 4, size)
        out = None if mask is None else rows.new_empty(steps, streams, size)
        recurrence.pack(_array(weight_hh), _threads())
        arrays = _tracks(tracks)
        recurrence.forward(
            _array(rows), _array(index), _array(bias), *arrays, _array(active), _array(mask), _array(out), _threads()
        )
        ctx.save_for_backward(weight_hh)  # so that PyTorch notices if it changes before the gradient is asked for
        ctx.recurrence, ctx.index, ctx.mask, ctx.tracks, ctx.active = recurrence, index, mask, tracks, active
        ctx.rows = len(rows)
        after = tuple(track[-1] for track in tracks)
        ctx.mark_non_differentiable(*after)
        return tracks[0][1:] if out is None else out, *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, *_grad_after: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        active, tracks = ctx.active, ctx.tracks
        steps, streams, _, size = active.shape
        carried = torch.zeros_like(tracks[0][0])
        ctx.recurrence.backward(
            _array(grad_out.contiguous()), _array(ctx.mask), *_tracks(tracks), _array(active), _array(carried), _threads()
        )
        del ctx.active  # it holds gradients now, so that there is no second time
        gates = active.view(steps * streams, 4 * size)
        hiddens = tracks[0][:-1].reshape(steps * streams, size)
        if len(tracks) == 2:
            grad_weight, grad_bias, said = gates.t() @ hiddens, None, gates
        else:
            grad_weight = torch.empty(3 * size, size, dtype=gates.dtype)
            torch.mm(gates[:, : 2 * size].t(), hiddens, out=grad_weight[: 2 * size])
            torch.mm(gates[:, 3 * size :].t(), hiddens, out=grad_weight[2 * size :])
            grad_bias, said = gates[:, 3 * size :].sum(0), gates[:, : 3 * size]
        return None, _gathered(said, ctx.index, ctx.rows), None, None, grad_weight, grad_bias, None


def _gathered(said: Tensor, index: Tensor | None, rows: int) -> Tensor:
    """Return the gradient of rows that were looked up: the sum of those of every place where they were."""
    if index is None:
        return said
    table = torch.zeros(rows, said.shape[1])
    compiled.add_rows(_array(said), _array(index.flatten()), _array(table), chosen_isa(), _threads())  # type: ignore[union-attr]
    return table


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -log softmax(hidden @ weight.T + bias)[target], with its gradients already computed.

    The logits are made and used in parts, and never kept.

    Args:
        hidden: (N, H).
        weight: (V, H).
        bias: (V,).
        targets: int64 (N,).
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows, known = len(hidden), len(weight)
        grad_hidden = torch.empty_like(hidden)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        at_once = max(1, LOGITS_AT_ONCE // known)
        buffer = hidden.new_empty(min(rows, at_once), known)
        total = 0.0
        for start in range(0, rows, at_once):
            part = hidden[start : start + at_once]
            logits = torch.addmm(bias, part, weight.t(), out=buffer[: len(part)])
            total += compiled.cross_entropy(  # type: ignore[union-attr]
                _array(logits), _array(targets[start : start + at_once]), 1 / rows, chosen_isa(), _threads()
            )
            torch.mm(logits, weight, out=grad_hidden[start : start + at_once])
            grad_weight.addmm_(logits.t(), part)
            grad_bias += logits.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return hidden.new_tensor(total / rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if grad_loss.item() != 1.0:
            gradients = tuple(gradient * grad_loss for gradient in gradients)
        return *gradients, None


def _array(tensor: Tensor | None) -> NDArray[Any] | None:
    """Return the same memory as an array."""
    return None if tensor is None else tensor.detach().numpy()


def _tracks(tracks: tuple[Tensor, ...]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    hiddens, *cells = tracks
    return _array(hiddens), _array(cells[0]) if cells else None


def _threads() -> int:
    return torch.get_num_threads()
