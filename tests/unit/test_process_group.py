"""Several processes that train together are one: the same losses, weights and states. Here they are threads."""

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
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, started_together
from charloom.training.distributed.torchrun import joined
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


class Meeting:
    """Where threads that stand for processes put tensors side by side."""

    def __init__(self, size):
        self.size, self.barrier, self.brought = size, threading.Barrier(size, timeout=60), {}

    def exchange(self, rank, value):
        self.brought[rank] = value
        self.barrier.wait()
        found = [self.brought[i] for i in range(self.size)]
        self.barrier.wait()
        return found


class Threads(ProcessGroup):
    def __init__(self, meeting, rank):
        self.meeting, self.rank, self.size = meeting, rank, meeting.size

    def all_reduce(self, tensor):
        all_of_them = self.meeting.exchange(self.rank, tensor.clone())
        tensor.copy_(sum(all_of_them[1:], all_of_them[0]))

    def broadcast_bytes(self, data):
        return self.meeting.exchange(self.rank, data)[0]


def together(size, work):
    """Run the same work in so many threads, each with its ``ProcessGroup``; return what each returns."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as pool:
        return [f.result() for f in [pool.submit(work, Threads(meeting, rank)) for rank in range(size)]]


def corpus(text, lines=False):
    return charloom.Corpus(text, "weaving", text_format=TextFormat(lines=lines))


def train(given, settings, group=SINGLE_PROCESS, ask=ControlFlags):
    """Return records, weights and all else that a checkpoint keeps, after all steps."""
    ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
    architecture = settings.architecture(len(given.vocabulary))
    dropout = settings.dropout_input, settings.dropout_hidden, settings.dropout_output
    network = CharNetwork(architecture, initial_weights(architecture, 1), dropout, settings.dropconnect)
    device = choose_device("cpu", "float32")
    updates = training_steps(network, make_batches(ids, settings, group), settings, settings.steps, device, group, ask)
    return list(updates), network.weights(), updates.backend.state()


def close(found, wanted, optimizer):
    """Compare to rounding: what Muon makes orthogonal grows the rounding of its smallest directions."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        absolute = 1e-4 if optimizer == "muon" else 2e-6
        np.testing.assert_allclose(found[name], value, atol=absolute, rtol=1e-4, err_msg=name)


WAYS = [
    ("streams", "gru", "muon", 2), ("streams", "lstm", "adamw", 3), ("windows", "gru", "adam", 5),
    ("lines", "gru", "muon", 2), ("lines", "lstm", "adam", 4),
]  # fmt: skip


@pytest.mark.parametrize(("batching", "cell", "optimizer", "size"), WAYS)
def test_processes_that_share_every_batch_are_one(text, batching, cell, optimizer, size):
    settings = replace(SMALL, batching=batching, cell=cell, optimizer=optimizer)
    given = corpus(text, lines=batching == "lines")
    records, weights, tensors = train(given, settings)
    found = together(size, lambda group: train(given, settings, group))
    for theirs, same_weights, same_tensors in found:
        np.testing.assert_allclose([r.loss for r in theirs], [r.loss for r in records], rtol=1e-5)
        np.testing.assert_allclose([r.grad_norm for r in theirs], [r.grad_norm for r in records], rtol=1e-4)
        assert [r.epoch for r in theirs] == [r.epoch for r in records]
        close(same_weights, weights, optimizer)
        close(same_tensors, tensors, optimizer)
        for name, value in found[0][1].items():
            assert np.array_equal(same_weights[name], value), "all of them have the same weights, to the last bit"


@pytest.mark.parametrize("batching", ["streams", "windows", "lines"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_rows_of_all_processes_are_the_batch(text, batching, size):
    given = corpus(text, lines=batching == "lines")
    ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
    settings = replace(SMALL, batching=batching)
    meeting = Meeting(size)
    shares = [make_batches(ids, settings, Threads(meeting, rank)) for rank in range(size)]
    for whole, *parts in zip(*([make_batches(ids, settings), *shares]), strict=False):
        assert np.array_equal(np.concatenate([p.inputs for p in parts]), whole.inputs)
        assert np.array_equal(np.concatenate([p.targets for p in parts]), whole.targets)
        assert sum(p.share for p in parts) == pytest.approx(1)
        for part in parts:
            assert part.share == pytest.approx((part.targets >= 0).sum() / (whole.targets >= 0).sum())
        if whole.epoch == 1:
            break


def test_a_state_goes_to_another_number_of_processes(text):
    given, settings = corpus(text), SMALL
    _, _, after_two = together(2, lambda group: train(given, settings, group))[0]

    def taken_up(group):
        network = CharNetwork(settings.architecture(len(given.vocabulary)), initial_weights(
            settings.architecture(len(given.vocabulary)), 1))  # fmt: skip
        ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
        device = choose_device("cpu", "float32")
        updates = training_steps(network, make_batches(ids, settings, group), settings, 9, device, group)
        updates.restore(after_two, 8)
        return updates.backend.state()

    for size in (1, 3):
        for found in together(size, taken_up):
            assert found.keys() == after_two.keys()
            assert all(np.array_equal(found[name], value) for name, value in after_two.items())


def test_what_one_process_is_asked_all_of_them_hear(text):
    given = corpus(text)

    def work(group):
        heard, asked = [], iter([(False, False), (True, False), (False, True), (False, False)])
        ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
        architecture = SMALL.architecture(len(given.vocabulary))
        updates = training_steps(
            CharNetwork(architecture, initial_weights(architecture, 1)), make_batches(ids, SMALL, group), SMALL, 4,
            choose_device("cpu", "float32"), group, lambda: next(asked) if group.rank == 1 else (False, False),
        )  # fmt: skip
        for _ in updates:
            heard.append(updates.control_flags)
        return heard

    wanted = [(False, False), (True, False), (False, True), (False, False)]
    assert together(3, work) == [wanted] * 3


def test_numbers_that_are_not_finite_in_one_process_stop_the_update_in_all(text):
    given = corpus(text)

    def work(group):
        architecture = SMALL.architecture(len(given.vocabulary))
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        before = network.weights()
        if group.rank == 1:
            network.loss = lambda *_: (network.output.weight.sum() * np.inf, ())
        ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
        device = choose_device("cpu", "float32")
        record = next(training_steps(network, make_batches(ids, SMALL, group), SMALL, 4, device, group))
        after = network.weights()
        return record.loss, all(np.array_equal(before[name], after[name]) for name in before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.training.backends.torch.backend.finite_state", lambda _: torch.tensor(True))
        assert together(2, work) == [(None, True)] * 2


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("characters", [300, 1500])
def test_an_evaluation_shared_is_the_same(text, lines, characters):
    given = corpus(text[:characters], lines)
    ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
    architecture = SMALL.architecture(len(given.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, 1))
    wanted = evaluate(network, ids)
    for size in (2, 3, 7):
        weights = network.weights()
        found = together(
            size,
            lambda group, w=weights: evaluate(CharNetwork(architecture, w), ids, process_group=group),
        )
        assert found == pytest.approx([wanted] * size, rel=1e-6)


def test_an_evaluation_that_one_process_stops_has_no_result_in_any(text):
    given = corpus(text)
    ids = given.parts(0.0, 0.0).training.ids(given.vocabulary)
    architecture = SMALL.architecture(len(given.vocabulary))

    def work(group):
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        with pytest.raises(EvaluationStopped):
            evaluate(network, ids, stop=lambda: group.rank == 1, process_group=group)
        return network.training

    assert together(2, work) == [True, True]


def refused(work):
    """Run work in two threads, of which the second is given something else; return what each of them raised."""

    def outcome(group):
        try:
            work(group)
        except SettingsError as error:
            return error.to_dict()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.training.pipeline._shared_device", lambda *_: choose_device("cpu", "float32"))
        return together(2, outcome)


RECIPE = RECIPES["auto"].with_values(SMALL.to_dict())


@pytest.mark.parametrize(("what", "given"), [
    ("text", lambda text, other: (corpus(text + "!" * other), RECIPE, None)),
    ("text", lambda text, other: (corpus(text, lines=bool(other)), RECIPE, None)),
    ("hidden_size", lambda text, other: (corpus(text), RECIPE.with_values({"hidden_size": 10 + other}), None)),
    ("recipe", lambda text, other: (corpus(text), replace(RECIPE, name="best" if other else "auto"), None)),
    ("chosen settings", lambda text, other: (corpus(text), replace(RECIPE, fixed=frozenset() if other else
                                                                      RECIPE.fixed), None)),
    ("initial model", lambda text, other: (corpus(text), RECIPE, saved(text, other))),
    ("initial model", lambda text, other: (corpus(text), RECIPE, saved(text, 0) if other else None)),
])  # fmt: skip
def test_what_another_process_was_not_given_is_named(text, what, given):
    def work(group):
        data, recipe, init = given(text, group.rank)
        check_same_request(group, data, recipe, init)

    first, second = refused(work)
    assert first is None
    check_error(second, "processes_differ", name=what, process=2)
    assert second["first"] != second["value"]
    assert refused(lambda group: check_same_request(group, *given(text, 0))) == [None, None]


def saved(text, seed):
    vocabulary = corpus(text).vocabulary
    architecture = SMALL.architecture(len(vocabulary))
    return SavedModel(architecture, vocabulary, initial_weights(architecture, seed))


def test_a_preparation_compares(text):
    first, second = refused(
        lambda group: prepare(TrainingRequest(corpus(text + "!" * group.rank), RECIPE, process_group=group))
    )
    assert first is None
    check_error(second, "processes_differ", name="text", process=2)
    assert f"{len(text):,} chars" in second["first"] and f"{len(text) + 1:,} chars" in second["value"]


def test_more_processes_than_rows_are_refused(text):
    recipe = RECIPES["auto"].with_values(SMALL.to_dict())

    def work(group):
        with raises_code("batch_smaller_than_processes", SettingsError, batch_size=5, processes=6, suggestion=96):
            prepare(TrainingRequest(corpus(text), recipe, process_group=group))

    together(6, work)


@pytest.mark.parametrize(("variables", "wanted"), [
    ({}, False), ({"RANK": "0", "WORLD_SIZE": "1"}, False), ({"RANK": "1", "WORLD_SIZE": "2"}, True),
    ({"WORLD_SIZE": "4"}, False),
])  # fmt: skip
def test_torchrun_is_known_by_its_variables(monkeypatch, variables, wanted):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_together() is wanted


def test_one_that_is_alone_tells_itself():
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

    assert together(2, work) == [("The disk is full.", "save_retry", {"attempt": 2}, None)] * 2


def test_half_of_torchruns_variables_are_explained(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with raises_code("missing_environment_variables", SettingsError, missing=["MASTER_PORT"]), joined():
        pass
