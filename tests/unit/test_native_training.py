"""Compiled windows and loss compared with PyTorch in float64, for every instruction set and thread count."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from charloom import native
from charloom.model.architecture import Architecture
from charloom.training.backends.torch import compiled_module as compiled
from charloom.training.backends.torch.compiled_loss import linear_cross_entropy
from charloom.training.backends.torch.compiled_window import CompiledRecurrence
from charloom.training.backends.torch.network import CharNetwork
from support.models import tiny_weights

pytestmark = pytest.mark.skipif(not compiled.can_train(), reason=native.missing or "the compiled module cannot train")
both_cells = pytest.mark.parametrize("cell", ["gru", "lstm"])
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
STEPS, STREAMS = 5, 11


def window_inputs(cell, size, streams=STREAMS, looked_up=True, seed=0):
    """Return random arguments of a window in float64, large enough for every gate to have an effect."""
    generator = torch.Generator().manual_seed(seed)
    gates, parts = (3, 1) if cell == "gru" else (4, 2)

    def normal(*shape, spread=1.0):
        return torch.randn(shape, generator=generator, dtype=torch.float64) * spread

    index = torch.randint(0, 7, (STEPS, streams), generator=generator) if looked_up else None
    return {
        "input_proj": normal(7 if looked_up else STEPS * streams, gates * size),
        "index": index,
        "state": tuple(normal(streams, size) for _ in range(parts)),
        "weight_hh": normal(gates * size, size, spread=size**-0.5),
        "bias_hn": normal(size) if cell == "gru" else None,
        "mask": (torch.rand(streams, size, generator=generator, dtype=torch.float64) > 0.3) / 0.7,
    }


def pytorch_window(cell, input_proj, index, state, weight_hh, bias_hn, mask):
    """Compute the same window with PyTorch's layer, whose input weights are the identity matrix."""
    size = weight_hh.shape[1]
    layer = (nn.GRU if cell == "gru" else nn.LSTM)(len(weight_hh), size, dtype=torch.float64)
    x = input_proj[index] if index is not None else input_proj.view(STEPS, -1, len(weight_hh))
    zeros = torch.zeros(len(weight_hh), dtype=torch.float64)
    bias_hh = zeros if bias_hn is None else torch.cat([zeros[: 2 * size], bias_hn])
    parameters = {"weight_ih_l0": torch.eye(len(weight_hh), dtype=torch.float64), "weight_hh_l0": weight_hh}
    parameters |= {"bias_ih_l0": zeros, "bias_hh_l0": bias_hh}
    before = tuple(part[None] for part in state)
    out, after = torch.func.functional_call(layer, parameters, (x, before[0] if cell == "gru" else before))
    return out * mask, tuple(part[0] for part in (after if isinstance(after, tuple) else (after,)))


def make_leaves(inputs, dtype):
    """Return the inputs as autograd leaves of a data type; for bfloat16 only ``input_proj`` has it."""
    rest_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    return {
        name: tuple(part.to(rest_dtype).detach().requires_grad_() for part in value)
        if isinstance(value, tuple)
        else value
        if value is None or name == "index"
        else value.to(dtype if name == "input_proj" else rest_dtype).detach().requires_grad_(name != "mask")
        for name, value in inputs.items()
    }


def gradients(inputs, out, after):
    """Return the gradients of a weighted sum of all outputs, with a different weight for every element."""
    total = sum((part * torch.arange(part.numel()).view_as(part).cos()).sum() for part in (out, *after))
    total.backward()
    return [inputs["input_proj"].grad, inputs["weight_hh"].grad, *(part.grad for part in inputs["state"])] + (
        [] if inputs["bias_hn"] is None else [inputs["bias_hn"].grad]
    )


@both_cells
@pytest.mark.parametrize("size", [1, 16, 45])
@pytest.mark.parametrize("looked_up", [True, False])
def test_float32_window_matches_pytorch_forward_and_backward(isa, cell, size, looked_up):
    inputs = window_inputs(cell, size, looked_up=looked_up)
    exact, ours = make_leaves(inputs, torch.float64), make_leaves(inputs, torch.float32)
    out, after = pytorch_window(cell, **exact)
    actual, actual_state = CompiledRecurrence(cell, size).window(**ours)
    np.testing.assert_allclose(actual.detach(), out.detach(), atol=1e-5)
    for vector, expected in zip(actual_state, after, strict=True):
        np.testing.assert_allclose(vector.detach(), expected.detach(), atol=1e-5)
    expected_grads, actual_grads = gradients(exact, out, after), gradients(ours, actual, actual_state)
    for gradient, expected in zip(actual_grads, expected_grads, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


@both_cells
@pytest.mark.parametrize("size", [2, 16, 46])
@pytest.mark.parametrize("looked_up", [True, False])
def test_bfloat16_window_is_close_to_pytorch_float64(isa, cell, size, looked_up):
    """A bfloat16 has 8 significant bits: rounding changes a number by at most 1/512 of its value."""
    inputs = window_inputs(cell, size, looked_up=looked_up)
    inputs["input_proj"] = inputs["input_proj"].bfloat16().double()
    exact, ours = make_leaves(inputs, torch.float64), make_leaves(inputs, torch.bfloat16)
    out, after = pytorch_window(cell, **exact)
    actual, actual_state = CompiledRecurrence(cell, size).window(**ours)
    assert actual.dtype == torch.bfloat16 and all(part.dtype == torch.float32 for part in actual_state)
    assert relative_error(actual, out) < 0.005
    for vector, expected in zip(actual_state, after, strict=True):
        assert relative_error(vector, expected) < 0.005
    for gradient, expected in zip(gradients(ours, actual, actual_state), gradients(exact, out, after), strict=True):
        assert relative_error(gradient, expected) < 0.01


@both_cells
def test_saturated_gates_keep_accurate_gradients_in_bfloat16(isa, cell):
    """The gradient has the factor 1 - gate, which would lose its accuracy if the gate were rounded to bfloat16."""
    inputs = window_inputs(cell, 64, looked_up=False)
    inputs["input_proj"][:, 64:128] += 4.0  # forget gate of an LSTM, update gate of a GRU
    inputs["input_proj"] = inputs["input_proj"].bfloat16().double()
    exact, ours = make_leaves(inputs, torch.float32), make_leaves(inputs, torch.bfloat16)
    for leaf in (exact, ours):
        gradients(leaf, *CompiledRecurrence(cell, 64).window(**leaf))
    assert relative_error(ours["input_proj"].grad[:, 64:128], exact["input_proj"].grad[:, 64:128]) < 0.012


def relative_error(actual, expected):
    """Return the L2 distance between two tensors, relative to the norm of the expected one."""
    return ((actual.double() - expected).norm() / expected.norm()).item()


@both_cells
def test_bfloat16_rounding_equals_pytorch(isa, cell):
    """The output is the rounded state, for numbers of many magnitudes and for NaN."""
    inputs = make_leaves(window_inputs(cell, 64, streams=40), torch.bfloat16)
    index, mask = inputs["index"][:1].contiguous(), torch.rand(40, 64).exp2() ** 40
    with torch.no_grad():
        inputs["input_proj"][index[0, 3]] = torch.nan
        actual, after = CompiledRecurrence(cell, 64).window(**inputs | {"index": index, "mask": mask})
    expected = (after[0] * mask).bfloat16()
    assert expected[3].isnan().all() and expected.isfinite().any()
    np.testing.assert_array_equal(actual[0].float(), expected.float())


def test_bfloat16_requires_even_hidden_size():
    with pytest.raises(ValueError, match="even"):
        CompiledRecurrence("gru", 5).window(**make_leaves(window_inputs("gru", 5), torch.bfloat16))
    architecture = Architecture(7, "gru", embedding_size=6, hidden_size=5)
    network = CharNetwork(architecture, tiny_weights(architecture))
    ids = torch.zeros(2, 4, dtype=torch.int64)
    with torch.no_grad():
        exact, _ = network.loss(ids, ids)
        with torch.autocast("cpu", torch.bfloat16):
            rounded, _ = network.loss(ids, ids)  # windows of odd hidden size use float32
    assert rounded.item() == pytest.approx(exact.item(), abs=0.01)


@both_cells
@both_precisions
@pytest.mark.parametrize("streams", [1, 2, 7, 8, 9, 10, 13, 19])
def test_streams_are_independent_of_the_batch(isa, cell, dtype, streams):
    """The results are bit-identical, whatever the tiling."""
    inputs = make_leaves(window_inputs(cell, 34, streams), dtype)
    recurrence = CompiledRecurrence(cell, 34)
    with torch.no_grad():
        whole, _ = recurrence.window(**inputs)
        for i in range(streams):
            one = inputs | {"state": tuple(part[i : i + 1] for part in inputs["state"])}
            one |= {"index": inputs["index"][:, i : i + 1].contiguous(), "mask": inputs["mask"][i : i + 1]}
            alone, _ = recurrence.window(**one)
            np.testing.assert_array_equal(alone[:, 0].float(), whole[:, i].float())


@both_cells
@both_precisions
def test_results_do_not_depend_on_thread_count(isa, cell, dtype):
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        inputs = make_leaves(window_inputs(cell, 100), dtype)
        out, after = CompiledRecurrence(cell, 100).window(**inputs)
        results.append([out.detach(), *gradients(inputs, out, after)])
    torch.set_num_threads(before)
    for other in results[1:]:
        for place, (one, another) in enumerate(zip(results[0], other, strict=True)):
            if place < 2:  # hidden states and gradients of the input projections
                np.testing.assert_array_equal(one.float(), another.float())
            else:  # products by PyTorch's library, which adds up in another order with other threads on some processors
                np.testing.assert_allclose(one.float(), another.float(), rtol=1e-4, atol=1e-5)


def test_backward_raises_after_weights_were_modified():
    inputs = make_leaves(window_inputs("gru", 5), torch.float32)
    out, _ = CompiledRecurrence("gru", 5).window(**inputs)
    with torch.no_grad():
        inputs["weight_hh"].add_(1)
    with pytest.raises(RuntimeError, match="modified"):
        out.sum().backward()


def test_mismatched_shapes_raise():
    recurrence = CompiledRecurrence("gru", 5)
    good = make_leaves(window_inputs("gru", 5), torch.float32)
    for name, wrong in (
        ("weight_hh", torch.zeros(12, 5)),
        ("input_proj", torch.zeros(7, 14)),
        ("index", torch.full((STEPS, STREAMS), 7)),
        ("bias_hn", None),
        ("mask", torch.ones(STREAMS, 4)),
    ):
        with pytest.raises((ValueError, TypeError)):
            recurrence.window(**good | {name: wrong})


@pytest.mark.parametrize("vocabulary_size", [1, 2, 15, 16, 65, 5387])
def test_loss_and_gradients_match_pytorch(isa, vocabulary_size, monkeypatch):
    """With 5,387 characters, the logits are computed in several blocks."""
    monkeypatch.setattr("charloom.training.backends.torch.compiled_loss._BLOCK_BYTES", 100 * 5387 * 4)
    generator = torch.Generator().manual_seed(vocabulary_size)
    rows = 250
    hidden, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((rows, 6), (vocabulary_size, 6), (vocabulary_size,))
    )
    targets = torch.randint(0, vocabulary_size, (rows,), generator=generator)
    exact = [part.clone().requires_grad_() for part in (hidden, weight, bias)]
    loss = F.cross_entropy(F.linear(*exact), targets)
    (3 * loss).backward()
    ours = [part.float().requires_grad_() for part in (hidden, weight, bias)]
    actual = linear_cross_entropy(*ours, targets)
    (3 * actual).backward()
    assert actual.item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-6)
    for part, expected in zip(ours, exact, strict=True):
        np.testing.assert_allclose(part.grad, expected.grad, atol=1e-6)
    rounded = [hidden.bfloat16().requires_grad_(), *(part.detach().clone().requires_grad_() for part in ours[1:])]
    actual = linear_cross_entropy(*rounded, targets)
    (3 * actual).backward()
    assert actual.item() == pytest.approx(loss.item(), rel=1e-2, abs=1e-6)
    for part, expected in zip(rounded, exact, strict=True):
        assert vocabulary_size == 1 or relative_error(part.grad, expected.grad) < 0.03


def test_nonfinite_logits_give_a_nonfinite_loss():
    hidden = torch.tensor([[1.0], [float("nan")], [float("inf")]])
    for row in range(1, 3):
        loss = linear_cross_entropy(hidden[row : row + 1], torch.ones(4, 1), torch.zeros(4), torch.tensor([1]))
        assert not torch.isfinite(loss)


@both_cells
@pytest.mark.parametrize("dropout", [(0.0, 0.0, 0.0), (0.2, 0.3, 0.4)])
@pytest.mark.parametrize("vocabulary_size", [7, 1000])
def test_all_implementations_agree(cell, dropout, vocabulary_size):
    """From a large vocabulary only the characters that occur are projected."""
    architecture = Architecture(vocabulary_size, cell, embedding_size=6, hidden_size=20, num_layers=2)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, vocabulary_size, (9, 12)))
    results = []
    names = ("compiled", "pytorch", *(["gru_autograd"] if cell == "gru" else []))
    for name in names:
        network = CharNetwork(
            architecture, tiny_weights(architecture, spread=0.3), dropout, implementation=name
        ).train()
        loss, state = network.loss(ids[:, :-1], ids[:, 1:], generator=torch.Generator().manual_seed(1))
        loss.backward()
        parts = [part.detach() for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]
        results.append([loss.detach(), *parts, *(p.grad for p in network.parameters() if p.grad is not None)])
    for expected, *rest_dtype in zip(*results, strict=True):
        for value in rest_dtype:
            np.testing.assert_allclose(value, expected, atol=1e-6)


def test_denormals_are_not_flushed_after_a_window():
    inputs = make_leaves(window_inputs("gru", 5), torch.float32)
    CompiledRecurrence("gru", 5).window(**inputs)
    assert np.float32(1e-40) * np.float32(1) > 0
