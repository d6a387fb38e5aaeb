import numpy as np
import pytest

from charloom.model import reference as cells
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.network import CharNetwork
from support.models import tiny_architecture, tiny_weights


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("length", [2, 3, 255, 256, 257, 258, 700, 5000])
def test_parallel_evaluation_equals_a_single_stream(cell, length):
    """These small models forget within far fewer characters than the warm-up before each segment has."""
    architecture = tiny_architecture(cell)
    weights = tiny_weights(architecture, spread=0.5)
    network = CharNetwork(architecture, weights, (0.5, 0.5, 0.5))
    ids = np.random.default_rng(length).integers(0, 7, length).astype(np.uint8)
    logits, _ = cells.forward(architecture, weights, ids[None, :-1])
    expected = cells.loss(logits, ids[None, 1:])
    network.train()
    assert evaluate(network, ids) == pytest.approx(expected, abs=1e-5)
    assert network.training  # the mode is restored; dropout was off
