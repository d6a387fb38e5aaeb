"""Data-parallel training equals training in one process. Threads stand in for the processes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

import charloom
from charloom.data.text_format import TextFormat
from charloom.errors import Notice, SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training.backends.base import ControlFlags
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from charloom.training.distributed.config_check import check_same_request
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, launched_by_torchrun
from charloom.training.distributed.torchrun import join_process_group
from charloom.training.evaluate import EvaluationStopped
from charloom.training.pipeline import TrainingRequest, prepare
from support.errors import check_error, raises_code
from support.training_runs import training_steps

SMALL = Settings(
    hidden_size=10,
    embedding_size=6,
    seq_length=7,
    batch_size=5,
    num_layers=2,
    dropout_input=0.1,
    dropout_hidden=0.2,
    dropout_output=0.3,
    dropconnect=0.1,
    muon_every=2,
    warmup_steps=2,
    steps=8,
    minutes=0,
)


class Rendezvous:
    """Exchanges values between threads that act as processes."""

    def __init__(self, size):
        self.size, self.barrier, self.values = size, threading.Barrier(size, timeout=60), {}

    def exchange(self, rank, value):
        self.values[rank] = value
        self.barrier.wait()
        results = [self.values[i] for i in range(self.size)]
        self.barrier.wait()
        return results


class ThreadGroup(ProcessGroup):
    def __init__(self, rendezvous, rank):
        self.rendezvous, self.rank, self.size = rendezvous, rank, rendezvous.size

    def all_reduce(self, tensor):
        tensors_of_ranks = self.rendezvous.exchange(self.rank, tensor.clone())
        tensor.copy_(sum(tensors_of_ranks[1:], tensors_of_ranks[0]))

    def broadcast_bytes(self, data):
        return self.rendezvous.exchange(self.rank, data)[0]


def run_ranks(size, work):
    """Run a function in ``size`` threads, each with its process group; return the results in rank order."""
    rendezvous = Rendezvous(size)
    with ThreadPoolExecutor(size) as pool:
        return [f.result() for f in [pool.submit(work, ThreadGroup(rendezvous, rank)) for rank in range(size)]]


def corpus(text, lines=False):
    return charloom.Corpus(text, "weaving", text_format=TextFormat(lines=lines))


def train(data, settings, group=SINGLE_PROCESS, poll=ControlFlags):
    """Train to the end; return records, weights and the state that a checkpoint saves."""
    ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
    architecture = settings.architecture(len(data.vocabulary))
    dropout = settings.dropout_input, settings.dropout_hidden, settings.dropout_output
    network = CharNetwork(architecture, initial_weights(architecture, 1), dropout, settings.dropconnect)
    device = choose_device("cpu", "float32")
    updates = training_steps(network, make_batches(ids, settings, group), settings, settings.steps, device, group, poll)
    return list(updates), network.weights(), updates.backend.state()


def assert_close(results, expected, optimizer):
    """Compare within rounding; Muon's orthogonalization amplifies rounding errors in small singular directions."""
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        absolute = 1e-4 if optimizer == "muon" else 2e-6
        np.testing.assert_allclose(results[name], value, atol=absolute, rtol=1e-4, err_msg=name)


CASES = [
    ("streams", "gru", "muon", 2), ("streams", "lstm", "adamw", 3), ("windows", "gru", "adam", 5),
    ("lines", "gru", "muon", 2), ("lines", "lstm", "adam", 4),
]  # fmt: skip


@pytest.mark.parametrize(("batching", "cell", "optimizer", "size"), CASES)
def test_data_parallel_training_equals_single_process(text, batching, cell, optimizer, size):
    settings = replace(SMALL, batching=batching, cell=cell, optimizer=optimizer)
    data = corpus(text, lines=batching == "lines")
    records, weights, tensors = train(data, settings)
    results = run_ranks(size, lambda group: train(data, settings, group))
    for rank_records, rank_weights, rank_tensors in results:
        np.testing.assert_allclose([r.loss for r in rank_records], [r.loss for r in records], rtol=1e-5)
        np.testing.assert_allclose([r.grad_norm for r in rank_records], [r.grad_norm for r in records], rtol=1e-4)
        assert [r.epoch for r in rank_records] == [r.epoch for r in records]
        assert_close(rank_weights, weights, optimizer)
        assert_close(rank_tensors, tensors, optimizer)
        for name, value in results[0][1].items():
            assert np.array_equal(rank_weights[name], value), "all ranks have bit-identical weights"


@pytest.mark.parametrize("batching", ["streams", "windows", "lines"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_rows_of_all_ranks_form_the_batch(text, batching, size):
    data = corpus(text, lines=batching == "lines")
    ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
    settings = replace(SMALL, batching=batching)
    rendezvous = Rendezvous(size)
    shares = [make_batches(ids, settings, ThreadGroup(rendezvous, rank)) for rank in range(size)]
    for whole, *parts in zip(*([make_batches(ids, settings), *shares]), strict=False):
        assert np.array_equal(np.concatenate([p.inputs for p in parts]), whole.inputs)
        assert np.array_equal(np.concatenate([p.targets for p in parts]), whole.targets)
        assert sum(p.share for p in parts) == pytest.approx(1)
        for part in parts:
            assert part.share == pytest.approx((part.targets >= 0).sum() / (whole.targets >= 0).sum())
        if whole.epoch == 1:
            break


def test_carried_state_restores_with_a_different_number_of_processes(text):
    data, settings = corpus(text), SMALL
    _, _, after_two = run_ranks(2, lambda group: train(data, settings, group))[0]

    def restored_state(group):
        network = CharNetwork(settings.architecture(len(data.vocabulary)), initial_weights(
            settings.architecture(len(data.vocabulary)), 1))  # fmt: skip
        ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
        device = choose_device("cpu", "float32")
        updates = training_steps(network, make_batches(ids, settings, group), settings, 9, device, group)
        updates.restore(after_two, 8)
        return updates.backend.state()

    for size in (1, 3):
        for results in run_ranks(size, restored_state):
            assert results.keys() == after_two.keys()
            assert all(np.array_equal(results[name], value) for name, value in after_two.items())


def test_control_flags_of_one_rank_reach_all_ranks(text):
    data = corpus(text)

    def work(group):
        seen, flags = [], iter([(False, False), (True, False), (False, True), (False, False)])
        ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
        architecture = SMALL.architecture(len(data.vocabulary))
        updates = training_steps(
            CharNetwork(architecture, initial_weights(architecture, 1)), make_batches(ids, SMALL, group), SMALL, 4,
            choose_device("cpu", "float32"), group, lambda: next(flags) if group.rank == 1 else (False, False),
        )  # fmt: skip
        for _ in updates:
            seen.append(updates.control_flags)
        return seen

    expected = [(False, False), (True, False), (False, True), (False, False)]
    assert run_ranks(3, work) == [expected] * 3


def test_nonfinite_values_on_one_rank_skip_the_step_on_all_ranks(text):
    data = corpus(text)

    def work(group):
        architecture = SMALL.architecture(len(data.vocabulary))
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        before = network.weights()
        if group.rank == 1:
            network.loss = lambda *_: (network.output.weight.sum() * np.inf, ())
        ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
        device = choose_device("cpu", "float32")
        record = next(training_steps(network, make_batches(ids, SMALL, group), SMALL, 4, device, group))
        after = network.weights()
        return record.loss, all(np.array_equal(before[name], after[name]) for name in before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.training.backends.torch.backend.finite_state", lambda _: torch.tensor(True))
        assert run_ranks(2, work) == [(None, True)] * 2


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("characters", [300, 1500])
def test_distributed_evaluation_equals_single_process(text, lines, characters):
    data = corpus(text[:characters], lines)
    ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
    architecture = SMALL.architecture(len(data.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, 1))
    expected = evaluate(network, ids)
    for size in (2, 3, 7):
        weights = network.weights()
        results = run_ranks(
            size,
            lambda group, w=weights: evaluate(CharNetwork(architecture, w), ids, process_group=group),
        )
        assert results == pytest.approx([expected] * size, rel=1e-6)


def test_stopping_an_evaluation_on_one_rank_stops_all_ranks(text):
    data = corpus(text)
    ids = data.parts(0.0, 0.0).training.ids(data.vocabulary)
    architecture = SMALL.architecture(len(data.vocabulary))

    def work(group):
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        with pytest.raises(EvaluationStopped):
            evaluate(network, ids, stop=lambda: group.rank == 1, process_group=group)
        return network.training

    assert run_ranks(2, work) == [True, True]


def outcomes(work):
    """Run a function in two threads; return the error of each as a dict, or None."""

    def outcome(group):
        try:
            work(group)
        except SettingsError as error:
            return error.to_dict()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.training.pipeline._shared_device", lambda *_: choose_device("cpu", "float32"))
        return run_ranks(2, outcome)


RECIPE = RECIPES["auto"].with_values(SMALL.to_dict())


@pytest.mark.parametrize(("name", "arguments"), [
    ("text", lambda text, other: (corpus(text + "!" * other), RECIPE, None)),
    ("text", lambda text, other: (corpus(text, lines=bool(other)), RECIPE, None)),
    ("hidden_size", lambda text, other: (corpus(text), RECIPE.with_values({"hidden_size": 10 + other}), None)),
    ("recipe", lambda text, other: (corpus(text), replace(RECIPE, name="best" if other else "auto"), None)),
    ("chosen settings", lambda text, other: (corpus(text), replace(RECIPE, fixed=frozenset() if other else
                                                                      RECIPE.fixed), None)),
    ("initial model", lambda text, other: (corpus(text), RECIPE, saved(text, other))),
    ("initial model", lambda text, other: (corpus(text), RECIPE, saved(text, 0) if other else None)),
])  # fmt: skip
def test_config_check_names_the_difference(text, name, arguments):
    def work(group):
        check_same_request(group, *arguments(text, group.rank))

    first, second = outcomes(work)
    assert first is None
    check_error(second, "processes_differ", name=name, process=2)
    assert second["first"] != second["value"]
    assert outcomes(lambda group: check_same_request(group, *arguments(text, 0))) == [None, None]


def saved(text, seed):
    vocabulary = corpus(text).vocabulary
    architecture = SMALL.architecture(len(vocabulary))
    return SavedModel(architecture, vocabulary, initial_weights(architecture, seed))


def test_prepare_checks_the_config_across_ranks(text):
    first, second = outcomes(
        lambda group: prepare(TrainingRequest(corpus(text + "!" * group.rank), RECIPE, process_group=group))
    )
    assert first is None
    check_error(second, "processes_differ", name="text", process=2)
    assert f"{len(text):,} chars" in second["first"] and f"{len(text) + 1:,} chars" in second["value"]


def test_batch_smaller_than_number_of_processes_raises(text):
    recipe = RECIPES["auto"].with_values(SMALL.to_dict())

    def work(group):
        with raises_code("batch_smaller_than_processes", SettingsError, batch_size=5, processes=6, suggestion=96):
            prepare(TrainingRequest(corpus(text), recipe, process_group=group))

    run_ranks(6, work)


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, False), ({"RANK": "0", "WORLD_SIZE": "1"}, False), ({"RANK": "1", "WORLD_SIZE": "2"}, True),
    ({"WORLD_SIZE": "4"}, False),
])  # fmt: skip
def test_torchrun_is_detected_by_environment_variables(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_by_torchrun() is expected


def test_single_process_group_operations_are_identities():
    value = torch.tensor([1.0, 2.0])
    SINGLE_PROCESS.all_reduce(value)
    assert (
        value.tolist() == [1.0, 2.0]
        and SINGLE_PROCESS.broadcast({"a": 1}) == {"a": 1}
        and SINGLE_PROCESS.broadcast_bytes(b"x") == b"x"
    )
    assert (
        SINGLE_PROCESS.is_first
        and SINGLE_PROCESS.rows(5) == slice(0, 5)
        and SINGLE_PROCESS.all_gather(value, 2, 0) is value
        and SINGLE_PROCESS.should_report(SettingsError("no", code="invalid_setting"))
    )
    notice = Notice("x", code="save_retry", attempt=1)
    assert SINGLE_PROCESS.broadcast_notice(notice) is notice and SINGLE_PROCESS.broadcast_notice(None) is None


def test_broadcast_notice_keeps_code_and_data():
    def work(group):
        own = Notice("The disk is full.", code="save_retry", attempt=2) if group.is_first else None
        received = group.broadcast_notice(own)
        return str(received), received.code, received.data, group.broadcast_notice(None)

    assert run_ranks(2, work) == [("The disk is full.", "save_retry", {"attempt": 2}, None)] * 2


def test_missing_torchrun_variables_raise(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with raises_code("missing_environment_variables", SettingsError, missing=["MASTER_PORT"]), join_process_group():
        pass
