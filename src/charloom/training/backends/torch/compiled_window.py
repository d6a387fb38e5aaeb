"""A recurrent layer over one window, computed by the compiled module: matrix products and gates in one kernel.

The kernel keeps the products of a tile (a few streams and a few units) in registers until the gates of that tile are
computed. Each thread computes the same units in all time steps, so that their weights can stay in its cache.
``charloom.model.reference`` contains the equations; the tests compare with it.

With bfloat16, matrix products multiply bfloat16 numbers and the tensors saved for the backward pass are bfloat16.
Weights, sums, states and gate arithmetic are float32.

Shapes: T time steps, B streams, H units, G gates (3 or 4), R rows of input projections.

Saved tensors (window of T steps):

    hidden_seq    (T+1, B, H)       hidden states; hidden_seq[t] is h_t, and h_0 is the state before the window
    cell_seq      (T+1, B, H)       cell states of an LSTM, in the same order
    saved_gates   (T, B, >= 4*H)    activations of each step, four blocks of H; rows are padded, see ``_row_width``
                                    forward, GRU:   r, z, n, h_{t-1} @ W_hn.T + b_hn
                                    forward, LSTM:  i, f, g, o
                                    backward, GRU:  dL/da_r, dL/da_z, dL/da_n, r * dL/da_n
                                    backward, LSTM: dL/da_i, dL/da_f, dL/da_g, dL/da_o

``a`` are the pre-activations of the gates. The backward pass overwrites the activations with these gradients, so it can
run only once. For an LSTM the four blocks are the gradient of the input projections and of ``h_{t-1} @ W_hh.T``. For a
GRU, blocks 1 to 3 are the gradient of the input projections, and blocks 1, 2 and 4 that of ``h_{t-1} @ W_hh.T + b_hh``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.training.backends.torch.compiled_module import as_array, compiled_module, isa_and_threads

_CACHE_LINE = 64  # bytes


class CompiledRecurrence:
    """The recurrence of one layer. It owns the buffer into which the weights are packed for every window.

    Args:
        cell: "gru" (with the reset gate applied after the matrix product) or "lstm".
        hidden_size: H; must be even for bfloat16.
    """

    def __init__(self, cell: str, hidden_size: int) -> None:
        self._cell, self._hidden_size = cell, hidden_size
        self._by_dtype: dict[torch.dtype, Any] = {}

    def _for_dtype(self, dtype: torch.dtype) -> Any:
        if dtype not in self._by_dtype:
            module = compiled_module()
            make = module.RecurrenceBfloat16 if dtype == torch.bfloat16 else module.Recurrence
            self._by_dtype[dtype] = make(self._cell, self._hidden_size, isa_and_threads()[0])
        return self._by_dtype[dtype]

    def window(
        self,
        input_proj: Tensor,
        index: Tensor | None,
        state: tuple[Tensor, ...],
        weight_hh: Tensor,
        bias_hn: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute the hidden states of all steps, (T, B, H), multiplied by the mask, and the state after the last step.

        Args:
            input_proj: Input projections ``x @ W_ih.T`` plus all biases except ``bias_hn``, (R, G*H), float32 or
                bfloat16; the returned hidden states have the same type.
            index: Row of ``input_proj`` for each step and stream, int64 (T, B); None for row t * B + b.
            state: State before the window: hidden state and, for an LSTM, cell state, each (B, H).
            weight_hh: Recurrent weights, (G*H, H).
            bias_hn: Recurrent bias of a GRU's candidate gate n, (H,), which the reset gate multiplies.
            mask: Dropout mask of the returned hidden states, (B, H); None for no dropout.
        """
        hidden, *cell = state
        requires_grad = torch.is_grad_enabled()
        out, *last_state = _RecurrentWindow.apply(  # type: ignore[no-untyped-call]
            self._for_dtype(input_proj.dtype), requires_grad, input_proj, index, weight_hh, bias_hn, mask, hidden, *cell
        )
        return out, tuple(last_state)


class _RecurrentWindow(torch.autograd.Function):
    """One autograd node for all steps of a window. The module docstring defines the saved tensors."""

    @staticmethod
    def forward(
        ctx: Any,
        recurrence: Any,
        requires_grad: bool,
        input_proj: Tensor,
        index: Tensor | None,
        weight_hh: Tensor,
        bias_hn: Tensor | None,
        mask: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        streams, size = state[0].shape
        steps = len(input_proj) // streams if index is None else len(index)
        # 1. allocate; the kernel updates current_state in place
        current_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        sequences = tuple(
            _sequence(part, steps, input_proj.dtype) for part in (state if requires_grad else state[:1])
        )  # hidden_seq and, for an LSTM, cell_seq
        saved_gates = (
            input_proj.new_empty(steps, streams, _row_width(size, input_proj.itemsize)) if requires_grad else None
        )
        out = None if mask is None else input_proj.new_empty(steps, streams, size)
        # 2. forward through all steps
        _, threads = isa_and_threads()
        recurrence.pack(as_array(weight_hh), threads)
        recurrence.forward(
            *(as_array(part) for part in (input_proj, index, bias_hn)),
            *_hidden_and_cell(current_state),
            *_hidden_and_cell(sequences),
            *(as_array(part) for part in (saved_gates, mask, out)),
            threads,
        )
        # 3. save for the backward pass
        ctx.save_for_backward(weight_hh)  # PyTorch raises an error in backward if weight_hh was modified meanwhile
        ctx.recurrence, ctx.index, ctx.mask = recurrence, index, mask
        ctx.sequences, ctx.saved_gates = sequences, saved_gates
        ctx.num_rows = len(input_proj)
        ctx.set_materialize_grads(False)
        return sequences[0][1:] if out is None else out, *current_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, *grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        (weight_hh,) = ctx.saved_tensors
        saved_gates, sequences = ctx.saved_gates, ctx.sequences
        del ctx.saved_gates  # overwritten below, so backward can run only once
        hidden_seq = sequences[0]
        if grad_out is None:
            grad_out = torch.zeros_like(hidden_seq[1:])
        grad_last_hidden, *grad_last_cell = (None if grad is None else grad.contiguous() for grad in grad_last)
        zeros = torch.zeros(hidden_seq.shape[1:])
        # GRU: the part of dL/dh_{t-1} that bypasses the matrix product, z * dL/dh_t; LSTM: dL/dc_{t-1}
        grad_state = zeros if not grad_last_cell or grad_last_cell[0] is None else grad_last_cell[0].clone()
        # 1. backward through all steps: overwrites saved_gates with the gradients of the pre-activations
        ctx.recurrence.backward(
            as_array(grad_out.contiguous()),
            as_array(ctx.mask),
            *_hidden_and_cell(sequences),
            as_array(saved_gates),
            as_array(grad_last_hidden),
            as_array(grad_state),
            isa_and_threads()[1],
        )
        # 2. gradients of input projections, weights and initial state, each over all steps and streams at once
        size, is_lstm = hidden_seq.shape[2], len(sequences) == 2
        blocks = saved_gates.flatten(0, 1)[:, : 4 * size]
        grad_pre_act = blocks if is_lstm else blocks[:, : 3 * size]
        grad_recurrent: tuple[Tensor, ...] = (blocks,) if is_lstm else (blocks[:, : 2 * size], blocks[:, 3 * size :])
        grad_input_proj = _scatter_add(grad_pre_act, ctx.index, ctx.num_rows)
        grad_weight = _grad_weight_hh(grad_recurrent, hidden_seq[:-1].flatten(0, 1), weight_hh)
        grad_bias = None if is_lstm else grad_recurrent[-1].sum(0, dtype=torch.float32)
        grad_first = _grad_first_state(ctx, grad_recurrent, weight_hh, grad_state, is_lstm)
        return None, None, grad_input_proj, None, grad_weight, grad_bias, None, *grad_first


def _row_width(size: int, itemsize: int) -> int:
    """Return the padded width of a row of 4*H numbers: an odd number of cache lines.

    Matrix products read the same column of a dozen rows at a time. With rows a power of two apart, these would compete
    for a few sets of the first-level cache: with 1024 units the backward pass took 10 % longer.
    """
    lines = -(-4 * size * itemsize // _CACHE_LINE)
    return (lines + 1 - lines % 2) * _CACHE_LINE // itemsize


def _grad_weight_hh(grad_recurrent: tuple[Tensor, ...], hidden: Tensor, weight_hh: Tensor) -> Tensor:
    """Compute ``dL/dW_hh = grad_recurrent.T @ hidden``, one matrix product per block.

    Args:
        grad_recurrent: Gradient of ``h_{t-1} @ W_hh.T`` in one or two blocks of gates, each (T*B, width).
        hidden: ``h_{t-1}`` of every step, (T*B, H).
        weight_hh: Recurrent weights, (G*H, H).
    """
    gradient = torch.empty_like(weight_hh, dtype=hidden.dtype)
    blocks = torch.split(gradient, [block.shape[1] for block in grad_recurrent])
    for grad_block, out in zip(grad_recurrent, blocks, strict=True):
        torch.mm(grad_block.t(), hidden, out=out)
    return gradient.to(weight_hh.dtype)


def _grad_first_state(
    ctx: Any, grad_recurrent: tuple[Tensor, ...], weight_hh: Tensor, grad_state: Tensor, is_lstm: bool
) -> tuple[Tensor | None, ...]:
    """Compute the gradient of the state before the window if autograd requires it; training does not."""
    if not any(ctx.needs_input_grad[7:]):
        return (None, None) if is_lstm else (None,)
    grad_first_step = torch.cat([block[: len(grad_state)] for block in grad_recurrent], 1)
    grad_hidden = grad_first_step.to(weight_hh.dtype) @ weight_hh
    return (grad_hidden, grad_state) if is_lstm else (grad_hidden + grad_state,)


def _scatter_add(grad: Tensor, index: Tensor | None, num_rows: int) -> Tensor:
    """Sum the gradients of all positions with the same index: the gradient of a row lookup."""
    if index is None:
        return grad
    table = torch.zeros(num_rows, grad.shape[1])
    compiled_module().add_rows(as_array(grad), as_array(index.flatten()), as_array(table), *isa_and_threads())
    return table.to(grad.dtype)


def _sequence(first: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Allocate the states before and after every step, (T+1, B, H), and set the first one."""
    sequence = first.new_empty(steps + 1, *first.shape, dtype=dtype)
    sequence[0] = first
    return sequence


def _hidden_and_cell(parts: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """Return hidden and cell state as arrays; the cell state is None for a GRU."""
    hidden, *cell = parts
    return as_array(hidden), as_array(cell[0]) if cell else None
