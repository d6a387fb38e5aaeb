"""A recurrent layer over a window by the compiled module: products and maths in one pass.

The products of some streams with the weights of some units stay in the processor's registers until the maths of those
units is done; each thread takes some of the units through all steps, so that its cache may hold their weights.
`charloom.model.reference` has the equations to read, and judges these.

In bfloat16 products multiply bfloat16, and what is kept for the way back is rounded to it; weights, sums, states and
the maths are float32.

Shapes: T steps, B streams, H units, G gates, R rows of input.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.training.backends.native_module import array, division, module

_CACHE_LINE = 64  # bytes


class Recurrence:
    """One layer's recurrence, with the memory in which its weights are put in order for every window.

    Args:
        cell: "gru" (the reset gate acts after the product) or "lstm".
        hidden_size: H; even if windows are to be in bfloat16.
    """

    def __init__(self, cell: str, hidden_size: int) -> None:
        self._cell, self._hidden_size = cell, hidden_size
        self._compiled: dict[torch.dtype, Any] = {}

    def _in(self, dtype: torch.dtype) -> Any:
        if dtype not in self._compiled:
            kind = module().RecurrenceBfloat16 if dtype == torch.bfloat16 else module().Recurrence
            self._compiled[dtype] = kind(self._cell, self._hidden_size, division()[0])
        return self._compiled[dtype]

    def window(
        self,
        rows: Tensor,
        index: Tensor | None,
        state: tuple[Tensor, ...],
        weight_hh: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the hidden vectors after every step, (T, B, H), times the mask, and the state after the last.

        Args:
            rows: What the input says to the gates, with all biases that only add: (R, G*H), float32 or bfloat16; so
                will the hidden vectors be.
            index: int64 (T, B): which row for each step and stream; if None row t * B + b.
            state: Before the first step: hidden, and an LSTM's cell, each (B, H).
            weight_hh: (G*H, H).
            bias: (H,), of a GRU's n, which the reset gate weighs.
            mask: (B, H): what the hidden vectors are multiplied with on their way up, if anything.
        """
        hidden, *cell = state
        wanted = torch.is_grad_enabled()
        out, *after = _Window.apply(  # type: ignore[no-untyped-call]
            self._in(rows.dtype), wanted, rows, index, weight_hh, bias, mask, hidden, *cell
        )
        return out, tuple(after)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        recurrence: Any,
        wanted: bool,
        rows: Tensor,
        index: Tensor | None,
        weight_hh: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        streams, size = state[0].shape
        steps = len(rows) // streams if index is None else len(index)
        after = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)  # moves with the steps
        tracks = tuple(_track(part, steps, rows.dtype) for part in (state if wanted else state[:1]))
        active = rows.new_empty(steps, streams, _width(size, rows.itemsize)) if wanted else None
        out = None if mask is None else rows.new_empty(steps, streams, size)
        _, threads = division()
        recurrence.pack(array(weight_hh), threads)
        recurrence.forward(
            *(array(part) for part in (rows, index, bias)),
            *_pair(after),
            *_pair(tracks),
            *(array(part) for part in (active, mask, out)),
            threads,
        )
        ctx.save_for_backward(weight_hh)  # PyTorch refuses to go back if it has changed by then
        ctx.recurrence, ctx.index, ctx.mask, ctx.tracks, ctx.active = recurrence, index, mask, tracks, active
        ctx.rows = len(rows)
        ctx.set_materialize_grads(False)
        return tracks[0][1:] if out is None else out, *after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, *grad_after: Tensor | None) -> tuple[Tensor | None, ...]:
        (weight_hh,) = ctx.saved_tensors
        active, tracks = ctx.active, ctx.tracks
        del ctx.active  # what was active becomes gradients in place, so that there is no second time
        if grad_out is None:
            grad_out = torch.zeros_like(tracks[0][1:])
        last, *cell = (None if grad is None else grad.contiguous() for grad in grad_after)
        none = torch.zeros(tracks[0].shape[1:])
        carried = none if not cell or cell[0] is None else cell[0].clone()
        ctx.recurrence.backward(
            array(grad_out.contiguous()),
            array(ctx.mask),
            *_pair(tracks),
            array(active),
            array(last),
            array(carried),
            division()[1],
        )
        size, lstm = tracks[0].shape[2], len(tracks) == 2
        gates = active.flatten(0, 1)[:, : 4 * size]
        said = gates if lstm else gates[:, : 3 * size]
        grad_rows = _gathered(said, ctx.index, ctx.rows)
        # what the state is told: a GRU's n through the reset gate, which is the last part of four
        told: tuple[Tensor, ...] = (gates,) if lstm else (gates[:, : 2 * size], gates[:, 3 * size :])
        grad_weight = _grad_weight(told, tracks[0][:-1].flatten(0, 1), weight_hh)
        grad_bias = None if lstm else told[-1].sum(0, dtype=torch.float32)
        grad_state = _grad_state(ctx, told, weight_hh, carried, lstm)
        return None, None, grad_rows, None, grad_weight, grad_bias, None, *grad_state


def _width(size: int, itemsize: int) -> int:
    """Return how many numbers a row of 4*H has room for: an odd number of cache lines.

    Products read the same place of a dozen rows at a time. Were these a power of two apart, the first-level cache would
    have but a few places for them all: with 1024 units a window backwards took a tenth longer.
    """
    lines = -(-4 * size * itemsize // _CACHE_LINE)
    return (lines + 1 - lines % 2) * _CACHE_LINE // itemsize


def _grad_weight(told: tuple[Tensor, ...], hiddens: Tensor, weight_hh: Tensor) -> Tensor:
    """Return the gradient of ``weight_hh``: one product over all steps and streams for each part of the gates."""
    gradient = torch.empty_like(weight_hh, dtype=hiddens.dtype)
    for part, rows in zip(told, torch.split(gradient, [part.shape[1] for part in told]), strict=True):
        torch.mm(part.t(), hiddens, out=rows)
    return gradient.to(weight_hh.dtype)


def _grad_state(
    ctx: Any, told: tuple[Tensor, ...], weight_hh: Tensor, carried: Tensor, lstm: bool
) -> tuple[Tensor | None, ...]:
    """Return the gradient of the state before the window, where somebody asks for it: training itself does not."""
    if not any(ctx.needs_input_grad[7:]):
        return (None, None) if lstm else (None,)
    hidden = torch.cat([part[: len(carried)] for part in told], 1).to(weight_hh.dtype) @ weight_hh
    return (hidden, carried) if lstm else (hidden + carried,)


def _gathered(said: Tensor, index: Tensor | None, rows: int) -> Tensor:
    """Return the gradient of rows that were looked up: the sum over every place where they were."""
    if index is None:
        return said
    table = torch.zeros(rows, said.shape[1])
    module().add_rows(array(said), array(index.flatten()), array(table), *division())
    return table.to(said.dtype)


def _track(before: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Return room for vectors before all steps and after the last, (T+1, B, H), the first filled in."""
    track = before.new_empty(steps + 1, *before.shape, dtype=dtype)
    track[0] = before
    return track


def _pair(parts: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """Return what there is of hidden and of cell vectors as arrays."""
    hidden, *cell = parts
    return array(hidden), array(cell[0]) if cell else None
