"""The example scripts on training loops: they run as documented and compute what they claim."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import charloom
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch.backend import train_steps
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from support.paths import ROOT

SIZES = {"hidden_size": 12, "embedding_size": 6, "seq_length": 20, "batch_size": 16}


def run(name, *arguments):
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture
def curriculum(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("curriculum")


@pytest.fixture
def book(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text)
    recipe = [
        'recipe = "tutorial-lstm"',
        'precision = "float32"',
        *(f"{name} = {size}" for name, size in SIZES.items()),
    ]
    (tmp_path / "small.toml").write_text("\n".join(recipe) + "\n")
    return tmp_path


def test_open_loop_prints_and_saves_like_the_tutorial(book, text):
    done = run(
        "open_loop.py",
        "book.txt",
        "--recipe",
        "small.toml",
        "--epochs",
        7,
        "--output",
        "out",
        "--set",
        "adam_epsilon=1e-8",
    )
    assert done.returncode == 0, done.stderr
    epochs = [json.loads(line) for line in (book / "out" / "losses.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in epochs] == list(range(1, 8))
    lines = done.stdout.splitlines()
    assert lines[0].startswith("CPU") and "float32" in lines[0]
    assert len(lines) == 1 + 7 * 2 + 2  # 18 batches per epoch: lines at batch 0 and at the end; two checkpoints
    assert f"batch   0  loss {epochs[6]['losses'][0]:.4f}" in lines[-3]
    assert sorted(path.name for path in (book / "out").iterdir()) == [
        "epoch-05.safetensors",
        "epoch-07.safetensors",
        "losses.jsonl",
    ]
    assert set(charloom.load("out/epoch-07.safetensors").generate(length=50, seed=1)) <= set(text)


def test_open_loop_equals_train_steps_with_state_reset_every_epoch(book, text):
    assert run("open_loop.py", "book.txt", "--recipe", "small.toml", "--epochs", 3, "--output", "out").returncode == 0
    recipe = RECIPES["tutorial-lstm"].with_values(SIZES | {"reset_state": "epoch"})
    corpus = charloom.Corpus(text)
    architecture = recipe.settings.architecture(len(corpus.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    batches = make_batches(corpus.vocabulary.encode(text), recipe.settings)
    steps = 3 * batches.batches_per_epoch
    expected = [r.loss for r in train_steps(network, batches, recipe.settings, steps, choose_device("cpu", "float32"))]
    losses = [
        loss for line in (book / "out" / "losses.jsonl").read_text().splitlines() for loss in json.loads(line)["losses"]
    ]
    np.testing.assert_allclose(losses, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["book.txt", "--recipe", "smal.toml"], "smal.toml"),
        (["bok.txt"], "bok.txt"),
        (["book.txt", "--epochs", "0"], "--epochs"),
        (["book.txt", "--set", "hidden_sise=8"], "hidden_sise"),
        (["book.txt", "--set", "hidden_size"], "--set"),
        (["book.txt", "--set", "seed=1", "--set", "seed=2"], "seed"),
        (["book.txt", "--output", "."], "--output"),
    ],
)
def test_invalid_arguments_are_named_and_exit_with_2(book, arguments, named):
    done = run("open_loop.py", *arguments)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr


def test_curriculum_compares_scheduled_sampling_with_the_plain_loop(book, text):
    (book / "longer.txt").write_text(text * 2)  # a tenth of it is long enough for the evaluation
    done = run("curriculum.py", "longer.txt", "--recipe", "small.toml", "--steps", 4, "--share", 1)
    assert done.returncode == 2 and "Traceback" not in done.stderr  # the tutorial recipes have no held-out text
    (book / "held.toml").write_text((book / "small.toml").read_text() + "val_fraction = 0.1\n")
    done = run("curriculum.py", "longer.txt", "--recipe", "held.toml", "--steps", 4, "--share", 1)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[-3:]}
    assert rows.keys() == {"human", "plain", "scheduled"}
    human, plain = ([float(bits) for bits in rows[name][-5:]] for name in ("human", "plain"))
    assert max(human) < min(plain)  # after four steps the model is random, so the judge prefers the human text


def test_scheduled_sampling_replaces_inputs_at_the_given_rate(curriculum):
    settings = RECIPES["tutorial-gru"].with_values(SIZES).settings
    architecture = settings.architecture(9)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    with torch.no_grad():
        network.output.bias[4] = 100  # certain of character 4
    inputs = torch.randint(0, 4, (64, 51), generator=torch.Generator().manual_seed(1))
    changed = curriculum.replace_inputs(network, inputs, None, 0.3, torch.Generator().manual_seed(2))
    assert torch.equal(changed[:, 0], inputs[:, 0])
    assert set(changed[changed != inputs].tolist()) == {4}
    # 3,200 positions, each replaced with probability 0.3: the standard deviation of the share is 0.008
    assert abs((changed == 4).float()[:, 1:].mean().item() - 0.3) < 0.035
    assert torch.equal(curriculum.replace_inputs(network, inputs, None, 0.0, torch.Generator().manual_seed(2)), inputs)


def test_judge_uses_witten_bell_smoothing(curriculum):
    bits = curriculum.make_judge("abab")
    # no context: a and b twice each, two distinct: (2 + 2 * 1/2) / (4 + 2) = 1/2; after "b" only a, once: (1 + 1/2) / 2
    assert bits("", "a") == pytest.approx(1.0)
    assert bits("xb", "a") == pytest.approx(-np.log2(3 / 4))
