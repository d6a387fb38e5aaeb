"""ONNX export run by onnxruntime: the logits equal the float64 reference, step by step and for whole windows."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

import charloom
from charloom._util import extras
from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, MissingExtraError, ModelFileError
from charloom.inference.model import Model
from charloom.interop.onnx import exporter as onnx_export
from charloom.interop.onnx.exporter import write_onnx
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.reference import forward
from support.errors import raises_code
from support.models import tiny_architecture, tiny_weights
from support.paths import ROOT

KINDS = [("gru", True), ("gru", False), ("lstm", True)]
kinds = pytest.mark.parametrize(("cell", "reset_after"), KINDS, ids=["gru", "gru-before", "lstm"])
depths = pytest.mark.parametrize("num_layers", [1, 2, 3])
EXAMPLE = ROOT / "examples" / "onnx_generate.py"


def saved_model(cell, reset_after, num_layers, **fields):
    architecture = tiny_architecture(cell, num_layers, reset_after)
    return SavedModel(architecture, Vocabulary("\n abcde"), tiny_weights(architecture, spread=0.6), **fields)


def sessions(path, saved):
    return [onnxruntime.InferenceSession(written) for written in write_onnx(path, saved)]


def zeros(architecture, batch):
    return np.zeros((architecture.num_layers, architecture.state_parts, batch, architecture.hidden_size), np.float32)


def run_steps(session, ids, state):
    """Run a step graph over ids (B, T); return the logits (B, T, V) and the final state."""
    logits = []
    for column in ids.T:
        step_logits, state = session.run(["logits", "next_state"], {"ids": column, "state": state})
        logits.append(step_logits)
    return np.stack(logits, 1), state


def run_window(session, ids, state):
    return session.run(["logits", "next_state"], {"ids": ids, "state": state})


def random_ids(size, shape, seed=3):
    return np.random.Generator(np.random.Philox(key=seed)).integers(0, size, shape)


@kinds
@depths
def test_1000_steps_and_one_window_equal_the_reference(cell, reset_after, num_layers, tmp_path):
    saved = saved_model(cell, reset_after, num_layers)
    step, window = sessions(tmp_path / "m.onnx", saved)
    ids = random_ids(7, (2, 1000))
    expected, expected_state = forward(saved.architecture, saved.weights, ids)
    for run, session in ((run_steps, step), (run_window, window)):
        logits, state = run(session, ids, zeros(saved.architecture, 2))
        assert np.abs(logits - expected).max() < 1e-4
        assert np.abs(state - expected_state).max() < 1e-4


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_larger_models_and_the_bundled_model_equal_the_reference(cell, tmp_path):
    architecture = Architecture(80, cell, embedding_size=32, hidden_size=256, num_layers=2)
    vocabulary = Vocabulary("".join(map(chr, range(80))))
    made = SavedModel(architecture, vocabulary, tiny_weights(architecture, spread=0.1))
    for number, saved in enumerate([made, charloom.load("shakespeare").saved]):
        step, window = sessions(tmp_path / f"{number}.onnx", saved)
        ids = random_ids(saved.architecture.vocabulary_size, (1, 1000))
        expected, _ = forward(saved.architecture, saved.weights, ids)
        for run, session in ((run_steps, step), (run_window, window)):
            assert np.abs(run(session, ids, zeros(saved.architecture, 1))[0] - expected).max() < 1e-4


@kinds
def test_state_carries_over_and_rows_are_independent(cell, reset_after, tmp_path):
    saved = saved_model(cell, reset_after, 2)
    step, window = sessions(tmp_path / "m.onnx", saved)
    ids = random_ids(7, (5, 40))
    whole, _ = run_window(window, ids, zeros(saved.architecture, 5))
    first, state = run_window(window, ids[:, :13], zeros(saved.architecture, 5))
    second, _ = run_steps(step, ids[:, 13:], state)  # the state moves from the window graph to the step graph
    assert np.abs(np.concatenate([first, second], 1) - whole).max() < 1e-5
    row, _ = run_window(window, ids[3:4], zeros(saved.architecture, 1))
    assert np.abs(row[0] - whole[3]).max() < 1e-5


def test_files_contain_metadata(tmp_path):
    saved = saved_model("lstm", True, 1, facts={"corpus": "songs"}, rules=TextRules(lines=True))
    for path in write_onnx(tmp_path / "m.onnx", saved):
        (entry,) = onnx.load(path).metadata_props
        assert entry.key == "charloom"
        metadata = {
            "version": charloom.__version__,
            "vocabulary": list("\n abcde"),
            "unit": "char",
            "lines": True,
            "facts": {"corpus": "songs"},
        }
        assert json.loads(entry.value) == metadata
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.window.onnx"]


@kinds
def test_step_graph_needs_only_basic_operators(cell, reset_after, tmp_path):
    path, _ = write_onnx(tmp_path / "m.onnx", saved_model(cell, reset_after, 2))
    model = onnx.load(path)
    shaping = {"Concat", "Gather", "Split", "Squeeze", "Unsqueeze"}
    assert {node.op_type for node in model.graph.node} <= shaping | {"Add", "Gemm", "Mul", "Sigmoid", "Sub", "Tanh"}
    assert [opset.domain for opset in model.opset_import] == [""]
    assert model.opset_import[0].version <= 14 and model.ir_version <= 7  # ONNX 1.9


def test_metadata_of_a_byte_model(tmp_path):
    architecture = Architecture(256, embedding_size=4, hidden_size=5)
    step, _ = sessions(tmp_path / "m.onnx", SavedModel(architecture, ByteVocabulary(), tiny_weights(architecture)))
    metadata = json.loads(step.get_modelmeta().custom_metadata_map["charloom"])
    assert metadata["unit"] == "byte" and [ord(c) for c in metadata["vocabulary"]] == list(range(256))


def test_export_is_deterministic(tmp_path):
    first, second = (write_onnx(tmp_path / name, saved_model("gru", True, 2)) for name in ("a.onnx", "b.onnx"))
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True, True]


def test_too_large_model_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with raises_code("too_large_for_onnx", ModelFileError, maximum=1000):
        write_onnx(tmp_path / "m.onnx", saved_model("gru", True, 1))
    assert not list(tmp_path.iterdir())


def test_existing_window_file_is_not_overwritten(tmp_path):
    (tmp_path / "m.window.onnx").write_text("mine")
    with raises_code("file_exists", InputError, path=str(tmp_path / "m.window.onnx")):
        write_onnx(tmp_path / "m.onnx", saved_model("gru", True, 1))
    assert (tmp_path / "m.window.onnx").read_text() == "mine"
    assert not (tmp_path / "m.onnx").exists()


def test_missing_onnx_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with raises_code("missing_extra", MissingExtraError, extra="onnx"):
        write_onnx(tmp_path / "m.onnx", saved_model("gru", True, 1))


def test_export_command_and_example_script(cli, run):
    done = cli("export", run, "--to", "onnx", "-o", "m.onnx", "--json")
    assert done.code == 0 and done.json["files"] == ["m.onnx", "m.window.onnx"], done.err
    texts = []
    for seed in ("1", "1", "2"):
        command = [sys.executable, EXAMPLE, "m.onnx", "The loom", "200", "0.8", seed]
        texts.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("The loom") and len(text) == len("The loom") + 200 for text in texts)
    greedy = subprocess.run(
        [sys.executable, EXAMPLE, "m.onnx", "The loom", "100", "0.001", "1"], capture_output=True, text=True, check=True
    ).stdout
    assert greedy == charloom.load(run).generate("The loom", 100, temperature=0, precision="float32")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    return importlib.import_module(EXAMPLE.stem)


@pytest.mark.parametrize("prompt", ["", "ab", "deca\nc", "bbbb\n"])
def test_example_script_generates_lines_like_charloom(prompt, example, tmp_path):
    architecture = tiny_architecture("lstm", 2)
    saved = SavedModel(
        architecture, Vocabulary("\n abcde"), tiny_weights(architecture, spread=1.5), rules=TextRules(lines=True)
    )
    texts = []
    for kind in (saved, replace(saved, rules=TextRules(lines=False))):
        path, _ = write_onnx(tmp_path / f"{kind.rules.lines}.onnx", kind)
        texts.append("".join(example.generate(str(path), prompt, 40, 1e-3, 1)))
        assert texts[-1] == Model(kind).generate(prompt, 40, temperature=0, precision="float32")
    assert "\n" in texts[0][len(prompt) : -1] and texts[0] != texts[1]  # a model of lines resets its state at line ends
