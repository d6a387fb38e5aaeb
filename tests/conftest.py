"""Fixtures shared by all tests: a small text, a small trained run, the command line."""

import os

# With pytest-xdist there is one worker per core, so each worker and its child processes use one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

import charloom
from charloom import native
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import find_model

pytest.register_assert_rewrite("support")  # show the compared values in failed assertions of helpers

# no deadline: the duration of an example depends on the machine
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")

pytest_plugins = ["support.reliability", "support.hub", "support.browser", "support.groups"]

LINES = [
    "The loom is warm and the thread is long.",
    "Weave the letters, one by one!",
    "Who asked the weaver for a song?",
    "The letters dance till the cloth is done.",
]


@pytest.fixture(scope="session")
def text():
    """About 6,000 characters with a little structure, the same on every machine."""
    order = np.random.Generator(np.random.Philox(key=7)).integers(0, len(LINES), 160)
    return "\n".join(LINES[i] for i in order) + "\n"


@pytest.fixture(scope="session")
def run(text, tmp_path_factory):
    """A run folder: a small model trained for 150 steps on ``text``, checkpoints after every epoch."""
    folder = tmp_path_factory.mktemp("session") / "run"
    corpus = charloom.Corpus(text, "weaving")
    sizes = {"hidden_size": 48, "embedding_size": 8, "seq_length": 25, "batch_size": 8}
    charloom.train(corpus, run=folder, steps=150, seed=3, progress=False, **sizes)
    return folder


@pytest.fixture(scope="session")
def shakespeare():
    """Tiny Shakespeare, from CHARLOOM_CORPORA or the cache."""
    from charloom.data.datasets import is_available_offline

    if not is_available_offline("shakespeare"):
        pytest.skip("tiny Shakespeare is not on this machine: set CHARLOOM_CORPORA to a folder that contains it")
    return charloom.Corpus.read("shakespeare")


@pytest.fixture(scope="session")
def bundled():
    """The bundled model."""
    return load_model(find_model("shakespeare"))


@pytest.fixture(params=native.instruction_sets())
def isa(request, monkeypatch):
    """Each instruction set of the engine that this processor supports."""
    monkeypatch.setenv(native.ISA, request.param)
    return request.param


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        """The error of a command that failed with --json: its code, message and data."""
        return json.loads(self.err.splitlines()[-1])["error"]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run a command in a separate process, in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, stdin=None, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "charloom", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env={**os.environ, "NO_COLOR": "1", **environment},
            timeout=240,
        )
        return Result(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace"))

    return call


@pytest.fixture
def quick_cli(tmp_path, monkeypatch, capfdbinary):
    """Run a command like ``cli``, but in this process, so that PyTorch is loaded only once."""
    from charloom.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments):
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode("utf-8"), err.decode("utf-8", "replace"))

    return call
