"""Export to Keras: Keras computes the same logits and continues training; re-import restores the model."""

import json
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest

import charloom
from charloom._util import extras
from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import MissingExtraError, ModelFileError
from charloom.interop.keras.exporter import write_keras
from charloom.interop.keras.importer import import_keras
from charloom.model.file.model_file import SavedModel
from charloom.model.reference import forward
from support.errors import raises_code
from support.models import tiny_architecture, tiny_weights
from support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised within Keras
IDS = np.random.Generator(np.random.Philox(key=3)).integers(0, 7, (3, 100))
KINDS = [("gru", 1, True), ("gru", 3, True), ("gru", 2, False), ("lstm", 1, True), ("lstm", 3, True)]
kinds = pytest.mark.parametrize(("cell", "num_layers", "reset_after"), KINDS)


def saved_model(cell="gru", num_layers=2, reset_after=True, **fields):
    architecture = tiny_architecture(cell, num_layers, reset_after)
    return SavedModel(architecture, Vocabulary("\n abcd<"), tiny_weights(architecture, spread=0.5), **fields)


@kinds
def test_keras_computes_the_same_logits(cell, num_layers, reset_after, tmp_path):
    saved = saved_model(cell, num_layers, reset_after)
    (path,) = write_keras(tmp_path / "model.keras", saved)
    model = keras.models.load_model(path)
    logits = keras.ops.convert_to_numpy(model(IDS))
    assert np.abs(logits - forward(saved.architecture, saved.weights, IDS)[0]).max() < 1e-4
    assert model.count_params() == saved.architecture.num_parameters


@kinds
def test_reimport_restores_the_model(cell, num_layers, reset_after, tmp_path):
    saved = saved_model(
        cell, num_layers, reset_after, facts={"corpus": "songs", "val_loss": 1.25}, rules=TextRules(lines=True)
    )
    (path,) = write_keras(tmp_path / "model.keras", saved)
    back = import_keras(path)
    assert back.notices == ()
    assert back.saved.architecture == saved.architecture
    assert back.saved.vocabulary == saved.vocabulary and back.saved.rules.lines
    assert back.saved.facts.items() >= saved.facts.items()
    assert all(np.array_equal(back.saved.weights[name], value) for name, value in saved.weights.items())


def test_reimport_restores_a_byte_vocabulary(tmp_path):
    architecture = replace(tiny_architecture(), vocabulary_size=256)
    saved = SavedModel(architecture, ByteVocabulary(), tiny_weights(architecture))
    (path,) = write_keras(tmp_path / "model.keras", saved)
    assert import_keras(path).saved.vocabulary == ByteVocabulary()


def test_export_is_deterministic(tmp_path):
    first, second = (write_keras(tmp_path / name, saved_model())[0] for name in ("a.keras", "b.keras"))
    assert first.read_bytes() == second.read_bytes()


def test_keras_computes_the_same_loss_and_continues_training(run, text, tmp_path):
    """The loss of a trained model on a text, from the zero state, equals charloom's; training lowers it."""
    model = charloom.load(run)
    (path,) = write_keras(tmp_path / "model.keras", model.saved)
    keras_model = keras.models.load_model(path)
    ids = model.vocabulary.encode(text[:401]).astype(np.int32)[None]
    loss = keras_model.evaluate(ids[:, :-1], ids[:, 1:], verbose=0)
    assert loss == pytest.approx(model.score(text[:401]).nats_per_char, abs=1e-5)
    keras_model.fit(ids[:, :-1], ids[:, 1:], epochs=5, verbose=0)
    assert keras_model.evaluate(ids[:, :-1], ids[:, 1:], verbose=0) < loss
    keras_model.save(tmp_path / "trained.keras")
    (tmp_path / "text.txt").write_text(text)
    back = import_keras(tmp_path / "trained.keras", tmp_path / "text.txt").saved
    expected = keras.ops.convert_to_numpy(keras_model(ids))
    assert np.abs(forward(back.architecture, back.weights, ids)[0] - expected).max() < 1e-4


def test_vocabulary_is_readable_without_charloom(tmp_path):
    (path,) = write_keras(tmp_path / "model.keras", saved_model())
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("charloom.json"))["vocabulary"] == "\n abcd<"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"vocabulary": 7}, "damaged_model_file"),
        ({"unit": "word"}, "damaged_model_file"),
        ({"vocabulary": "\n abc"}, "vocabulary_mismatch"),
        ({"facts": {"val_loss": "low"}}, "invalid_fact"),
    ],
)
def test_changed_metadata_is_validated(change, code, tmp_path):
    (path,) = write_keras(tmp_path / "model.keras", saved_model())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["charloom.json"] = json.dumps(json.loads(members["charloom.json"]) | change).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    name = {"name": "val_loss"} if code == "invalid_fact" else {}
    with raises_code(code, charloom.InputError, **name):
        import_keras(path)


def test_missing_h5py_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with raises_code("missing_extra", MissingExtraError, extra="keras"):
        write_keras(tmp_path / "model.keras", saved_model())


def test_export_command(cli, run):
    done = cli("export", run, "--to", "keras", "-o", "model.keras", "--json")
    assert done.code == 0 and done.json["files"] == ["model.keras"], done.err
    assert done.json["file_bytes"] == Path("model.keras").stat().st_size
    assert cli("import", "model.keras", "--from", "keras", "-o", "back.safetensors").code == 0
    both = [cli("generate", model, "-n", "50", "--seed", "3").out for model in (run, "back.safetensors")]
    assert both[0] == both[1]
    with pytest.raises(ModelFileError):
        charloom.load("model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_other_backends_load_and_train_the_model(backend, tmp_path):
    """Needs the virtual environment of the benchmarks."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{backend} is not installed; run make bench-training")
    saved = saved_model("lstm")
    (path,) = write_keras(tmp_path / "model.keras", saved)
    np.save(tmp_path / "ids.npy", IDS)
    code = f"""
import keras, numpy as np
model, ids = keras.models.load_model({str(path)!r}), np.load({str(tmp_path / "ids.npy")!r})
np.save({str(tmp_path / "logits.npy")!r}, np.asarray(model(ids)))
before = model.evaluate(ids[:, :-1], ids[:, 1:], verbose=0)
model.fit(ids[:, :-1], ids[:, 1:], epochs=5, verbose=0)
assert model.evaluate(ids[:, :-1], ids[:, 1:], verbose=0) < before
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([python, "-c", code], check=True, env=environment, timeout=250)
    assert np.abs(np.load(tmp_path / "logits.npy") - forward(saved.architecture, saved.weights, IDS)[0]).max() < 1e-4
