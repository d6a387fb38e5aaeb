"""The network compared with the NumPy reference, numerical gradients and PyTorch's stacked layers."""

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

both_cells = pytest.mark.parametrize("cell", ["gru", "lstm"])
IDS = np.random.default_rng(0).integers(0, 7, (3, 11))


def usable(cell):
    """Return the implementations that support this cell on this machine."""
    names = {"pytorch"} | ({"gru_autograd"} if cell == "gru" else set())
    return names | ({"compiled"} if can_train() else set())


def make(cell, num_layers=2, dropout=(0.0, 0.0, 0.0)):
    architecture = tiny_architecture(cell, num_layers)
    weights = tiny_weights(architecture)
    return architecture, weights, CharNetwork(architecture, weights, dropout)


@both_cells
def test_forward_matches_reference(cell):
    architecture, weights, network = make(cell)
    logits, state = network(torch.from_numpy(IDS))
    expected, expected_state = cells.forward(architecture, weights, IDS)
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-5)
    parts = [torch.stack(s if isinstance(s, tuple) else (s,))[:, 0].detach().numpy() for s in state]
    np.testing.assert_allclose(np.stack(parts), expected_state, atol=1e-5)


@both_cells
def test_gradients_match_central_differences_of_reference(cell):
    """In float64, for five entries of every parameter. The reference shares no code with PyTorch's backward pass."""
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
            # the error of central differences is about step**2 + rounding / step, both near 1e-10
            assert gradient.flat[place] == pytest.approx(numeric, rel=1e-5, abs=1e-8), name


@both_cells
def test_stacked_layers_match_pytorch(cell):
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


def test_gru_autograd_passes_gradcheck():
    """For every input, including the initial state, whose gradient training does not need."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((4, 2, 9), (2, 3), (9, 3), (9,))  # gates, hidden, weight_hh, bias_hh
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(gru_window, inputs)


def test_input_projections_by_lookup_and_by_product_are_equal():
    _, _, network = make("gru", num_layers=1)
    row = torch.from_numpy(IDS[:1])
    whole, _ = network(row)  # 11 positions, 7 distinct characters: lookup
    first, state = network(row[:, :6])  # 6 positions: one product each
    second, _ = network(row[:, 6:], state)
    np.testing.assert_allclose(torch.cat([first, second], 1).detach(), whole.detach(), atol=1e-6)
    grads = []
    for logits in (whole, torch.cat([first, second], 1)):
        network.zero_grad()
        logits.square().sum().backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for by_table, by_product in zip(*grads, strict=True):
        np.testing.assert_allclose(by_product, by_table, rtol=1e-4, atol=1e-5)


@both_cells
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


@both_cells
def test_detached_state_stops_gradients(cell):
    _, _, network = make(cell)
    _, state = network(torch.from_numpy(IDS))
    for layer in detached(state):
        for part in layer if isinstance(layer, tuple) else (layer,):
            assert not part.requires_grad


@both_cells
def test_weights_round_trip(cell):
    _, weights, network = make(cell)
    assert network.weights().keys() == weights.keys()
    for name, value in network.weights().items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize(("recipe", "count"), [("tutorial-gru", 4_021_569), ("tutorial-lstm", 5_330_241)])
def test_tutorial_models_have_the_tutorial_parameter_count(recipe, count):
    architecture = RECIPES[recipe].settings.architecture(65)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count == architecture.num_parameters


def test_dropout_mask_is_constant_within_a_window():
    _, _, network = make("gru", dropout=(0.0, 0.0, 0.5))
    hidden, _ = network.train().read(torch.from_numpy(IDS), None, torch.Generator().manual_seed(1))
    dropped = hidden == 0
    assert (dropped == dropped[:, :1]).all() and 0 < dropped[:, 0].sum() < dropped[:, 0].numel()


def test_dropout_masks_have_the_right_places_rates_and_mean():
    _, _, network = make("gru", num_layers=3, dropout=(0.1, 0.2, 0.3))
    masks = network.train()._dropout_masks(2000, torch.Generator().manual_seed(1))
    assert [mask.shape[1] for mask in masks] == [4, 5, 5, 5]  # embedding of 4, then layers of 5
    for mask, rate in zip(masks, (0.1, 0.2, 0.2, 0.3), strict=True):
        assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        # the mean of 8,000 draws or more has a standard deviation of at most 0.0073
        assert mask.mean().item() == pytest.approx(1, abs=0.04)


@both_cells
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dropconnect_mask_is_constant_within_a_window(cell, implementation, monkeypatch):
    """The output equals that of a network with the same zeros in ``weight_hh``; nothing is dropped in eval mode."""
    if implementation not in usable(cell):
        pytest.skip(f"{implementation} does not support this cell here")
    architecture = tiny_architecture(cell)
    weights = tiny_weights(architecture)
    network = CharNetwork(architecture, weights, dropconnect=0.25, implementation=implementation)
    ids, generator = torch.from_numpy(IDS), torch.Generator()
    dropped = [network._layer_weights(layer, generator.manual_seed(1)).weight_hh.detach() for layer in network.layers]
    rate = torch.cat([(layer == 0).flatten() for layer in dropped]).float().mean().item()
    assert 0.1 < rate < 0.4  # at least 150 weights: the standard deviation of the rate is at most 0.035
    masks = iter(dropped)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.where(next(masks) == 0, 0.0, 1.0))
    expected, _ = cells.forward(architecture, weights | _with(dropped), IDS)
    np.testing.assert_allclose(network.train()(ids)[0].detach(), expected, atol=1e-5)
    network.eval()
    np.testing.assert_allclose(network(ids)[0].detach(), cells.forward(architecture, weights, IDS)[0], atol=1e-5)


def _with(weights_hh):
    return {f"layers.{i}.weight_hh": weight.numpy() for i, weight in enumerate(weights_hh)}


def test_dropout_is_off_in_eval_mode_and_reproducible_in_training():
    _, _, network = make("gru", dropout=(0.3, 0.3, 0.3))
    ids = torch.from_numpy(IDS)
    network.eval()
    assert torch.equal(network(ids)[0], network(ids)[0])
    network.train()
    first, again, other = (network(ids, None, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_reset_before_gru_cannot_be_trained():
    architecture = Architecture(7, "gru", 4, 5, 1, reset_after=False)
    with pytest.raises(NotImplementedError):
        CharNetwork(architecture, initial_weights(architecture, 0))


@pytest.mark.parametrize(("cell", "device", "dtype", "precision", "is_installed", "expected"), [
    ("gru", "cpu", torch.float32, "float32", True, "compiled"),
    ("lstm", "cpu", torch.float32, "bfloat16", True, "compiled"),
    ("gru", "cpu", torch.float64, "float32", True, "gru_autograd"),
    ("gru", "cpu", torch.float32, "float32", False, "gru_autograd"),
    ("gru", "cpu", torch.float32, "bfloat16", False, "pytorch"),
    ("lstm", "cpu", torch.float32, "float32", False, "pytorch"),
    ("gru", "cuda", torch.float32, "float32", True, "pytorch"),
    ("gru", "mps", torch.float32, "float32", True, "pytorch"),
])  # fmt: skip
def test_choose_implementation(cell, device, dtype, precision, is_installed, expected, monkeypatch):
    monkeypatch.setattr("charloom.training.backends.torch.network.can_train", lambda: is_installed)
    assert choose_implementation(tiny_architecture(cell), device, dtype, precision) == expected


def test_implementation_is_chosen_once(monkeypatch):
    _, _, network = make("gru")
    chosen = network.implementation()
    monkeypatch.setattr("charloom.training.backends.torch.network.can_train", lambda: False)
    assert network.implementation() is chosen is network.implementation("bfloat16")
