"""Muon compared with the singular value decomposition and with its update written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from charloom.model.initializers import initial_weights
from charloom.planning.settings import Settings
from charloom.training.backends.torch.backend import train_steps
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.muon import orthogonal
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.backends.torch.optimizer import make_optimizer, set_step
from charloom.training.batches import make_batches
from charloom.training.distributed.process_group import ProcessGroup

SMALL = Settings(
    hidden_size=6, embedding_size=3, seq_length=5, batch_size=4, steps=50, minutes=0, learning_rate=0.01,
    muon_ratio=10, muon_momentum=0.5, muon_every=2, weight_decay=0.5, num_layers=2,
)  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (9, 5), (1, 4)])
def test_orthogonal_keeps_singular_vectors(shape):
    matrix = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonal(matrix)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.8 and values.max() < 1.2
    assert float((result * (u @ v)).sum() / (result.norm() * (u @ v).norm())) > 0.99  # same singular vectors


def test_orthogonal_in_bfloat16_is_close_to_float32():
    matrix = torch.from_numpy(np.random.default_rng(3).normal(size=(96, 96)).astype(np.float32))
    exact, result = orthogonal(matrix), orthogonal(matrix, torch.bfloat16)
    assert result.dtype == torch.float32 and not torch.equal(result, exact)
    # a few rounding errors of 2^-9 in each of five iterations
    assert float((result - exact).norm() / exact.norm()) < 2**-5


class SecondOfTwo(ProcessGroup):
    """The second of two processes; all-reduce returns only its own values."""

    rank, size = 1, 2


def test_each_rank_orthogonalizes_its_share_of_gates():
    network = CharNetwork(architecture := SMALL.architecture(9), initial_weights(architecture, 0))
    optimizers = [make_optimizer(network, SMALL, process_group=group) for group in (ProcessGroup(), SecondOfTwo())]
    matrices = [network.parameter(f"layers.{name}") for name in ("0.weight_hh", "1.weight_ih", "1.weight_hh")]
    rng = np.random.default_rng(4)
    for matrix in matrices:
        matrix.grad = torch.from_numpy(rng.normal(size=matrix.shape).astype(np.float32))
    for optimizer in optimizers:
        optimizer.step()
    single, second_rank = (
        torch.cat([optimizer.state[matrix]["direction"] for matrix in matrices]).split(6) for optimizer in optimizers
    )
    assert len(single) == 9  # three gates each
    assert all(not gate.any() for gate in second_rank[:4]) and all(map(torch.equal, single[4:], second_rank[4:]))


def test_zero_gradient_gives_zero_direction():
    assert torch.equal(orthogonal(torch.zeros(4, 4)), torch.zeros(4, 4))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_muon_updates_each_gate_and_reuses_directions(cell):
    settings = replace(SMALL, cell=cell)
    architecture = settings.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    optimizer = make_optimizer(network, settings)
    rng = np.random.default_rng(2)
    matrix = network.parameter("layers.1.weight_ih")
    expected, momentum = matrix.detach().clone(), torch.zeros_like(matrix)
    for step in range(4):
        gradient = torch.from_numpy(rng.normal(size=matrix.shape).astype(np.float32))
        matrix.grad = gradient
        momentum = 0.5 * momentum + 0.5 * gradient
        if step % 2 == 0:
            direction = torch.cat([orthogonal(gate) for gate in momentum.split(6)])
        set_step(optimizer, step, 0.004, settings)  # learning rate of Muon: 0.04
        optimizer.step()
        expected = expected * (1 - 0.04 * 0.5) - 0.04 * direction
        torch.testing.assert_close(matrix.detach(), expected, rtol=1e-5, atol=1e-6)


def test_muon_updates_only_square_matrices():
    architecture = SMALL.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    (muon_group, *others) = make_optimizer(network, SMALL).param_groups
    names = {id(network.parameter(name)): name for name in architecture.parameter_shapes()}
    assert {names[id(p)] for p in muon_group["params"]} == {
        "layers.0.weight_hh", "layers.1.weight_ih", "layers.1.weight_hh",
    }  # fmt: skip
    assert len(muon_group["params"]) + sum(len(g["params"]) for g in others) == sum(1 for _ in network.parameters())


def test_muon_step_with_nan_changes_nothing():
    ids = np.random.default_rng(5).integers(0, 9, 300).astype(np.uint8)
    architecture = SMALL.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    with torch.no_grad():
        network.output.bias[0] = float("nan")
    before = network.weights()
    record = next(train_steps(network, make_batches(ids, SMALL), SMALL, 50, choose_device("cpu", "float32")))
    assert record.loss is None
    for name, value in network.weights().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
