"""The interface between training loop and backends: what the loop relies on, and whether PyTorch's backend complies."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from charloom.model.initializers import initial_weights
from charloom.planning.settings import Settings
from charloom.training.backends import choose_device, make_backend
from charloom.training.backends.base import ControlFlags, StepStats, TrainingBackend
from charloom.training.batches import make_batches
from charloom.training.evaluate import EvaluationStopped
from charloom.training.optim.schedules import learning_rate_at
from charloom.training.steps import TrainingSteps

SETTINGS = Settings(
    hidden_size=10, embedding_size=6, seq_length=7, batch_size=5, steps=12, minutes=0, warmup_steps=2,
    dropout_output=0.3, dropconnect=0.1, muon_every=2,
)  # fmt: skip
IDS = np.random.default_rng(3).integers(0, 9, 700).astype(np.uint8)
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["muon", "adamw", "adam"])


class Recording:
    """A backend that computes nothing and records its calls."""

    def __init__(self, is_finite=lambda step: True):
        self.calls, self.restored = [], None
        self.is_finite = is_finite

    def step(self, batch, step, learning_rate, poll):
        self.calls.append((batch.epoch, batch.index, step, learning_rate))
        return StepStats(2.0, 0.5, self.is_finite(step), poll())

    def restore(self, tensors):
        self.restored = tensors


def make(settings=SETTINGS, weights=None) -> TrainingBackend:
    architecture = settings.architecture(9)
    weights = initial_weights(architecture, 1) if weights is None else weights
    return make_backend(architecture, weights, settings, choose_device("cpu", "float32"))


def test_training_loop_does_not_import_pytorch():
    code = "import sys, charloom.training.run, charloom.training.resume; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_loop_passes_steps_rates_and_flags():
    flags = [ControlFlags(), ControlFlags(save=True)] * 7
    backend = Recording(is_finite=lambda step: step != 3)
    steps = TrainingSteps(backend, make_batches(IDS, SETTINGS), SETTINGS, 12, lambda: flags.pop(0))
    steps.rate_factor = 0.5
    seen = [(record, steps.control_flags) for record in steps]
    assert [record.step for record, _ in seen] == list(range(1, 13))
    assert [number for _, _, number, _ in backend.calls] == list(range(12))
    assert [rate for *_, rate in backend.calls] == [0.5 * learning_rate_at(n, 12, SETTINGS) for n in range(12)]
    assert [record.loss for record, _ in seen] == [2.0] * 3 + [None] + [2.0] * 8
    assert [record.grad_norm is None for record, _ in seen] == [n == 3 for n in range(12)]
    assert [flags_seen.save for _, flags_seen in seen] == [False, True] * 6
    assert len(flags) == 2, "poll is called once per step"
    with pytest.raises(StopIteration):
        next(steps)
    steps.restore({"a": IDS}, 11)
    assert backend.restored == {"a": IDS} and next(steps).step == 12


@OPTIMIZERS
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_state_and_restore_resume_bit_exactly(cell, optimizer):
    settings = replace(SETTINGS, cell=cell, optimizer=optimizer)
    whole = TrainingSteps(make(settings), make_batches(IDS, settings), settings, 12)
    losses = [record.loss for record in whole]
    first = TrainingSteps(make(settings), make_batches(IDS, settings), settings, 12)
    first_losses = [next(first).loss for _ in range(5)]
    second = TrainingSteps(make(settings, first.backend.weights()), make_batches(IDS, settings), settings, 12)
    second.restore(first.backend.state() | {"losses.last_epoch": np.zeros(3)}, first.step)
    second.batches.position = first.batches.position
    assert first_losses + [record.loss for record in second] == losses
    for name, value in whole.backend.weights().items():
        np.testing.assert_array_equal(second.backend.weights()[name], value)
    resumed_state, whole_state = second.backend.state(), whole.backend.state()
    assert resumed_state.keys() == whole_state.keys()
    assert all(np.array_equal(resumed_state[name], value) for name, value in whole_state.items())


@OPTIMIZERS
def test_an_update_that_is_not_finite_changes_nothing(optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    backend, batches = make(settings), make_batches(IDS, settings)
    backend.step(next(batches), 0, 0.01, ControlFlags)
    weights = backend.weights()
    state = backend.state()
    backend.load_weights(weights | {"output.bias": np.full_like(weights["output.bias"], np.nan)})
    stats = backend.step(next(batches), 1, 0.01, ControlFlags)
    assert not stats.is_finite
    backend.load_weights(weights)
    assert all(np.array_equal(backend.state()[name], value) for name, value in state.items())
    stats = backend.step(next(batches), 1, 0.01, lambda: ControlFlags(stop=True))
    assert stats.is_finite and stats.loss == pytest.approx(np.log(9), abs=0.3) and stats.grad_norm > 0
    assert stats.control_flags == (True, False)


def test_backend_returns_copies():
    backend, batches = make(), make_batches(IDS, SETTINGS)
    backend.step(next(batches), 0, 0.01, ControlFlags)
    kept = {name: value.copy() for name, value in (backend.weights() | backend.state()).items()}
    returned = backend.weights() | backend.state()
    backend.step(next(batches), 1, 0.01, ControlFlags)
    assert all(np.array_equal(returned[name], value) for name, value in kept.items())


def test_evaluation_does_not_affect_training_and_can_be_stopped():
    plain, evaluated = make(), make()
    losses = [evaluated.evaluate(IDS), evaluated.evaluate(IDS)]
    assert losses[0] == losses[1] == pytest.approx(np.log(9), abs=0.3)
    with pytest.raises(EvaluationStopped):
        evaluated.evaluate(IDS, lambda: True)
    batches = make_batches(IDS, SETTINGS)
    for step in range(3):
        batch = next(batches)
        assert plain.step(batch, step, 0.01, ControlFlags) == evaluated.step(batch, step, 0.01, ControlFlags)
        evaluated.evaluate(IDS)
