"""Training on a GPU compared with the CPU. Tests that need no GPU run everywhere."""

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
def test_batches_of_device_ids_equal_those_of_the_text(batching, distinct):
    ids = np.random.default_rng(1).integers(0, distinct, 3000).astype(np.uint8 if distinct < 256 else np.uint16)
    settings = replace(SETTINGS, batching=batching, seq_length=9)
    device_ids = DeviceIds(ids, "cpu")
    assert len(device_ids) == len(ids)
    for actual, expected in zip(make_batches(device_ids, settings), make_batches(ids, settings), strict=False):
        assert isinstance(actual.inputs, torch.Tensor)
        assert np.array_equal(actual.inputs.numpy(), expected.inputs)
        assert np.array_equal(actual.targets.numpy(), expected.targets)
        if expected.epoch == 2:
            break


@pytest.mark.parametrize("batching", ["streams", "windows"])
def test_training_on_device_ids_is_bit_identical(text, batching):
    corpus, settings = Corpus(text), replace(SETTINGS, batching=batching, hidden_size=16, steps=5)
    ids = corpus.parts(0.0, 0.0).training.ids(corpus.vocabulary)
    architecture = settings.architecture(len(corpus.vocabulary))
    losses = []
    for source in (ids, DeviceIds(ids, "cpu")):
        network = CharNetwork(architecture, initial_weights(architecture, 1))
        device = choose_device("cpu", "float32")
        losses.append([r.loss for r in training_steps(network, make_batches(source, settings), settings, 5, device)])
    assert losses[0] == losses[1] and len(losses[0]) == 5


def test_place_ids_keeps_cpu_lines_and_long_texts(monkeypatch, text):
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
def test_speed_is_measured_again_with_the_chosen_size_on_gpu(monkeypatch, text, device, measured):
    """The simulated GPU takes 2 ms per step for every size, so its speed grows with the size of the network."""
    measured_sizes = []

    def speed(ids, vocabulary_size, settings, device, available, group):
        measured_sizes.append((settings.num_layers, settings.hidden_size))
        return step_operations(settings, vocabulary_size) / 0.002

    monkeypatch.setattr(pipeline, "machine_speed", speed)
    monkeypatch.setattr(pipeline, "choose_device", lambda *_: TorchDevice(device, "float32", "a device"))
    setup = pipeline.prepare(pipeline.TrainingRequest(Corpus(text * 300), RECIPES["auto"].with_values({"minutes": 3})))
    sizes = setup.settings.num_layers, setup.settings.hidden_size
    assert measured_sizes[0] == (1, 384)
    if device == "cpu":
        assert len(measured_sizes) == 1
    else:
        assert len(measured_sizes) >= measured and (measured_sizes[-1] == sizes or len(measured_sizes) == 3)


def trained(text, settings, device, steps=30):
    """Return the losses of all steps, and the final loss on the text."""
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
def test_gpu_training_matches_cpu(text, gpu, cell, num_layers, batching, optimizer):
    settings = replace(SETTINGS, cell=cell, num_layers=num_layers, batching=batching, optimizer=optimizer)
    expected, expected_final = trained(text, settings, choose_device("cpu", "float32"))
    losses, final = trained(text, settings, choose_device(gpu, "float32"))
    assert losses == pytest.approx(expected, rel=0.01) and final == pytest.approx(expected_final, rel=0.02)


@pytest.mark.parametrize("gpu", GPUS)
def test_bfloat16_on_gpu_is_close_to_cpu_float32(text, gpu):
    device = choose_device(gpu)
    if device.precision != "bfloat16":
        pytest.skip(f"{device.description}")
    expected, expected_final = trained(text, SETTINGS, choose_device("cpu", "float32"))
    losses, final = trained(text, SETTINGS, device)
    assert losses[-1] == pytest.approx(expected[-1], abs=0.05) and final == pytest.approx(expected_final, abs=0.05)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_gpu_training_resumes(text, gpu, optimizer):
    settings = replace(SETTINGS, optimizer=optimizer)
    device = choose_device(gpu, "float32")
    whole = trained(text, settings, device, 20)[0]
    corpus = Corpus(text)
    architecture = settings.architecture(len(corpus.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, 1)).to(gpu)
    ids = corpus.parts(0.0, 0.0).training.ids(corpus.vocabulary)
    first = training_steps(network, make_batches(place_ids(ids, gpu), settings), settings, 20, device)
    losses = [next(first).loss for _ in range(10)]
    again = training_steps(
        CharNetwork(architecture, network.weights()).to(gpu), make_batches(place_ids(ids, gpu), settings), settings, 20,
        device,
    )  # fmt: skip
    again.restore(first.backend.state(), 10)
    again.batches.position = first.batches.position
    assert losses + [record.loss for record in again] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("gpu", GPUS)
def test_model_trained_on_gpu_runs_on_cpu(text, gpu, tmp_path):
    model = charloom.train(
        Corpus(text, "weaving"), run=tmp_path / "run", device=gpu, steps=40, progress=False, hidden_size=64, seed=1
    )
    assert model.generate("The ", 20, seed=1) == charloom.load(tmp_path / "run").generate("The ", 20, seed=1)
    again = charloom.resume(tmp_path / "run", Corpus(text, "weaving"), device="cpu", steps=5, progress=False)
    assert again.score(text[:200]).bits_per_char > 0
