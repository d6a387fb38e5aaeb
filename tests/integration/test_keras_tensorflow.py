"""Import of TensorFlow checkpoints and of models trained by TensorFlow. Skipped if TensorFlow is not installed."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.inference.model import Model
from charloom.interop.keras.exporter import write_keras
from charloom.interop.keras.importer import import_keras
from charloom.model.reference import forward
from support.paths import DATA, ROOT, SUPPORT

KERAS2 = DATA / "keras2"


def tensorflow():
    """Return the Python of the benchmarks' environment, which has TensorFlow."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.is_file():
        pytest.skip("TensorFlow is not installed; run make bench-training")
    return python


def _arguments(name, vocabulary, target):
    return ["import", str(KERAS2 / name), "--from", "keras", "--vocabulary", str(vocabulary), "-o", str(target)]


@pytest.mark.slow
def test_tensorflow_checkpoints_are_imported(tmp_path):
    vocabulary_file = tmp_path / "vocabulary.json"
    vocabulary_file.write_text(json.dumps(list("abcdefg")))
    python, expected = tensorflow(), json.loads((KERAS2 / "expected.json").read_text())
    sources = {"ckpt_1": "ckpt_1", "ckpt_1.index": "ckpt_1", "own_ckpt": "own.weights.h5", ".": "ckpt_1"}
    for name, same in sources.items():
        target = tmp_path / "from_checkpoint.safetensors"
        arguments = _arguments(name, vocabulary_file, target)
        code = f"from charloom.cli.main import main; import sys; sys.exit(main({arguments!r}))"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run([python, "-c", code], check=True, env=environment, timeout=250)
        model = charloom.load(target).saved
        logits, _ = forward(model.architecture, model.weights, np.array(expected["ids"]))
        assert np.abs(logits - expected["logits"][same]).max() < 1e-5
        target.unlink()


def run_tensorflow(*arguments):
    """Run ``keras_tutorial.py`` with TensorFlow and return the losses that it writes."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    script = SUPPORT / "keras_tutorial.py"
    subprocess.run([tensorflow(), script, *arguments], check=True, env=environment, timeout=1500)
    return json.loads((Path(arguments[-1]) / "losses.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_model_trained_with_the_tutorial_code(cell, shakespeare, tmp_path, monkeypatch):
    """Keras trains one epoch of the tutorial; charloom imports and exports the model; Keras continues training."""
    monkeypatch.chdir(tmp_path)
    Path("shakespeare.txt").write_text(shakespeare.text)
    losses = run_tensorflow(cell, "shakespeare.txt", tmp_path)
    assert losses["trained"] < 3.2

    imported = import_keras("tutorial.keras", "shakespeare.txt")
    assert imported.notices == ()  # its loss is below the unigram baseline
    saved = np.load("computed.npz")
    engine = Model(imported.saved).engine()
    logits, _ = engine.forward(saved["windows"][:2, :-1], engine.initial_state(2))
    assert np.abs(logits - saved["logits"]).max() < 1e-4

    write_keras(Path("back.keras"), imported.saved)
    back = run_tensorflow("back", tmp_path)
    assert back["judged"] == pytest.approx(losses["judged"], abs=1e-5)
    assert back["after"] < back["judged"]
