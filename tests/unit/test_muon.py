"""Orthogonal steps, against the singular value decomposition and against momentum written out."""

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
def test_a_matrix_is_made_orthogonal_as_its_singular_vectors_say(shape):
    drawn = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    u, _, v = torch.linalg.svd(drawn, full_matrices=False)
    made = orthogonal(drawn)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.8 and values.max() < 1.2
    assert float((made * (u @ v)).sum() / (made.norm() * (u @ v).norm())) > 0.99  # the same direction


def test_products_of_bfloat16_make_nearly_the_same_matrix():
    drawn = torch.from_numpy(np.random.default_rng(3).normal(size=(96, 96)).astype(np.float32))
    exact, made = orthogonal(drawn), orthogonal(drawn, torch.bfloat16)
    assert made.dtype == torch.float32 and not torch.equal(made, exact)
    assert float((made - exact).norm() / exact.norm()) < 2**-5  # some roundings of 2^-9 each, in five rounds


class SecondOfTwo(ProcessGroup):
    """One of two processes, whose other never answers."""

    rank, size = 1, 2


def test_each_process_makes_its_share_of_the_matrices_alone():
    network = CharNetwork(architecture := SMALL.architecture(9), initial_weights(architecture, 0))
    optimizers = [make_optimizer(network, SMALL, process_group=group) for group in (ProcessGroup(), SecondOfTwo())]
    matrices = [network.parameter(f"layers.{name}") for name in ("0.weight_hh", "1.weight_ih", "1.weight_hh")]
    rng = np.random.default_rng(4)
    for matrix in matrices:
        matrix.grad = torch.from_numpy(rng.normal(size=matrix.shape).astype(np.float32))
    for optimizer in optimizers:
        optimizer.step()
    alone, own = (
        torch.cat([optimizer.state[matrix]["direction"] for matrix in matrices]).split(6) for optimizer in optimizers
    )
    assert len(alone) == 9  # three gates each
    assert all(not gate.any() for gate in own[:4]) and all(map(torch.equal, alone[4:], own[4:]))


def test_a_gradient_of_zeros_gives_no_step():
    assert torch.equal(orthogonal(torch.zeros(4, 4)), torch.zeros(4, 4))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_gate_moves_by_its_own_orthogonal_matrix_which_is_used_twice(cell):
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
        set_step(optimizer, step, 0.004, settings)  # Muon's is 0.04
        optimizer.step()
        expected = expected * (1 - 0.04 * 0.5) - 0.04 * direction
        torch.testing.assert_close(matrix.detach(), expected, rtol=1e-5, atol=1e-6)


def test_only_the_square_matrices_take_orthogonal_steps():
    architecture = SMALL.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    (own, *others) = make_optimizer(network, SMALL).param_groups
    names = {id(network.parameter(name)): name for name in architecture.parameter_shapes()}
    assert {names[id(p)] for p in own["params"]} == {
        "layers.0.weight_hh", "layers.1.weight_ih", "layers.1.weight_hh",
    }  # fmt: skip
    assert len(own["params"]) + sum(len(g["params"]) for g in others) == sum(1 for _ in network.parameters())


def test_an_update_with_a_nan_moves_nothing():
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
