"""Training on a GPU: the numbers of the processor, where there is one; what can be judged without one, always."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import charloom
from charloom.data.corpus import Corpus
from charloom.model.initializers import initial_weights
from charloom.planning.cost import step_operations
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training import pipeline
from charloom.training.backends.torch.device import TorchDevice, choose_device
from charloom.training.backends.torch.device_ids import DeviceIds, place_ids
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from support.training_runs import training_steps

GPUS = [
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU here")),
]
SETTINGS = Settings(hidden_size=128, embedding_size=128, batch_size=8, steps=30, minutes=0, dropout_output=0.0)
KINDS = [("gru", 1, "streams"), ("gru", 2, "windows"), ("lstm", 2, "streams"), ("gru", 1, "lines")]


@pytest.mark.parametrize("batching", ["streams", "windows"])
@pytest.mark.parametrize("distinct", [60, 1000])
def test_batches_of_a_text_on_a_device_are_those_of_the_text(batching, distinct):
    ids = np.random.default_rng(1).integers(0, distinct, 3000).astype(np.uint8 if distinct < 256 else np.uint16)
    settings = replace(SETTINGS, batching=batching, seq_length=9)
    lying_there = DeviceIds(ids, "cpu")
    assert len(lying_there) == len(ids)
    for found, wanted in zip(make_batches(lying_there, settings), make_batches(ids, settings), strict=False):
        assert isinstance(found.inputs, torch.Tensor)
        assert np.array_equal(found.inputs.numpy(), wanted.inputs)
        assert np.array_equal(found.targets.numpy(), wanted.targets)
        if wanted.epoch == 2:
            break


@pytest.mark.parametrize("batching", ["streams", "windows"])
def test_a_training_on_such_batches_is_the_same_to_the_last_bit(text, batching):
    corpus, settings = Corpus(text), replace(SETTINGS, batching=batching, hidden_size=16, steps=5)
    ids = corpus.parts(0.0, 0.0).training.ids(corpus.vocabulary)
    architecture = settings.architecture(len(corpus.vocabulary))
    found = []
    for one in (ids, DeviceIds(ids, "cpu")):
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        device = choose_device("cpu", "float32")
        found.append([r.loss for r in training_steps(network, make_batches(one, settings), settings, 5, device)])
    assert found[0] == found[1] and len(found[0]) == 5


def test_what_stays_where_it_is(monkeypatch, text):
    ids = np.zeros(100, np.uint8)
    assert place_ids(ids, "cpu") is ids
    lines = Corpus(text, text_format=charloom.TextFormat(lines=True)).parts(0.0, 0.0).training
    kept = lines.ids(Corpus(text).vocabulary)
    assert place_ids(kept, "cuda") is kept
    monkeypatch.setattr("charloom.training.backends.torch.device_ids._MAX_BYTES", 399)
    assert place_ids(ids, "cuda") is ids
    monkeypatch.setattr("charloom.training.backends.torch.device_ids._MAX_BYTES", 400)
    monkeypatch.setattr("charloom.training.backends.torch.device_ids.DeviceIds", lambda ids, device: (len(ids), device))
    assert place_ids(ids, "cuda") == (100, "cuda")


@pytest.mark.parametrize(("device", "measured"), [("cpu", 1), ("cuda", 2)])
def test_the_size_that_was_chosen_is_measured_too_where_speed_depends_on_it(monkeypatch, text, device, measured):
    """A GPU of which every step takes 2 ms, whatever its size: its speed is as many operations as are done in that."""
    looked_at = []

    def speed(ids, alphabet, settings, device, available, group):
        looked_at.append((settings.num_layers, settings.hidden_size))
        return step_operations(settings, alphabet) / 0.002

    monkeypatch.setattr(pipeline, "machine_speed", speed)
    monkeypatch.setattr(pipeline, "choose_device", lambda *_: TorchDevice(device, "float32", "a device"))
    setup = pipeline.prepare(pipeline.TrainingRequest(Corpus(text * 300), RECIPES["auto"].with_values({"minutes": 3})))
    sizes = setup.settings.num_layers, setup.settings.hidden_size
    assert looked_at[0] == (1, 384)
    if device == "cpu":
        assert len(looked_at) == 1
    else:
        assert len(looked_at) >= measured and (looked_at[-1] == sizes or len(looked_at) == 3)


def trained(text, settings, device, steps=30):
    """Return the losses of a training, and the loss on the text afterwards."""
    lines = settings.batching == "lines"
    corpus = Corpus(text, text_format=charloom.TextFormat(lines=lines))
    ids = corpus.parts(0.0, 0.0).training.ids(corpus.vocabulary)
    architecture = settings.architecture(len(corpus.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, 1)).to(device.name)
    updates = training_steps(network, make_batches(place_ids(ids, device.name), settings), settings, steps, device)
    losses = [record.loss for record in updates]
    return losses, evaluate(network, ids, device.name)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize(("cell", "num_layers", "batching"), KINDS)
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_gpu_trains_as_the_processor_does(text, gpu, cell, num_layers, batching, optimizer):
    settings = replace(SETTINGS, cell=cell, num_layers=num_layers, batching=batching, optimizer=optimizer)
    wanted, at_end = trained(text, settings, choose_device("cpu", "float32"))
    found, there = trained(text, settings, choose_device(gpu, "float32"))
    assert found == pytest.approx(wanted, rel=0.01) and there == pytest.approx(at_end, rel=0.02)


@pytest.mark.parametrize("gpu", GPUS)
def test_bfloat16_on_a_gpu_is_near(text, gpu):
    device = choose_device(gpu)
    if device.precision != "bfloat16":
        pytest.skip(f"{device.description}")
    wanted, at_end = trained(text, SETTINGS, choose_device("cpu", "float32"))
    found, there = trained(text, SETTINGS, device)
    assert found[-1] == pytest.approx(wanted[-1], abs=0.05) and there == pytest.approx(at_end, abs=0.05)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_training_on_a_gpu_goes_on_where_it_was(text, gpu, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    device = choose_device(gpu, "float32")
    whole = trained(text, settings, device, 20)[0]
    corpus = Corpus(text)
    architecture = settings.architecture(len(corpus.vocabulary))
    begun = CharNetwork(architecture, initial_weights(architecture, 1)).to(gpu)
    ids = corpus.parts(0.0, 0.0).training.ids(corpus.vocabulary)
    first = training_steps(begun, make_batches(place_ids(ids, gpu), settings), settings, 20, device)
    losses = [next(first).loss for _ in range(10)]
    again = training_steps(
        CharNetwork(architecture, begun.weights()).to(gpu), make_batches(place_ids(ids, gpu), settings), settings, 20,
        device,
    )  # fmt: skip
    again.restore(first.backend.state(), 10)
    again.batches.position = first.batches.position
    assert losses + [record.loss for record in again] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("gpu", GPUS)
def test_a_run_on_a_gpu_leaves_a_model_that_the_processor_runs(text, gpu, tmp_path):
    model = charloom.train(
        Corpus(text, "weaving"), run=tmp_path / "run", device=gpu, steps=40, progress=False, hidden_size=64, seed=1
    )
    assert model.generate("The ", 20, seed=1) == charloom.load(tmp_path / "run").generate("The ", 20, seed=1)
    again = charloom.resume(tmp_path / "run", Corpus(text, "weaving"), device="cpu", steps=5, progress=False)
    assert again.score(text[:200]).bits_per_char > 0
