"""The reference cells match the equations computed gate by gate, and PyTorch's cells in float64."""

import math

import numpy as np
import pytest
import torch

from charloom.model import reference as cells
from support.models import tiny_architecture, tiny_weights


def naive_gru(x, h, w, reset_after):
    """Compute a GRU step unit by unit from the equations, sharing no code with the reference."""
    H = h.shape[1]
    out = np.empty_like(h)
    sig = lambda a: 1 / (1 + math.exp(-a))  # noqa: E731
    for b in range(len(h)):
        dot = lambda row, v: sum(w_i * v_i for w_i, v_i in zip(row, v, strict=True))  # noqa: E731
        r = [
            sig(
                dot(w["weight_ih"][j], x[b])
                + w["bias_ih"][j]
                + dot(w["weight_hh"][j], h[b])
                + (w["bias_hh"][j] if reset_after else 0)
            )
            for j in range(H)
        ]
        for j in range(H):
            z = sig(
                dot(w["weight_ih"][H + j], x[b])
                + w["bias_ih"][H + j]
                + dot(w["weight_hh"][H + j], h[b])
                + (w["bias_hh"][H + j] if reset_after else 0)
            )
            inner = dot(w["weight_ih"][2 * H + j], x[b]) + w["bias_ih"][2 * H + j]
            if reset_after:
                inner += r[j] * (dot(w["weight_hh"][2 * H + j], h[b]) + w["bias_hh"][2 * H + j])
            else:
                inner += dot(w["weight_hh"][2 * H + j], [r_i * h_i for r_i, h_i in zip(r, h[b], strict=True)])
            out[b, j] = (1 - z) * math.tanh(inner) + z * h[b, j]
    return out


def layer(rng, cell, width=3, hidden=4):
    rows = hidden * (3 if cell == "gru" else 4)
    shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_step_follows_the_equations(reset_after):
    rng = np.random.default_rng(0)
    weights, x, h = layer(rng, "gru"), rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    expected = naive_gru(x, h, weights, reset_after)
    np.testing.assert_allclose(cells.gru_step(x, h, weights, reset_after), expected, rtol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_steps_match_pytorch_cells(cell):
    rng = np.random.default_rng(1)
    weights, x, h, c = layer(rng, cell), rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    theirs = (torch.nn.GRUCell if cell == "gru" else torch.nn.LSTMCell)(3, 4, dtype=torch.float64)
    if cell == "lstm":
        weights["bias_hh"] = np.zeros(16)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    with torch.no_grad():
        if cell == "gru":
            expected = [theirs(torch.from_numpy(x), torch.from_numpy(h)).numpy()]
            ours = [cells.gru_step(x, h, weights)]
        else:
            expected = [t.numpy() for t in theirs(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c)))]
            ours = list(cells.lstm_step(x, h, c, weights))
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_forward_in_two_parts_equals_forward_at_once(cell):
    architecture = tiny_architecture(cell)
    weights = tiny_weights(architecture)
    ids = np.random.default_rng(2).integers(0, 7, (3, 12))
    whole, state = cells.forward(architecture, weights, ids)
    first, between = cells.forward(architecture, weights, ids[:, :5])
    second, after = cells.forward(architecture, weights, ids[:, 5:], between)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(after, state)


def test_loss_of_equal_logits_is_log_of_vocabulary_size():
    assert cells.loss(np.zeros((2, 3, 65)), np.zeros((2, 3), int)) == pytest.approx(math.log(65), rel=1e-14)


def test_loss_is_negative_log_softmax():
    logits = np.array([[[1.0, 2.0, 4.0]]])
    expected = -math.log(math.exp(2) / (math.exp(1) + math.exp(2) + math.exp(4)))
    assert cells.loss(logits, np.array([[1]])) == pytest.approx(expected, rel=1e-14)


def test_large_inputs_do_not_overflow():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert cells.sigmoid(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
        assert cells.loss(np.array([[[1e5, -1e5]]]), np.array([[0]])) == 0.0
