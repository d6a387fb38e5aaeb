"""A recurrent layer over a window by the compiled module: matrix products and gate arithmetic in one pass.

The products of some streams with the weights of some units stay in the processor's registers until the gates of those
units are computed. Each thread computes some of the units through all steps, so that its cache may hold their weights.
`charloom.model.reference` has the equations to read, and is what the tests compare with.

In bfloat16, products multiply bfloat16 numbers, and what is saved for the backward pass is rounded to bfloat16;
weights, sums, states and gate arithmetic are float32.

Shapes: T steps, B streams, H units, G gates, R rows of input projections.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charloom.training.backends.torch.compiled_module import as_array, compiled_module, isa_and_threads

_CACHE_LINE = 64  # bytes


class CompiledRecurrence:
    """The recurrence of one layer, with the memory into which its weights are packed for every window.

    Args:
        cell: "gru" (the reset gate acts after the product) or "lstm".
        hidden_size: H; must be even for windows in bfloat16.
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
        """Return the hidden states after every step, (T, B, H), times the mask, and the state after the last step.

        Args:
            input_proj: Input projections, ``x @ W_ih.T`` plus all biases that only add, (R, G*H), float32 or bfloat16;
                the hidden states have the same type.
            index: int64 (T, B): the row of ``input_proj`` for each step and stream; if None row t * B + b.
            state: Before the first step: the hidden state, and an LSTM's cell state, each (B, H).
            weight_hh: (G*H, H).
            bias_hn: Recurrent bias of a GRU's candidate gate n, (H,), which the reset gate multiplies.
            mask: Factors of the hidden states towards the next layer, (B, H), if any.
        """
        hidden, *cell = state
        requires_grad = torch.is_grad_enabled()
        out, *last_state = _RecurrentWindow.apply(  # type: ignore[no-untyped-call]
            self._for_dtype(input_proj.dtype), requires_grad, input_proj, index, weight_hh, bias_hn, mask, hidden, *cell
        )
        return out, tuple(last_state)


class _RecurrentWindow(torch.autograd.Function):
    """One autograd node for all steps of a window.

    Forward saves, for every step t, ``hidden_seq[t] = h_t`` (``h_0`` is the state before the window), an LSTM's
    ``cell_seq[t] = c_t``, and ``saved_gates[t]``, whose row of each stream has four parts of H numbers:

    - GRU: ``r, z, n, h_{t-1} @ W_hn.T + b_hn``
    - LSTM: ``i, f, g, o``

    Backward overwrites the saved gates with their gradients; it can run only once. Afterwards the four parts are

    - GRU: ``dL/da_r, dL/da_z, dL/da_n, r * dL/da_n``, where ``a`` are the pre-activations. The first three are the
      gradient of the input projections; the first two and the fourth that of ``h_{t-1} @ W_hh.T + b_hh``.
    - LSTM: ``dL/da_i, dL/da_f, dL/da_g, dL/da_o``, the gradient of both.
    """

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
        # 1. memory: the state is updated in place by every step
        current_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        sequences = tuple(
            _sequence(part, steps, input_proj.dtype) for part in (state if requires_grad else state[:1])
        )  # hidden_seq and an LSTM's cell_seq, (T+1, B, H)
        saved_gates = (
            input_proj.new_empty(steps, streams, _row_width(size, input_proj.itemsize)) if requires_grad else None
        )
        out = None if mask is None else input_proj.new_empty(steps, streams, size)
        # 2. all steps
        _, threads = isa_and_threads()
        recurrence.pack(as_array(weight_hh), threads)
        recurrence.forward(
            *(as_array(part) for part in (input_proj, index, bias_hn)),
            *_hidden_and_cell(current_state),
            *_hidden_and_cell(sequences),
            *(as_array(part) for part in (saved_gates, mask, out)),
            threads,
        )
        # 3. for the backward pass
        ctx.save_for_backward(weight_hh)  # PyTorch refuses a backward pass if it has been changed by then
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
        del ctx.saved_gates  # overwritten below
        hidden_seq = sequences[0]
        if grad_out is None:
            grad_out = torch.zeros_like(hidden_seq[1:])
        grad_last_hidden, *grad_last_cell = (None if grad is None else grad.contiguous() for grad in grad_last)
        zeros = torch.zeros(hidden_seq.shape[1:])
        # a GRU's part of dL/dh_{t-1} that bypasses the product (z * dL/dh_t), or an LSTM's dL/dc_{t-1}
        grad_state = zeros if not grad_last_cell or grad_last_cell[0] is None else grad_last_cell[0].clone()
        # 1. all steps, last to first: the saved gates become the gradients of the pre-activations
        ctx.recurrence.backward(
            as_array(grad_out.contiguous()),
            as_array(ctx.mask),
            *_hidden_and_cell(sequences),
            as_array(saved_gates),
            as_array(grad_last_hidden),
            as_array(grad_state),
            isa_and_threads()[1],
        )
        # 2. gradients of inputs and weights: one product over all steps and streams for each
        size, is_lstm = hidden_seq.shape[2], len(sequences) == 2
        parts = saved_gates.flatten(0, 1)[:, : 4 * size]
        grad_pre_act = parts if is_lstm else parts[:, : 3 * size]
        grad_recurrent: tuple[Tensor, ...] = (parts,) if is_lstm else (parts[:, : 2 * size], parts[:, 3 * size :])
        grad_input_proj = _scatter_add(grad_pre_act, ctx.index, ctx.num_rows)
        grad_weight = _grad_weight_hh(grad_recurrent, hidden_seq[:-1].flatten(0, 1), weight_hh)
        grad_bias = None if is_lstm else grad_recurrent[-1].sum(0, dtype=torch.float32)
        grad_first = _grad_first_state(ctx, grad_recurrent, weight_hh, grad_state, is_lstm)
        return None, None, grad_input_proj, None, grad_weight, grad_bias, None, *grad_first


def _row_width(size: int, itemsize: int) -> int:
    """Return how many numbers a row of 4*H has room for: an odd number of cache lines.

    Products read the same column of a dozen rows at a time. If those were a power of two apart, they would share few
    places of the first-level cache: with 1024 units the backward pass took a tenth longer.
    """
    lines = -(-4 * size * itemsize // _CACHE_LINE)
    return (lines + 1 - lines % 2) * _CACHE_LINE // itemsize


def _grad_weight_hh(grad_recurrent: tuple[Tensor, ...], hidden: Tensor, weight_hh: Tensor) -> Tensor:
    """Compute ``dL/dW_hh = grad_recurrent.T @ hidden``, one product for each block of gates.

    Args:
        grad_recurrent: Gradient of ``h_{t-1} @ W_hh.T``, in blocks of gates, each (T*B, ...).
        hidden: ``h_{t-1}`` of every step, (T*B, H).
        weight_hh: (G*H, H).
    """
    gradient = torch.empty_like(weight_hh, dtype=hidden.dtype)
    blocks = torch.split(gradient, [block.shape[1] for block in grad_recurrent])
    for grad_block, out in zip(grad_recurrent, blocks, strict=True):
        torch.mm(grad_block.t(), hidden, out=out)
    return gradient.to(weight_hh.dtype)


def _grad_first_state(
    ctx: Any, grad_recurrent: tuple[Tensor, ...], weight_hh: Tensor, grad_state: Tensor, is_lstm: bool
) -> tuple[Tensor | None, ...]:
    """Compute the gradient of the state before the window, if it is required; training does not require it."""
    if not any(ctx.needs_input_grad[7:]):
        return (None, None) if is_lstm else (None,)
    grad_first_step = torch.cat([block[: len(grad_state)] for block in grad_recurrent], 1)
    grad_hidden = grad_first_step.to(weight_hh.dtype) @ weight_hh
    return (grad_hidden, grad_state) if is_lstm else (grad_hidden + grad_state,)


def _scatter_add(grad: Tensor, index: Tensor | None, num_rows: int) -> Tensor:
    """Return the gradient of rows that were looked up: for each row the sum over the places that have its index."""
    if index is None:
        return grad
    table = torch.zeros(num_rows, grad.shape[1])
    compiled_module().add_rows(as_array(grad), as_array(index.flatten()), as_array(table), *isa_and_threads())
    return table.to(grad.dtype)


def _sequence(first: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Return room for a state before and after every step, (T+1, B, H), with the first one filled in."""
    sequence = first.new_empty(steps + 1, *first.shape, dtype=dtype)
    sequence[0] = first
    return sequence


def _hidden_and_cell(parts: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """Return a state's parts as arrays; the second is None if there is only one."""
    hidden, *cell = parts
    return as_array(hidden), as_array(cell[0]) if cell else None
