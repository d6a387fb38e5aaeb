"""The network against independent truth: the NumPy judge, numeric gradients, PyTorch's stacked layers."""

import numpy as np
import pytest
import torch

from charloom.model import reference as cells
from charloom.model.architecture import Architecture
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch.compiled_module import can_train
from charloom.training.backends.torch.gru_autograd import gru_window
from charloom.training.backends.torch.network import IMPLEMENTATIONS, CharNetwork, choose_implementation, detached
from support.models import tiny_architecture, tiny_weights

both = pytest.mark.parametrize("cell", ["gru", "lstm"])
IDS = np.random.default_rng(0).integers(0, 7, (3, 11))


def usable(cell):
    """The implementations of the layers that can compute this cell here."""
    names = {"pytorch"} | ({"gru_autograd"} if cell == "gru" else set())
    return names | ({"compiled"} if can_train() else set())


def make(cell, num_layers=2, dropout=(0.0, 0.0, 0.0)):
    architecture = tiny_architecture(cell, num_layers)
    weights = tiny_weights(architecture)
    return architecture, weights, CharNetwork(architecture, weights, dropout)


@both
def test_it_computes_what_the_judge_computes(cell):
    architecture, weights, network = make(cell)
    logits, state = network(torch.from_numpy(IDS))
    expected, expected_state = cells.forward(architecture, weights, IDS)
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-5)
    parts = [torch.stack(s if isinstance(s, tuple) else (s,))[:, 0].detach().numpy() for s in state]
    np.testing.assert_allclose(np.stack(parts), expected_state, atol=1e-5)


@both
def test_gradients_are_central_differences_of_the_judge(cell):
    """In float64, for five entries of every parameter; the judge shares no code with PyTorch's backward pass."""
    architecture, weights, network = make(cell)
    network.double()
    targets = np.roll(IDS, -1, axis=1)
    logits, _ = network(torch.from_numpy(IDS))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten()).backward()
    rng = np.random.default_rng(1)
    step = 1e-5

    def loss_with(name, place, change):
        changed = {n: w.astype(np.float64) for n, w in weights.items()}
        changed[name].flat[place] += change
        return cells.loss(cells.forward(architecture, changed, IDS)[0], targets)

    for name, shape in architecture.parameter_shapes().items():
        gradient = network.parameter(name).grad.numpy()
        for place in rng.integers(0, np.prod(shape), 5):
            numeric = (loss_with(name, place, step) - loss_with(name, place, -step)) / (2 * step)
            # central differences err by about step**2 and by rounding / step, both near 1e-10
            assert gradient.flat[place] == pytest.approx(numeric, rel=1e-5, abs=1e-8), name


@both
def test_stacked_layers_are_pytorchs(cell):
    _architecture, weights, network = make(cell, num_layers=3)
    theirs = (torch.nn.GRU if cell == "gru" else torch.nn.LSTM)(4, 5, 3, batch_first=True)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            kind, _, layer = name.rpartition("_l")
            ours = weights.get(f"layers.{layer}.{kind}")
            parameter.copy_(torch.zeros_like(parameter) if ours is None else torch.from_numpy(ours))
        embedded = network.embedding(torch.from_numpy(IDS))
        expected = network.output(theirs(embedded)[0])
        logits, _ = network(torch.from_numpy(IDS))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_recurrence_written_by_hand_has_the_gradients_of_its_own_differences():
    """For every input, the state before the first step included, which training itself never asks for."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((4, 2, 9), (2, 3), (9, 3), (9,))  # gates, hidden, weight_hh, bias_hh
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(gru_window, inputs)


def test_characters_looked_up_and_characters_multiplied_say_the_same_to_the_gates():
    _, _, network = make("gru", num_layers=1)
    row = torch.from_numpy(IDS[:1])
    whole, _ = network(row)  # 11 characters of an alphabet of 7: by table
    first, state = network(row[:, :6])  # 6: each multiplied by itself
    second, _ = network(row[:, 6:], state)
    np.testing.assert_allclose(torch.cat([first, second], 1).detach(), whole.detach(), atol=1e-6)
    grads = []
    for logits in (whole, torch.cat([first, second], 1)):
        network.zero_grad()
        logits.square().sum().backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for by_table, by_product in zip(*grads, strict=True):
        np.testing.assert_allclose(by_product, by_table, rtol=1e-4, atol=1e-5)


@both
def test_windows_with_carried_state_equal_one_long_window(cell):
    _, _, network = make(cell)
    ids = torch.from_numpy(IDS)
    with torch.no_grad():
        whole, _ = network(ids)
        first, state = network(ids[:, :4])
        second, _ = network(ids[:, 4:], detached(state))
        one, _ = network(ids[1:2])
    np.testing.assert_allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)
    np.testing.assert_allclose(one[0], whole[1], atol=1e-6)


@both
def test_no_gradient_flows_through_a_detached_state(cell):
    _, _, network = make(cell)
    _, state = network(torch.from_numpy(IDS))
    for layer in detached(state):
        for part in layer if isinstance(layer, tuple) else (layer,):
            assert not part.requires_grad


@both
def test_weights_come_back_as_they_were_given(cell):
    _, weights, network = make(cell)
    assert network.weights().keys() == weights.keys()
    for name, value in network.weights().items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize(("recipe", "count"), [("tutorial-gru", 4_021_569), ("tutorial-lstm", 5_330_241)])
def test_the_tutorials_models_have_as_many_parameters_to_learn(recipe, count):
    architecture = RECIPES[recipe].settings.architecture(65)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count == architecture.num_parameters


def test_dropout_is_locked_through_a_window():
    _, _, network = make("gru", dropout=(0.0, 0.0, 0.5))
    hidden, _ = network.train().read(torch.from_numpy(IDS), None, torch.Generator().manual_seed(1))
    dropped = hidden == 0
    assert (dropped == dropped[:, :1]).all() and 0 < dropped[:, 0].sum() < dropped[:, 0].numel()


def test_each_dropout_acts_where_its_name_says_and_keeps_the_mean():
    _, _, network = make("gru", num_layers=3, dropout=(0.1, 0.2, 0.3))
    masks = network.train()._dropout_masks(2000, torch.Generator().manual_seed(1))
    assert [mask.shape[1] for mask in masks] == [4, 5, 5, 5]  # embedding of 4, then layers of 5
    for mask, share in zip(masks, (0.1, 0.2, 0.2, 0.3), strict=True):
        assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
        # the mean of 8,000 draws or more has a standard deviation of at most 0.0073
        assert mask.mean().item() == pytest.approx(1, abs=0.04)


@both
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dropconnect_drops_the_same_weights_through_a_window(cell, implementation, monkeypatch):
    """It is the network whose ``weight_hh`` has the zeros; nothing is dropped outside training."""
    if implementation not in usable(cell):
        pytest.skip(f"{implementation} cannot compute this here")
    architecture = tiny_architecture(cell)
    weights = tiny_weights(architecture)
    network = CharNetwork(architecture, weights, dropconnect=0.25, implementation=implementation)
    ids, generator = torch.from_numpy(IDS), torch.Generator()
    dropped = [network._layer_weights(layer, generator.manual_seed(1)).weight_hh.detach() for layer in network.layers]
    share = torch.cat([(layer == 0).flatten() for layer in dropped]).float().mean().item()
    assert 0.1 < share < 0.4  # 150 weights or more: the share's standard deviation is 0.035 at most
    masks = iter(dropped)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.where(next(masks) == 0, 0.0, 1.0))
    expected, _ = cells.forward(architecture, weights | _with(dropped), IDS)
    np.testing.assert_allclose(network.train()(ids)[0].detach(), expected, atol=1e-5)
    network.eval()
    np.testing.assert_allclose(network(ids)[0].detach(), cells.forward(architecture, weights, IDS)[0], atol=1e-5)


def _with(weights_hh):
    return {f"layers.{i}.weight_hh": weight.numpy() for i, weight in enumerate(weights_hh)}


def test_dropout_is_off_outside_training_and_repeatable_inside():
    _, _, network = make("gru", dropout=(0.3, 0.3, 0.3))
    ids = torch.from_numpy(IDS)
    network.eval()
    assert torch.equal(network(ids)[0], network(ids)[0])
    network.train()
    first, again, other = (network(ids, None, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_gru_of_the_other_form_cannot_be_trained():
    architecture = Architecture(7, "gru", 4, 5, 1, reset_after=False)
    with pytest.raises(NotImplementedError):
        CharNetwork(architecture, initial_weights(architecture, 0))


@pytest.mark.parametrize(("cell", "device", "dtype", "precision", "there", "expected"), [
    ("gru", "cpu", torch.float32, "float32", True, "compiled"),
    ("lstm", "cpu", torch.float32, "bfloat16", True, "compiled"),
    ("gru", "cpu", torch.float64, "float32", True, "gru_autograd"),
    ("gru", "cpu", torch.float32, "float32", False, "gru_autograd"),
    ("gru", "cpu", torch.float32, "bfloat16", False, "pytorch"),
    ("lstm", "cpu", torch.float32, "float32", False, "pytorch"),
    ("gru", "cuda", torch.float32, "float32", True, "pytorch"),
    ("gru", "mps", torch.float32, "float32", True, "pytorch"),
])  # fmt: skip
def test_the_fastest_implementation_is_chosen(cell, device, dtype, precision, there, expected, monkeypatch):
    monkeypatch.setattr("charloom.training.backends.torch.network.can_train", lambda: there)
    assert choose_implementation(tiny_architecture(cell), device, dtype, precision) == expected


def test_the_implementation_is_chosen_once(monkeypatch):
    _, _, network = make("gru")
    chosen = network.implementation()
    monkeypatch.setattr("charloom.training.backends.torch.network.can_train", lambda: False)
    assert network.implementation() is chosen is network.implementation("bfloat16")
