"""Small training runs that are stopped, resumed and disturbed, and comparisons of their results."""

import hashlib
import json

import torch

from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps
from charloom.planning.recipes import RECIPES
from charloom.training.backends.base import ControlFlags
from charloom.training.backends.torch.backend import TorchBackend
from charloom.training.checkpoint import load_checkpoint
from charloom.training.distributed.process_group import SINGLE_PROCESS
from charloom.training.events import StepRecord
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training
from charloom.training.steps import TrainingSteps

SMALL = {"hidden_size": 16, "embedding_size": 4, "seq_length": 25, "batch_size": 8, "sample_length": 30}
CLOCK = ("seconds", "chars_per_second")
KINDS = {
    "gru": {},
    "lstm": {"cell": "lstm", "dropconnect": 0.2},
    "two layers": {"num_layers": 2, "dropout_hidden": 0.3},
    "tutorial-gru": {},
    "tutorial-lstm": {},
}


def recipe(kind="gru", **values):
    name = kind if kind in RECIPES else "auto"
    chosen = SMALL | {"checkpoint_every": 7, "eval_every": 10} | KINDS[kind] | {"steps": 40} | values
    return RECIPES[name].with_values(chosen)


def train(corpus, folder, *, stop_after=None, **values):
    """Train and return the records; the training is stopped during step ``stop_after``."""
    records = []
    for record in run_training(corpus, recipe(**values), str(folder), stop=lambda: steps_of(records) + 1 == stop_after):
        records.append(record)
    return records


def steps_of(records):
    return max((r.step for r in records if isinstance(r, StepRecord)), default=0)


def resume(corpus, folder, **options):
    return list(resume_training(open_run(str(folder)), corpus, **options))


def remains(folder):
    """Return everything that a run leaves except for times: digests of the checkpoint, the model, metrics, samples."""
    saved, training = load_checkpoint(checkpoint_path(folder, checkpoint_steps(folder)[-1]))
    facts = dict(training.facts) | {"seconds": None}
    for record in filter(None, (facts["history"][key] for key in ("step", "evaluation", "best"))):
        record.update(dict.fromkeys(CLOCK))
    digests = {
        name: hashlib.sha256(value.tobytes()).hexdigest()
        for name, value in {**saved.weights, **training.tensors}.items()
    }
    lines = [json.loads(line) | dict.fromkeys(CLOCK) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    facts["files"] = None  # their lengths depend on the number of digits of the times
    return digests, saved.facts, facts, (folder / "model.safetensors").read_bytes(), lines, samples(folder)


def samples(folder):
    path = folder / "samples.txt"
    return path.read_text() if path.exists() else ""


def training_steps(network, batches, settings, steps, device, process_group=SINGLE_PROCESS, poll=ControlFlags):
    """Return the training steps of a network."""
    return TrainingSteps(TorchBackend(network, settings, device, process_group), batches, settings, steps, poll)


class Poison:
    """Makes values non-finite in some updates: in the loss, a gradient, an activation or a weight."""

    def __init__(self, monkeypatch, steps, where, value):
        self.steps, self.where, self.value = set(steps), where, value
        self.step = TorchBackend.step
        monkeypatch.setattr(TorchBackend, "step", lambda backend, *arguments: self(backend, *arguments))

    def __call__(self, backend, batch, step, *rest):
        if step + 1 not in self.steps:
            return self.step(backend, batch, step, *rest)
        network, value = backend.network, self.value
        if self.where == "loss":
            original = network.loss
            network.loss = lambda *a: (lambda loss, state: (loss * value, state))(*original(*a))
        elif self.where == "gradient":
            hook = network.output.weight.register_hook(lambda gradient: gradient * value)
        elif self.where == "activation":
            original = network.loss
            network.loss = lambda *a: (
                lambda loss, state: (
                    loss,
                    (tuple(p * value for p in state[0]), *state[1:])
                    if isinstance(state[0], tuple)
                    else (state[0] * value, *state[1:]),
                )
            )(*original(*a))
        elif self.where == "weight":
            with torch.no_grad():
                network.output.weight[0, 0] = value
        stats = self.step(backend, batch, step, *rest)
        if self.where == "gradient":
            hook.remove()
        elif self.where in ("loss", "activation"):
            del network.loss
        return stats
