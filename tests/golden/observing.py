"""Functions that observe charloom's behavior. They created the golden data and also observe the current code.

Every function returns plain JSON data. It works in copies of the folder ``data``, which it does not change.
"""

import base64
import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import io
import json
import os
import platform
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
import warnings
import zipfile
from pathlib import Path

import click
import numpy as np

import charloom
from charloom.bulk.generation import generation_job
from charloom.bulk.job import read_job
from charloom.bulk.results import FilterCounts, filter_lines
from charloom.bulk.runner import run_in_process
from charloom.bulk.scoring import scoring_job

# All uses of charloom's internals. If one of them is moved or renamed, change only these imports.
from charloom.cli.main import group as command_group
from charloom.data.text_format import TextRules
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights
from charloom.native import chosen_isa, instruction_sets
from charloom.training.batches import make_batches
from charloom.training.batches.base import Position

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
ROOT = HERE.parents[1]

TEXT_TIME = 1_600_000_000  # modification time of the texts of bulk jobs, as recorded in the jobs

SEEDS = (0, 1, 2, 12_345, 2**53 - 1)


# ---------------------------------------------------------------------------------------------------- the platform


def platform_facts():
    """Return the properties of the platform that affect the last bits of float32 results."""
    import torch

    return {
        "machine": platform.machine(),
        "processor": _vendor(),
        "native": chosen_isa() if instruction_sets() else "none",
        "torch": torch.__version__,
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "numpy": np.__version__,
    }


def _vendor():
    try:
        match = re.search(r"vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match[1] if match else platform.processor()


def one_thread():
    """Let PyTorch use one thread, as when the data was created."""
    import torch

    torch.set_num_threads(1)


def digest(data):
    """Return the SHA-256 of bytes or of an array."""
    return hashlib.sha256(np.ascontiguousarray(data).tobytes() if isinstance(data, np.ndarray) else data).hexdigest()


def described(arrays):
    """Return the type, shape, digest and two sums of each array. Sums can be compared with a tolerance."""
    return {
        name: {
            "dtype": str(array.dtype),
            "shape": list(array.shape),
            "sha256": digest(array),
            "sum": float(array.astype(np.float64).sum()),
            "sum_of_squares": float((array.astype(np.float64) ** 2).sum()),
        }
        for name, array in sorted(arrays.items())
    }


# ------------------------------------------------------------------------------------------------------- comparing


WORDING = ("description", "message", "summary")
"""JSON keys whose strings are for people and may be reworded."""


def without_wording(value):
    """Return a JSON value without the strings for people."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (k in WORDING and isinstance(v, str))}
        return {key: without_wording(inner) for key, inner in kept.items()}
    return [without_wording(inner) for inner in value] if isinstance(value, list) else value


def differences(golden, now, tolerance=0.0, ignored=(), additions=False, path=""):
    """Yield a description of each difference between two JSON values.

    Args:
        golden: The recorded value.
        now: The current value.
        tolerance: Maximum difference of floats: relative, and absolute for numbers below 1.
        ignored: Patterns of paths whose values, but not types, may differ.
        additions: Whether objects may have new keys.
        path: Path of the values within the whole.
    """
    if isinstance(golden, dict) and isinstance(now, dict):
        for key in [*golden, *(key for key in now if key not in golden)]:
            inner = f"{path}.{key}"
            if key not in now:
                yield f"{inner} is missing; it was {_short(golden[key])}"
            elif key not in golden:
                if additions:
                    continue
                yield f"{inner} is new: {_short(now[key])}"
            else:
                yield from differences(golden[key], now[key], tolerance, ignored, additions, inner)
        return
    is_ignored = any(re.search(pattern, path) for pattern in ignored)
    if isinstance(golden, list) and isinstance(now, list):
        if len(golden) != len(now) and not is_ignored:
            yield f"{path} has {len(now)} entries; it had {len(golden)}"
        for index, (old, new) in enumerate(zip(golden, now, strict=False)):
            yield from differences(old, new, tolerance, ignored, additions, f"{path}[{index}]")
        return
    if type(golden) is not type(now):
        if not (is_ignored and {type(golden), type(now)} <= {int, float}):
            yield f"{path} is {_short(now)}; it was {_short(golden)}"
        return
    if is_ignored or golden == now:
        return
    if isinstance(golden, float) and abs(golden - now) <= tolerance * max(1.0, abs(golden)):
        return
    yield f"{path} is {_short(now)}; it was {_short(golden)}"


def _short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]}..."


def load(name):
    """Read a file of golden data."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def store(name, value):
    """Write a file of golden data."""
    text = json.dumps(value, indent=1) + "\n"
    (DATA / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


# ------------------------------------------------------------------------------------------------ the command line


def command(arguments, folder, environment=None):
    """Run the command line in this process, in a folder.

    Returns:
        The exit code, standard output and standard error.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before, argv, environ = Path.cwd(), sys.argv, dict(os.environ)
    os.chdir(folder)
    os.environ.update({"NO_COLOR": "1", **(environment or {})})
    sys.argv = ["charloom", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_module("charloom", run_name="__main__")
            code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        os.chdir(before)
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environ)
    return code, *(stream.buffer.getvalue().decode("utf-8") for stream in (out, err))


def json_of(arguments, folder):
    """Run a command with ``--json`` and return the object that it prints."""
    code, out, err = command([*arguments, "--json", "--quiet"], folder)
    if code:
        raise AssertionError(f"charloom {' '.join(map(str, arguments))} ended with {code}: {err}")
    return json.loads(out)


def workspace(folder, *, bulk=False):
    """Copy the golden data into a new folder that tests may change."""
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    if bulk:
        for name in ("story.txt", "names.txt"):
            os.utime(folder / name, (TEXT_TIME, TEXT_TIME))
    return folder


# ---------------------------------------------------------------------------------------------------------- training

SHORT = {"minutes": 0, "epochs": 0, "patience": 0, "warmup_steps": 5, "sample_length": 60, "precision": "float32"}

RUNS = {
    "gru": {
        "corpus": "story.txt",
        "settings": {
            **SHORT, "cell": "gru", "num_layers": 1, "hidden_size": 32, "embedding_size": 12, "batching": "streams",
            "seq_length": 20, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.05,
            "dropout_output": 0.0, "dropout_hidden": 0.0, "schedule": "linear", "steps": 60, "eval_every": 20,
            "checkpoint_every": 10, "keep_checkpoints": 3, "seed": 11, "val_fraction": 0.1,
        },
        "stop": 25,
    },
    "lstm": {
        "corpus": "names.txt",
        "format": {"lines": True},
        "settings": {
            **SHORT, "cell": "lstm", "num_layers": 2, "hidden_size": 24, "embedding_size": 8, "batching": "lines",
            "seq_length": 8, "batch_size": 16, "optimizer": "muon", "learning_rate": 0.01, "dropout_input": 0.05,
            "dropout_hidden": 0.1, "dropout_output": 0.1, "dropconnect": 0.1, "schedule": "cosine", "steps": 48,
            "eval_every": 16, "checkpoint_every": 10, "keep_checkpoints": 2, "seed": 5, "val_fraction": 0.1,
        },
        "stop": 21,
    },
    "bytes": {
        "corpus": "story.txt",
        "format": {"unit": "byte"},
        "settings": {
            **SHORT, "cell": "gru", "num_layers": 2, "hidden_size": 24, "embedding_size": 8, "batching": "windows",
            "seq_length": 16, "batch_size": 8, "shuffle_buffer": 50, "reset_state": "window", "optimizer": "adam",
            "learning_rate": 0.01, "max_grad_norm": 0.0, "schedule": "constant", "steps": 50, "eval_every": 25,
            "checkpoint_every": 100, "keep_checkpoints": 1, "seed": 3, "val_fraction": 0.1, "test_fraction": 0.05,
        },
        "stop": 13,
    },
}  # fmt: skip
"""Runs that were stopped after ``stop`` steps and whose folders are in the data."""

WHOLE = {
    **{name: {key: run[key] for key in run if key != "stop"} for name, run in RUNS.items()},
    "muon": {
        "corpus": "story.txt",
        "settings": {
            **RUNS["gru"]["settings"], "optimizer": "muon", "num_layers": 2, "dropout_hidden": 0.1,
            "dropout_output": 0.1, "dropout_input": 0.05, "reset_state": "never", "seed": 2**53 - 1,
            "checkpoint_every": 60, "steps": 40,
        },
    },
    "dropconnect": {
        "corpus": "story.txt",
        "settings": {**RUNS["gru"]["settings"], "dropconnect": 0.2, "schedule": "cosine", "steps": 30, "seed": 8},
    },
    "bfloat16": {
        "corpus": "story.txt",
        "settings": {**RUNS["gru"]["settings"], "precision": "bfloat16", "optimizer": "muon", "steps": 30},
    },
    "once": {
        "corpus": "story.txt",
        "settings": {
            **RUNS["bytes"]["settings"], "cell": "lstm", "shuffle": "once", "shuffle_buffer": 10_000,
            "val_fraction": 0.0, "test_fraction": 0.0, "reset_state": "epoch", "steps": 45,
        },
    },
}  # fmt: skip
"""Training runs from the first step to the last."""

UNTIMED = ("seconds", "chars_per_second")


class Recorder:
    """Collects the records of a training run without the values that depend on the clock."""

    def __init__(self):
        self.steps, self.evaluations, self.samples, self.events, self.final = [], [], [], [], []

    def __call__(self, record):
        values = {key: value for key, value in vars(record).items() if key not in UNTIMED}
        if "val_loss" in values and "is_best" in values:
            self.evaluations.append(values)
        elif "grad_norm" in values:
            self.steps.append([values[key] for key in ("step", "epoch", "loss", "grad_norm", "learning_rate")])
        elif "text" in values:
            self.samples.append([values["step"], values["text"]])
        elif "message" in values:
            self.events.append([values["step"], values["event"]])
        elif "copied" in values:
            self.final.append(values)
        elif "interrupted" in values:
            self.final.append({key: value for key, value in values.items() if key != "run"})

    def facts(self):
        return {
            "steps": self.steps,
            "evaluations": self.evaluations,
            "samples": self.samples,
            "events": self.events,
            "end": self.final,
        }


def corpus_of(name, folder):
    """Return the corpus of a training run of ``RUNS`` or ``WHOLE``."""
    run = WHOLE[name]
    text_format = charloom.TextFormat(**run.get("format", {}))
    return charloom.Corpus.read(folder / run["corpus"], text_format=text_format)


def finished(folder):
    """Return the content of a finished run folder, without times."""
    from safetensors.numpy import load_file

    newest = sorted((folder / "checkpoints").iterdir())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "best": described(load_file(folder / "model.safetensors")),
        "checkpoints": [path.name for path in newest],
        "best's header": header_of(folder / "model.safetensors"),
        "last": described(load_file(newest[-1])),
        "last's header": header_of(newest[-1]),
        "metrics": [{key: value for key, value in row.items() if key not in UNTIMED} for row in rows],
        "samples": (folder / "samples.txt").read_text(encoding="utf-8", errors="backslashreplace"),
    }


def trained(name, folder):
    """Train from the first step to the last."""
    one_thread()
    recorder, run = Recorder(), folder / f"whole-{name}"
    settings = WHOLE[name]["settings"]
    charloom.train(corpus_of(name, folder), run=run, device="cpu", progress=False, watch=recorder, **settings)
    return {**recorder.facts(), **finished(run)}


def resumed(name, folder, before=None):
    """Resume a stopped run to its end, from its newest checkpoint or from one before a step."""
    one_thread()
    recorder, run = Recorder(), folder / "runs" / name
    for path in sorted((run / "checkpoints").iterdir()):
        if before is not None and int(path.stem.partition("-")[2]) >= before:
            path.unlink()
    charloom.resume(run, device="cpu", progress=False, watch=recorder)
    return {**recorder.facts(), **finished(run)}


def lengthened(folder):
    """Continue a finished run, continue it on another text, and start a new run from its model."""
    one_thread()
    run, result = folder / "runs" / "gru", {}
    charloom.resume(run, device="cpu", progress=False)
    recorder = Recorder()
    charloom.resume(run, device="cpu", progress=False, watch=recorder, steps=10)
    result["longer"] = {**recorder.facts(), **finished(run)}
    recorder = Recorder()
    other = charloom.Corpus((folder / "names.txt").read_text(encoding="utf-8") * 2 + "Ω€\n" * 9, "other")
    charloom.resume(run, other, new_text=True, device="cpu", progress=False, watch=recorder, steps=10)
    result["new_text"] = {**recorder.facts(), **finished(run)}
    recorder = Recorder()
    settings = {**RUNS["gru"]["settings"], "steps": 20}
    del settings["hidden_size"], settings["embedding_size"], settings["cell"], settings["num_layers"]
    charloom.train(
        other, run=folder / "init", init=folder / "models" / "gru-1.float32.safetensors", device="cpu", progress=False,
        watch=recorder, **settings,
    )  # fmt: skip
    result["init"] = {**recorder.facts(), **finished(folder / "init")}
    return result


# ------------------------------------------------------------------------------------------- batches, first weights

BATCHING = {
    "windows": {"batching": "windows", "shuffle_buffer": 40, "reset_state": "epoch"},
    "windows, shuffled once": {"batching": "windows", "shuffle_buffer": 10_000, "shuffle": "once"},
    "streams": {"batching": "streams", "reset_state": "epoch"},
    "streams, never reset": {"batching": "streams", "reset_state": "never"},
    "lines": {"batching": "lines"},
}


def batches(folder):
    """Return, for each kind of batching, the first batches, the digests of two epochs, and a late batch."""
    result = {}
    for name, overrides in BATCHING.items():
        for seed in (0, 77):
            settings = charloom.Settings(seq_length=9, batch_size=4, seed=seed, **overrides)
            is_lines = overrides["batching"] == "lines"
            corpus = corpus_of("lstm" if is_lines else "gru", folder)
            ids = corpus.parts(0.1, 0.05).training.ids(corpus.vocabulary)
            batch_iterator = make_batches(ids, settings)
            first = [_batch(next(batch_iterator)) for _ in range(4)]
            epochs = []
            batch_iterator.position = Position(0, 0)
            for _ in range(2):
                hasher = hashlib.sha256()
                for _ in range(batch_iterator.batches_per_epoch):
                    hasher.update(json.dumps(_batch(next(batch_iterator))).encode())
                epochs.append(hasher.hexdigest())
            batch_iterator.position = Position(5, 3)
            result[f"{name}, seed {seed}"] = {
                "batches_per_epoch": int(batch_iterator.batches_per_epoch),
                "first": first,
                "epochs": epochs,
                "epoch 5, batch 3": _batch(next(batch_iterator)),
            }
    return result


def _batch(batch):
    return {
        "inputs": np.asarray(batch.inputs).tolist(),
        "targets": np.asarray(batch.targets).tolist(),
        "at": [int(batch.epoch), int(batch.index)],
        "resets_state": bool(batch.resets_state),
        "ends_epoch": bool(batch.ends_epoch),
        "share": float(batch.share),
    }


ARCHITECTURES = {
    "gru": (50, "gru", 12, 20, 1),
    "gru of two layers": (7, "gru", 4, 5, 2),
    "gru, reset before": (50, "gru", 12, 20, 1, False),
    "lstm": (50, "lstm", 12, 20, 1),
    "lstm of two layers": (256, "lstm", 8, 24, 2),
}


def first_weights():
    """Return the digests of the initial weights for some sizes and seeds."""
    result = {}
    for name, sizes in ARCHITECTURES.items():
        for seed in SEEDS:
            drawn = initial_weights(charloom.Architecture(*sizes), seed)
            result[f"{name}, seed {seed}"] = {key: digest(value) for key, value in drawn.items()}
    return result


# --------------------------------------------------------------------------------------------------------- model files

MODELS = ("gru-1", "gru-2-bytes", "gru-1-old", "lstm-1", "lstm-2-lines")
FORMS = ("float32", "float16", "int8")


def untrained(characters, cell, sizes, *, seed, lines=False, reset_after=True):
    """Return a model with random weights that are large enough to matter."""
    architecture = charloom.Architecture(len(characters), cell, *sizes, reset_after=reset_after)
    rng = np.random.Generator(np.random.Philox(key=seed))
    shapes = architecture.parameter_shapes()
    weights = {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}
    facts = {"corpus": "none", "note": "random weights"}
    return SavedModel(architecture, charloom.Vocabulary(characters), weights, facts, rules=TextRules(lines=lines))


def model_path(folder, name, form="float32"):
    """Return the path of a model file in the data."""
    return folder / "models" / f"{name}.{form}.safetensors"


def model_files(folder):
    """Return the content of each model file, and the digests of copies saved in each number format."""
    result = {}
    for name in MODELS:
        for form in FORMS:
            path = model_path(folder, name, form)
            model = charloom.load(path)
            copies = {}
            for target in FORMS:
                written = folder / "again.safetensors"
                model.save(written, stored_as=target)
                copies[target] = digest(written.read_bytes())
            result[f"{name} as {form}"] = {
                "sha256": digest(path.read_bytes()),
                "architecture": model.architecture.to_dict(),
                "parameters": model.architecture.num_parameters,
                "summary": [vars(row) for row in model.architecture.summary()],
                "vocabulary": model.vocabulary.characters,
                "unit": model.vocabulary.unit,
                "facts": dict(model.facts),
                "weights": {key: digest(value) for key, value in sorted(model.saved.weights.items())},
                "again": copies,
                "repr": repr(model),
            }
    return result


def header_of(path):
    """Return the tensors in the header of a model file, and the keys and types of its description."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header.pop("__metadata__")["charloom"].partition(" ")[2])
    del description["tensor_sha256"]
    return {
        "tensors": {key: [entry["dtype"], entry["shape"]] for key, entry in sorted(header.items())},
        "description": shape_of(description),
    }


def shape_of(value):
    """Return JSON data with every value replaced by its type."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        kinds = []
        for inner in value:
            if (kind := shape_of(inner)) not in kinds:
                kinds.append(kind)
        return kinds
    return type(value).__name__


# ------------------------------------------------------------------------------------------------------------- exports


def exports(folder):
    """Return the content of every kind of export."""
    result = {}
    for name in MODELS:
        source = model_path(folder, name)
        files = result[name] = {}
        for form in ("float16", "int8"):
            target = folder / f"{name}.{form}"
            json_of(["export", source, "--to", form, "-o", target], folder)
            files[form] = digest(target.read_bytes())
        target = folder / f"{name}.html"
        words = ["export", source, "--to", "html", "-o", target, "--title", "A page", "--samples", 1]
        json_of(words, folder)
        files["html"] = _page(target.read_text(encoding="utf-8"))
        if name != "gru-1-old":  # not every format supports a GRU with reset before the matrix product
            files["keras"] = _keras(folder, name, source)
            files["onnx"] = _onnx(folder, name, source)
    target = folder / "gallery.html"
    both = [model_path(folder, name) for name in ("gru-1", "lstm-2-lines")]
    json_of(["export", *both, "--to", "html", "-o", target, "--prompt", "a", "--samples", 2], folder)
    result["gallery"] = {"html": _page(target.read_text(encoding="utf-8"))}
    return result


def _page(page):
    """Return the data in a page: descriptions of the models, their weights, and the texts shown."""
    blocks = re.findall(r'<script type="text/plain" id="(model-\d+)">([^<]*)</script>', page)
    contents = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    return {
        "models": {name: digest(base64.b64decode(data)) for name, data in blocks},
        "contents": [json.loads(text) for text in contents],
        "texts": [digest(text.encode()) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)],
        "title": re.findall(r"<title>(.*?)</title>", page),
        "policy": len(re.findall(r'http-equiv="Content-Security-Policy"', page)),
    }


def _keras(folder, name, source):
    import h5py

    target = folder / f"{name}.keras"
    json_of(["export", source, "--to", "keras", "-o", target], folder)
    with zipfile.ZipFile(target) as archive:
        members = {key: archive.read(key) for key in archive.namelist()}
    weights, arrays = h5py.File(io.BytesIO(members.pop("model.weights.h5"))), {}
    weights.visititems(lambda key, item: arrays.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None)
    reimported = folder / f"{name}.from-keras.safetensors"
    imported = json_of(["import", target, "--from", "keras", "-o", reimported], folder)
    return {
        "members": {key: json.loads(value) for key, value in sorted(members.items())},
        "weights": described(arrays),
        "imported": digest(reimported.read_bytes()),
        "import's output": shape_of(imported),
    }


def _onnx(folder, name, source):
    import onnx
    from onnx import numpy_helper

    target = folder / f"{name}.onnx"
    written = json_of(["export", source, "--to", "onnx", "-o", target], folder)
    result = {}
    for path in map(Path, written["files"]):
        model = onnx.load(path)
        graph = model.graph
        result[path.name] = {
            "ir_version": model.ir_version,
            "opsets": [[item.domain, item.version] for item in model.opset_import],
            "metadata": {item.key: item.value for item in model.metadata_props},
            "inputs": [str(item) for item in graph.input],
            "outputs": [str(item) for item in graph.output],
            "nodes": [[item.op_type, list(item.input), list(item.output)] for item in graph.node],
            "initializers": described({item.name: numpy_helper.to_array(item) for item in graph.initializer}),
        }
    return result


# ------------------------------------------------------------------------------------------------------ texts, scores

WRITING = {
    "plain": {},
    "likeliest": {"temperature": 0},
    "wild": {"temperature": 1.7},
    "top_k": {"top_k": 4},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.2, "temperature": 1.0},
    "repetition": {"repetition_penalty": 1.4, "repetition_window": 20},
    "presence": {"presence_penalty": 0.7, "frequency_penalty": 0.2},
    "all filters": {"top_k": 12, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.1, "frequency_penalty": -0.1},
    "stop": {"stop": ["e ", "a"]},
    "max_lines": {"max_lines": 2},
    "allow": {"allow": "aenrst\n"},
    "forbid": {"forbid": "e\n"},
    "skip": {"unknown": "skip", "prompt": "a☃b"},
    "replace": {"unknown": "replace", "prompt": "a☃b"},
    "no prompt": {"prompt": ""},
    "long": {"length": 400},
}


def texts(folder, precision, titles=tuple(WRITING)):
    """Return the texts that models generate for some seeds and options."""
    result = {}
    for name in MODELS:
        model = charloom.load(model_path(folder, name))
        for title in titles:
            overrides = WRITING[title]
            for seed in (1, 2**53 - 1):
                options = {"prompt": "a", "length": 60, "temperature": 0.8, **overrides, "precision": precision}
                result[f"{name}, {title}, seed {seed}"] = model.generate(seed=seed, **options)
    return result


def texts_of_forms(folder):
    """Return the text that each model generates in each number format."""
    return {
        f"{name} as {form}": charloom.load(model_path(folder, name, form)).generate("a", 80, seed=4)
        for name in MODELS
        for form in FORMS
    }


SCORED = {
    "gru-1": "The miller and the river went home, and the old clock stood still.\n",
    "gru-2-bytes": "The café — “quite old” — Ω☃ was closed.\n",
    "gru-1-old": "abc and a bad cab\n",
    "lstm-1": "abc and a bad cab\n",
    "lstm-2-lines": "Maro\nTelina\nBeko\n",
}


def scores(folder):
    """Return losses of texts, top-k predictions, and activations."""
    result = {}
    for name in MODELS:
        model, text = charloom.load(model_path(folder, name)), SCORED[name]
        for precision in ("float32", "int8"):
            score = model.score(text, precision=precision)
            many = model.score_many([text, text[:9], text[3:20]], precision=precision)
            result[f"{name}, {precision}"] = {
                "text": score.text,
                "characters": score.characters,
                "total_nats": score.total_nats,
                "nats_per_char": score.nats_per_char,
                "bits_per_char": score.bits_per_char,
                "perplexity": score.perplexity,
                "surprisals": np.asarray(score.surprisals, np.float64).tolist(),
                "many": [[part.characters, part.total_nats] for part in many],
                "blocks": [[a, b.tolist()] for a, b in model.surprisal_blocks([text[:7], text[7:]], precision)],
            }
        guesses, activations = model.top_guesses(text, 3), model.activations(text)
        result[f"{name}, seen"] = {
            "guesses": list(guesses.characters),
            "probabilities": guesses.probabilities.tolist(),
            "hidden": np.asarray(activations.hidden, np.float64).mean(axis=2).tolist(),
            "gates": np.asarray(activations.gates, np.float64).mean(axis=3).tolist(),
            "cell": None
            if activations.cell is None
            else np.asarray(activations.cell, np.float64).mean(axis=2).tolist(),
        }
    return result


# ------------------------------------------------------------------------------------------------- bulk jobs, tuning

BULK = {
    "score": {"model": "models/gru-1.float32.safetensors", "partition_bytes": 1000, "precision": "int8"},
    "write": {"model": "models/lstm-2-lines.float32.safetensors", "texts": 25, "partition_texts": 4, "seed": 9},
}


def bulk_jobs(folder):
    """Open the bulk jobs in the data."""
    return _scoring(folder), _writing(folder)


def _scoring(folder):
    values = BULK["score"]
    return scoring_job(
        folder / "bulk" / "score", str(folder / values["model"]),
        [str(folder / "story.txt"), str(folder / "names.txt")],
        partition_bytes=values["partition_bytes"], precision=values["precision"],
    )  # fmt: skip


def _writing(folder):
    values = BULK["write"]
    return generation_job(
        folder / "bulk" / "write", str(folder / values["model"]), values["texts"], prompt="Ma", length=30,
        temperature=0.9, seed=values["seed"], partition_texts=values["partition_texts"], top_p=0.9, max_lines=2,
    )  # fmt: skip


def bulk(folder):
    """Finish both jobs and return all rows."""
    result = {}
    for name, job in zip(("score", "write"), bulk_jobs(folder), strict=True):
        opened = read_job(folder / "bulk" / name)
        missing = job.missing()
        run_in_process(job)
        result[name] = {
            "digest": job.digest,
            "opened": opened.digest,
            "missing": missing,
            "partitions": job.partitions,
            "ends": [job.summary(number) for number in range(job.partitions)],
            "rows": list(job.rows()),
        }
        if name == "score":
            counts = FilterCounts()
            kept = b"".join(filter_lines(job, most=11.0, counts=counts))
            result["kept"] = {"counts": vars(counts), "text": kept.decode("utf-8")}
    return result


TUNING = {"hidden_size": 16, "embedding_size": 8, "num_layers": 1, "batch_size": 8, "precision": "float32"}


def tuning_words(hours):
    """Return the arguments that resume the search in the data. Its settings must not change."""
    words = ["tune", "story.txt", "-o", "tuning", "--hours", hours, "--seed", 4]
    return [*words, *(word for key, value in TUNING.items() for word in ("--set", f"{key}={value}"))]


def _without_help(recipe):
    """Return the facts at the top of a recipe file except the date, and its settings without their help texts."""
    import tomllib

    facts, _, settings = recipe.partition("\nrecipe = ")
    facts = re.sub(r"^# made: .*\n?", "", facts, flags=re.M)
    return facts, tomllib.loads(f"recipe = {settings}")


def tuning(folder):
    """Open the search in the data without time for another trial, and return its result."""
    before = (folder / "tuning" / "recipe.toml").read_text(encoding="utf-8")
    (folder / "tuning" / "recipe.toml").unlink()
    (folder / "tuning" / "tuning.html").unlink()
    result = json_of(tuning_words(0.0002), folder)
    page = (folder / "tuning" / "tuning.html").read_text(encoding="utf-8")
    after = (folder / "tuning" / "recipe.toml").read_text(encoding="utf-8")
    return {
        "output": {key: value for key, value in result.items() if key != "seconds"},
        "has the same recipe": _without_help(before) == _without_help(after),
        "page": {
            "rows": len(re.findall(r"<tr\b", page)),
            "pictures": len(re.findall(r"<svg\b", page)),
            "title": re.findall(r"<title>(.*?)</title>", page),
        },
    }


# ---------------------------------------------------------------------------------------------------- public names


def signature(thing):
    """Return the name, kind and default of each parameter of a callable."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return None
    return [f"{parameter.name} {parameter.kind.name}{_default(parameter.default)}" for parameter in parameters]


def _default(value):
    if value is inspect.Parameter.empty:
        return ""
    text = re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\bcharloom(\.\w+)+\.", "", repr(value)))
    return f" = {text}"


def public_names():
    """Return the signature of everything in ``charloom.__all__``, and of the members of its classes."""
    result = {}
    for name in charloom.__all__:
        thing = getattr(charloom, name)
        if inspect.isclass(thing):
            result[name] = class_facts(thing)
        else:
            result[name] = {"kind": type(thing).__name__, "parameters": signature(thing)}
    return result


def class_facts(thing):
    """Return the constructor, the fields and the public members of a class."""
    members = {}
    for key, value in inspect.getmembers_static(thing):
        if key.startswith("_") or key in ("add_note", "args", "with_traceback"):
            continue
        if isinstance(value, property) or type(value).__name__ == "cached_property":
            members[key] = "property"
        elif isinstance(value, classmethod | staticmethod | types.FunctionType):
            kind = type(value).__name__
            members[key] = {"kind": kind, "parameters": signature(getattr(value, "__func__", value))}
        else:
            members[key] = {"kind": "value", "value": _default(value) if not _is_slot(value) else "slot"}
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    bases = [base.__name__ for base in thing.__mro__[1:] if issubclass(base, BaseException)]
    return {
        "kind": "class",
        "parameters": signature(thing),
        "fields": [[field.name, _default(_field_default(field))] for field in fields],
        "frozen": bool(fields) and thing.__dataclass_params__.frozen,
        "members": members,
        "errors it is": bases,
    }


def _is_slot(value):
    return inspect.ismemberdescriptor(value) or inspect.isgetsetdescriptor(value)


def _field_default(field):
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


_DOCUMENTS = ("README.md", "docs/**/*.md", "docs/**/*.ipynb", "examples/*.py", "plugins/**/*.md", "plugins/**/*.py")
_FROM = re.compile(r"from (charloom(?:\.\w+)*) import (\([^)]*\)|[\w, ]+)")
_DIRECTIVE = re.compile(r"auto(module|class|function):: (charloom[\w.]*)")
_DOTTED = re.compile(r"\bcharloom(?:\.[a-z_]+)+\.\w+")


def documented_paths():
    """Return all import paths in documents, examples and plugins as (module, name)."""
    result = set()
    for pattern in _DOCUMENTS:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                cells = json.loads(text)["cells"]
                text = "\n".join("".join(cell["source"]) for cell in cells)
            for module, names in _FROM.findall(text):
                for name in re.findall(r"\w+", re.sub(r"\bas \w+", "", names)):
                    result.add((module, name))
            for kind, dotted in _DIRECTIVE.findall(text):
                if kind == "module":
                    result.add((dotted, ""))
                    result.update((dotted, name) for name in _own_names(dotted))
                else:
                    result.add(tuple(dotted.rsplit(".", 1)))
            for dotted in _DOTTED.findall(text):
                if kind_of(*dotted.rsplit(".", 1)) is not None:
                    result.add(tuple(dotted.rsplit(".", 1)))
    return sorted(result)


def _own_names(dotted):
    module = importlib.import_module(dotted)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == dotted
    ]


def kind_of(module, name):
    """Return the kind of object that an import path names, or None if it does not exist."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            result = importlib.import_module(module)
            if name:
                try:
                    result = getattr(result, name)
                except AttributeError:
                    result = importlib.import_module(f"{module}.{name}")
        except (ImportError, AttributeError):
            return None
    if inspect.isclass(result):
        return "class"
    if inspect.ismodule(result):
        return "module"
    return "function" if callable(result) else type(result).__name__


def options():
    """Return all commands of the command line with their options."""
    context = click.Context(command_group, info_name="charloom")
    result = {"": _parameters(command_group)}
    for name in command_group.list_commands(context):
        command = command_group.get_command(context, name)
        result[name] = {"hidden": command.hidden, "parameters": _parameters(command)}
    return result


def _parameters(command):
    result = {}
    for parameter in command.params:
        default = parameter.default
        result[parameter.name] = {
            "kind": type(parameter).__name__,
            "names": [*parameter.opts, *parameter.secondary_opts],
            "type": _option_type(parameter.type),
            "default": default if isinstance(default, str | int | float | bool | type(None)) else "unset",
            "required": parameter.required,
            "multiple": parameter.multiple,
            "nargs": parameter.nargs,
            "hidden": getattr(parameter, "hidden", False),
            "is_flag": getattr(parameter, "is_flag", False),
            "metavar": parameter.metavar,
            "envvar": parameter.envvar,
        }
    return result


def _option_type(kind):
    facts = kind.to_info_dict()
    return {key: value for key, value in facts.items() if isinstance(value, str | int | float | bool | list)} | {
        key: list(value) for key, value in facts.items() if isinstance(value, tuple)
    }


def settings():
    """Return every setting with its default, type and range."""
    return {
        field.name: {
            "default": field.default,
            "least": field.metadata["minimum"],  # the keys are those of the golden data
            "most": "infinity" if field.metadata["maximum"] == float("inf") else field.metadata["maximum"],
            "choices": list(field.metadata["choices"]),
        }
        for field in dataclasses.fields(charloom.Settings)
    }


# ----------------------------------------------------------------------------------------------- output of commands

_GRU, _LSTM, _BYTES = (f"models/{name}.float32.safetensors" for name in ("gru-1", "lstm-2-lines", "gru-2-bytes"))
_SIZES = (
    "--set",
    "precision=float32",
    "--set",
    "hidden_size=16",
    "--set",
    "embedding_size=8",
    "--set",
    "seq_length=10",
    "--set",
    "batch_size=4",
)

OUTPUTS = {
    "doctor": ["doctor"],
    "corpus": ["corpus", "story.txt"],
    "corpus of lines": ["corpus", "names.txt", "--lines"],
    "corpus of bytes": ["corpus", "story.txt", "--unit", "byte"],
    "corpus of several": [
        "corpus", "story.txt", "names.txt", "--boundary", "~", "--newlines", "lf", "--normalize", "nfc",
    ],
    "corpus of a column": ["corpus", "table.csv", "--lines", "--column", "name"],
    "info of a model": ["info", _GRU],
    "info of lines": ["info", _LSTM],
    "info of bytes": ["info", _BYTES],
    "info of int8": ["info", "models/gru-1.int8.safetensors"],
    "info of the bundled model": ["info", "shakespeare"],
    "info of a run": ["info", "runs/gru"],
    "info of a checkpoint": ["info", "runs/gru@20"],
    "info of several": ["info", "runs/gru@last", _LSTM],
    "generate": ["generate", _GRU, "-p", "The ", "-n", 40, "--seed", 3],
    "generate several": ["generate", _LSTM, "--samples", 3, "-n", 20, "--seed", 3, "--stop", "a", "--max-lines", 2],
    "generate and compare": ["generate", "runs/gru", "-p", "The ", "-n", 60, "--seed", 3, "--novelty"],
    "generate lines and compare": ["generate", "runs/lstm", "-n", 60, "--seed", 3, "--novelty"],
    "score": ["score", _GRU, "story.txt"],
    "score, per character": ["score", _GRU, "short.txt", "--per-char"],
    "score, per line": ["score", _GRU, "short.txt", "--per-line"],
    "score, int8": ["score", _GRU, "short.txt", "--precision", "int8"],
    "score of lines": ["score", _LSTM, "names.txt"],
    "report": ["report", "runs/gru", "-o", "report.html"],
    "report of a text": ["report", _LSTM, "names.txt", "-o", "lines.html"],
    "export to int8": ["export", _GRU, "--to", "int8", "-o", "small.safetensors"],
    "export to html": ["export", _GRU, _LSTM, "--to", "html", "-o", "page.html", "--samples", 1],
    "push": ["push", "ada/golden", "runs/gru", "--dry-run", "card", "--license", "mit", "--samples", 2],
    "train": ["train", "story.txt", "-o", "made", "--steps", 12, *_SIZES],
    "train lines": ["train", "names.txt", "--lines", "-o", "made-lines", "--steps", 12, *_SIZES],
    "train nothing held out": ["train", "story.txt", "-o", "made-all", "--steps", 8, "--val-fraction", 0, *_SIZES],
    "train, resumed": ["train", "--resume", "made", "--steps", 5],
    "train, only the plan": ["train", "story.txt", "--plan", "--epochs", 3],
    "plan of best": ["train", "story.txt", "--plan", "--epochs", 3, "--recipe", "best"],
    "plan of lines": ["train", "names.txt", "--plan", "--epochs", 4, "--lines"],
    "plan of a tutorial's recipe": ["train", "story.txt", "--plan", "--steps", 9, "--recipe", "tutorial-gru", *_SIZES],
    "plan of the other tutorial": ["train", "story.txt", "--plan", "--steps", 9, "--recipe", "tutorial-lstm", *_SIZES],
    "plan with a model to begin with": ["train", "story.txt", "--plan", "--epochs", 2, "--init", _GRU],
}  # fmt: skip

NOT_COMPARED = (
    r"seconds$", r"chars_per_second$", r"\.minutes$", r"memory_bytes$", r"\.run$", r"version$",
    r"\.device$", r"files\.(README\.md|recipe\.toml)$", r"to html\.file_bytes$", r"plan.*\.settings\.precision$",
)  # fmt: skip
"""Values that depend on the clock, the machine or the version."""


def outputs(folder):
    """Return the output of every command with ``--json``."""
    one_thread()
    return {name: printed(name, folder) for name in OUTPUTS}


def printed(name, folder):
    """Return the output of a command in ``OUTPUTS``; for ``doctor``, which describes the machine, only the keys."""
    result = json_of(OUTPUTS[name], folder)
    return {"keys": list(result), "devices": list(result["devices"])} if name == "doctor" else result


EVENTS = {
    "ended": {"steps": 60, "eval_every": 2, "patience": 1, "learning_rate": 0.05, "schedule": "constant"},
    "halved": {"steps": 60, "eval_every": 4, "patience": 0, "learning_rate": 3.0, "schedule": "constant",
               "max_grad_norm": 0.0, "optimizer": "adam"},
}  # fmt: skip


def run_folder_rows(folder):
    """Return the keys and types of the rows of ``metrics.jsonl`` by event, and of ``recipe.toml``."""
    import tomllib

    one_thread()
    rows, recipes = {}, {}
    corpus = charloom.Corpus((folder / "story.txt").read_text(encoding="utf-8")[:1500], "beginning")
    for name, overrides in EVENTS.items():
        run = folder / f"events-{name}"
        sizes = {"hidden_size": 16, "embedding_size": 8, "seq_length": 10, "batch_size": 4, "warmup_steps": 0}
        charloom.train(corpus, run=run, device="cpu", progress=False, **sizes, precision="float32", **overrides)
    for run in (folder / f"events-{name}" for name in EVENTS):
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kind = row.get("event") or "evaluation"
            for key, value in row.items():
                types_seen = rows.setdefault(kind, {}).setdefault(key, [])
                if type(value).__name__ not in types_seen:
                    types_seen.append(type(value).__name__)
                    types_seen.sort()
        recipe = (run / "recipe.toml").read_text(encoding="utf-8")
        recipes[run.name] = {
            "values": shape_of(tomllib.loads(recipe)),
            "remarks": [line.partition(":")[0] for line in recipe.splitlines() if line.startswith("#")],
            "files": sorted(path.name for path in run.iterdir()),
        }
    return {"rows": rows, "recipes": recipes}


# --------------------------------------------------------------------------------------------------------- the server

REQUESTS = {
    "health": ("GET", "/healthz", None),
    "models": ("GET", "/v1/models", None),
    "one model": ("GET", "/v1/models/gru-1.float32", None),
    "no such model": ("GET", "/v1/models/none", None),
    "tokenizer": ("GET", "/tokenizer_info", None),
    "openapi": ("GET", "/openapi.json", None),
    "sentences": ("GET", "/generate?start_text=The&n=2", None),
    "completion": ("POST", "/v1/completions", {"prompt": "The ", "max_tokens": 30, "seed": 5, "temperature": 0.8}),
    "completions": (
        "POST", "/v1/completions",
        {"prompt": ["The ", "a"], "max_tokens": 12, "seed": 5, "n": 2, "best_of": 3, "logprobs": 2, "echo": True},
    ),
    "filters": (
        "POST", "/v1/completions",
        {"prompt": "The ", "max_tokens": 40, "seed": 6, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "stop": [".", "ing"],
         "presence_penalty": 0.5, "frequency_penalty": 0.1, "repetition_penalty": 1.1, "logit_bias": {"3": -100}},
    ),
    "lines": (
        "POST", "/v1/completions",
        {"model": "lstm-2-lines.float32", "prompt": "Ma", "max_tokens": 30, "seed": 5, "stop": "\n"},
    ),
    "stream": (
        "POST", "/v1/completions",
        {"prompt": "The ", "max_tokens": 10, "seed": 5, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "scored prompt": (
        "POST", "/v1/completions", {"prompt": "The", "max_tokens": 0, "echo": True, "logprobs": 1, "seed": 5},
    ),
    "unknown character": ("POST", "/v1/completions", {"prompt": "☃"}),
    "wrong value": ("POST", "/v1/completions", {"prompt": "a", "temperature": 101}),
    "unknown field": ("POST", "/v1/completions", {"prompt": "a", "nucleus": 1}),
    "unknown model": ("POST", "/v1/completions", {"prompt": "a", "model": "none"}),
    "no JSON": ("POST", "/v1/completions", b"{"),
    "chat": ("POST", "/v1/chat/completions", {"messages": []}),
    "wrong method": ("GET", "/v1/completions", None),
    "no such address": ("GET", "/nothing", None),
    "tokens": ("POST", "/tokenize", {"prompt": "The old"}),
    "text": ("POST", "/detokenize", {"tokens": [3, 4, 5]}),
    "unknown id": ("POST", "/detokenize", {"tokens": [70_000]}),
    "score": ("POST", "/score", {"text": "The old clock"}),
    "guesses": ("POST", "/guesses", {"text": "The ol", "k": 3}),
    "missing field": ("POST", "/score", {}),
}  # fmt: skip

NOT_COMPARED_OF_SERVER = (
    r"\.id$",
    r"\.created$",
    r"\.system_fingerprint$",
    r"\.time$",
    r"info\.version$",
    r"completions\[",
)


def served(folder):
    """Return the status, content type and body of the server's responses."""
    result = {}
    with serving(folder, "serve", _GRU, _LSTM) as address:
        for name, (method, path, body) in REQUESTS.items():
            result[name] = _ask(address, method, path, body)
        result["metrics"] = _metrics(address)
    with serving(folder, "serve", _GRU, "--token", "secret") as address:
        result["without token"] = _ask(address, "GET", "/v1/models", None)
        result["with token"] = _ask(address, "GET", "/v1/models", None, {"Authorization": "Bearer secret"})
        result["openapi with token"] = _ask(address, "GET", "/openapi.json", None, {"Authorization": "Bearer secret"})
    return result


@contextlib.contextmanager
def serving(folder, *words):
    """Run a server on this machine and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "charloom", *words, "--port", str(port), "--quiet"]
    with subprocess.Popen(line, cwd=folder, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                    break
                except urllib.error.HTTPError as error:
                    error.close()
                    break
                except OSError:
                    if process.poll() is not None:
                        raise AssertionError(f"{' '.join(line)} exited early") from None
                    time.sleep(0.05)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _ask(address, method, path, body, headers=None):
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    headers = {**({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})}
    request = urllib.request.Request(f"{address}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, kind, text = response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, kind, text = error.code, error.headers["Content-Type"], error.read().decode()
    if kind.startswith("text/event-stream"):
        events = [line[6:] for line in text.split("\n\n") if line]
        return {"status": status, "type": kind, **_joined(events)}
    return {"status": status, "type": kind, "body": json.loads(text)}


def _joined(events):
    """Return the parts of a stream that do not depend on how it was split: the whole text and the keys of events."""
    parsed = [json.loads(event) for event in events if event != "[DONE]"]
    pieces = [choice["text"] for event in parsed for choice in event["choices"]]
    return {
        "text": "".join(pieces),
        "last": events[-1],
        "usage": parsed[-1].get("usage"),
        "keys": sorted({key for event in parsed for key in event}),
        "choice": sorted({key for event in parsed for choice in event["choices"] for key in choice}),
    }


def _metrics(address):
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as response:
        text = response.read().decode()
    return {"type": response.headers["Content-Type"], "names": re.findall(r"^# TYPE (\S+ \S+)", text, re.MULTILINE)}
