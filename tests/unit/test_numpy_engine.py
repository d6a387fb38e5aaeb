import numpy as np
import pytest

from charloom.inference.engines.folding import fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.model import reference
from support.models import tiny_architecture, tiny_weights

ARCHITECTURES = [("gru", True, 1), ("gru", True, 3), ("gru", False, 2), ("lstm", True, 1), ("lstm", True, 2)]


@pytest.fixture(params=ARCHITECTURES, ids=lambda case: f"{case[0]}-{'after' if case[1] else 'before'}-{case[2]}")
def model(request):
    cell, reset_after, num_layers = request.param
    architecture = tiny_architecture(cell, num_layers, reset_after)
    weights = tiny_weights(architecture)
    return architecture, weights, NumpyEngine(architecture, fold(architecture, weights, "float32"))


IDS = np.random.default_rng(0).integers(0, 7, (4, 30))


def test_the_engine_agrees_with_the_float64_reference(model):
    architecture, weights, engine = model
    logits, state = engine.forward(IDS, engine.initial_state(4))
    expected, expected_state = reference.forward(architecture, weights, IDS)
    # float32 rounding of about 6e-8 per operation, over 30 steps of sums of fewer than 10 numbers near 1
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    np.testing.assert_allclose(state, expected_state, atol=1e-5)


def test_a_text_in_pieces_gives_the_same_logits_as_the_whole(model):
    engine = model[2]
    whole, state = engine.forward(IDS, engine.initial_state(4))
    piece_state = engine.initial_state(4)
    pieces = []
    for piece in np.split(IDS, [1, 2, 17], axis=1):
        logits, piece_state = engine.forward(piece, piece_state)
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-5)
    np.testing.assert_allclose(piece_state, state, atol=1e-5)


def test_a_row_of_a_batch_is_bit_identical_to_a_batch_of_one(model):
    engine = model[2]
    for t in (0, 1):
        batch, state = engine.forward(IDS[:, t : t + 1], engine.initial_state(4))
        for row in range(4):
            single, single_state = engine.forward(IDS[row : row + 1, t : t + 1], engine.initial_state(1))
            np.testing.assert_array_equal(single[0], batch[row])
            np.testing.assert_array_equal(single_state[:, :, 0], state[:, :, row])


def test_forward_does_not_modify_the_state(model):
    engine = model[2]
    before = engine.initial_state(4)
    engine.forward(IDS, before)
    assert not before.any()
