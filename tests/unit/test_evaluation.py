import numpy as np
import pytest

from charloom.model import reference as cells
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.network import CharNetwork
from support.models import tiny_architecture, tiny_weights


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("length", [2, 3, 255, 256, 257, 258, 700, 5000])
def test_the_loss_is_that_of_one_reader_of_the_whole_text(cell, length):
    """These small models forget within far fewer characters than are read before each stretch."""
    architecture = tiny_architecture(cell)
    weights = tiny_weights(architecture, spread=0.5)
    network = CharNetwork(architecture, weights, (0.5, 0.5, 0.5))
    ids = np.random.default_rng(length).integers(0, 7, length).astype(np.uint8)
    logits, _ = cells.forward(architecture, weights, ids[None, :-1])
    expected = cells.loss(logits, ids[None, 1:])
    network.train()
    assert evaluate(network, ids) == pytest.approx(expected, abs=1e-5)
    assert network.training  # left as it was, and dropout did not take part
