"""The training loop learns: initial loss, memorizing a batch, seeds, optimizers and schedules."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training.backends.torch.backend import train_steps
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.backends.torch.optimizer import make_optimizer
from charloom.training.batches import make_batches
from charloom.training.optim.schedules import learning_rate_at

SMALL = Settings(
    hidden_size=48, embedding_size=16, seq_length=20, batch_size=4, learning_rate=1e-2, warmup_steps=5, minutes=0,
    steps=1, dropout_input=0, dropout_output=0,
)  # fmt: skip


def train(ids, settings, steps, vocabulary_size):
    architecture = settings.architecture(vocabulary_size)
    network = CharNetwork(architecture, initial_weights(architecture, settings.seed))
    records = list(train_steps(network, make_batches(ids, settings), settings, steps, choose_device("cpu", "float32")))
    return network, records


@pytest.mark.parametrize("recipe", ["auto", "tutorial-gru", "tutorial-lstm"])
def test_initial_loss_is_log_vocabulary_size(recipe):
    settings = RECIPES[recipe].settings
    ids = np.random.default_rng(0).integers(0, 65, 10_000).astype(np.uint8)
    _, records = train(ids, settings, 1, 65)
    assert records[0].loss == pytest.approx(math.log(65), abs=0.02)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_one_batch_can_be_memorized(cell):
    """81 random characters: only memorization lowers the loss from ln 10 to about 0."""
    ids = np.random.default_rng(1).integers(0, 10, 81).astype(np.uint8)
    _, records = train(ids, SMALL.with_values({"cell": cell}), 300, 10)
    assert records[0].loss == pytest.approx(math.log(10), abs=0.1)
    assert records[-1].loss < 0.1


def test_random_text_is_not_learned(text):
    """On random characters that do not repeat, the loss stays at their entropy, ln 4."""
    ids = np.random.default_rng(2).integers(0, 4, 40_000).astype(np.uint8)
    _, records = train(ids, SMALL, 200, 4)
    assert np.mean([r.loss for r in records[-50:]]) == pytest.approx(math.log(4), abs=0.02)


def test_seed_determines_the_model():
    ids = np.random.default_rng(3).integers(0, 9, 3000).astype(np.uint8)
    with_dropout = replace(SMALL, dropout_output=0.3)
    first, again, other = (train(ids, replace(with_dropout, seed=seed), 20, 9)[0].weights() for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_training_does_not_change_the_global_generator():
    ids = np.random.default_rng(3).integers(0, 9, 3000).astype(np.uint8)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(ids, replace(SMALL, dropout_output=0.3), 3, 9)
    assert torch.equal(torch.rand(3), expected)


def test_adam_matches_the_paper():
    """Three updates of one parameter, compared with the formula of the paper."""
    ids = np.random.default_rng(4).integers(0, 5, 200).astype(np.uint8)
    settings = RECIPES["tutorial-gru"].settings.with_values(
        {"hidden_size": 6, "embedding_size": 4, "seq_length": 9, "batch_size": 2, "shuffle_buffer": 50}
    )
    architecture = settings.architecture(5)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    m = v = 0.0
    value = float(network.output.bias[2].detach())
    loop = train_steps(network, make_batches(ids, settings), settings, 3, choose_device("cpu", "float32"))
    for t, _ in enumerate(loop, 1):
        gradient = float(network.output.bias.grad[2])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value -= 1e-3 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-7)
        assert float(network.output.bias[2].detach()) == pytest.approx(value, rel=1e-4)


def test_weight_decay_applies_to_matrices_only():
    """With zero gradients, AdamW only multiplies by 1 - learning_rate * weight_decay = 1 - 0.01 * 0.5."""
    architecture = SMALL.architecture(9)
    weights = {n: w + np.float32(0.5) for n, w in initial_weights(architecture, 0).items()}
    network = CharNetwork(architecture, weights)
    optimizer = make_optimizer(network, replace(SMALL, optimizer="adamw", weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.weights().items():
        expected = weights[name] * np.float32(1 if value.ndim == 1 else 0.995)
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=name)


def test_gradient_clipping():
    ids = np.random.default_rng(5).integers(0, 9, 3000).astype(np.uint8)
    settings = replace(SMALL, max_grad_norm=0.01, optimizer="adam")
    architecture = settings.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    record = next(train_steps(network, make_batches(ids, settings), settings, 5, choose_device("cpu", "float32")))
    clipped_norm = math.sqrt(sum(float((p.grad**2).sum()) for p in network.parameters() if p.requires_grad))
    assert record.grad_norm > 0.01 and clipped_norm == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("schedule", "middle", "last"), [("linear", 0.5, 0.01), ("cosine", 0.5, 0.0003)])
def test_learning_rate_warms_up_and_decays(schedule, middle, last):
    settings = Settings(learning_rate=1.0, warmup_steps=10, schedule=schedule)
    rates = [learning_rate_at(step, 110, settings) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0 and rates[60] == pytest.approx(middle) and 0 < rates[-1] < last * 1.01
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_constant_learning_rate():
    settings = Settings(learning_rate=1.0, warmup_steps=0, schedule="constant")
    assert {learning_rate_at(step, 110, settings) for step in range(110)} == {1.0}


def test_nonfinite_step_is_skipped():
    ids = np.random.default_rng(6).integers(0, 9, 3000).astype(np.uint8)
    architecture = SMALL.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    loop = train_steps(network, make_batches(ids, SMALL), SMALL, 9, choose_device("cpu", "float32"))
    next(loop)
    with torch.no_grad():
        network.output.bias[3] = math.inf
    before = network.weights()
    record = next(loop)
    assert (record.step, record.loss, record.grad_norm) == (2, None, None)
    for name, value in network.weights().items():
        np.testing.assert_array_equal(value, before[name])
