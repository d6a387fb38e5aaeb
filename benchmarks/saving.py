"""What keeping a training safe costs: checkpoints, their checksums, and looking for numbers that are not finite.

    python benchmarks/saving.py

For the default recipe and for the tutorial's GRU: the medians of saving a checkpoint and of its SHA-256 alone; of a
step, and of one that does not look whether its numbers are finite. These take turns of as many steps as Muon uses one
orthogonal matrix for, so that both ways have its long steps. A table, then one line of JSON.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from charloom.data.vocabulary.characters import Vocabulary
from charloom.model.file.model_file import SavedModel, _digests
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch import backend as loop
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from charloom.training.checkpoint import SavedTraining, save_checkpoint
from charloom.training.run_files import _MIN_SECONDS
from charloom.training.steps import TrainingSteps, kept_memory
from machine import processor

KNOWN = 65
TURNS = {"auto": 200, "tutorial-gru": 10}


def updates_of(recipe):
    settings = RECIPES[recipe].settings
    architecture = settings.architecture(KNOWN)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    ids = np.random.default_rng(0).integers(0, KNOWN, 10**6).astype(np.uint8)
    backend = loop.TorchBackend(network, settings, choose_device("cpu"))
    return TrainingSteps(backend, make_batches(ids, settings), settings, 10**6)


def seconds_of(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def saving(updates):
    """Return the median seconds of a save, of its checksums, and the bytes of the file."""
    vocabulary = Vocabulary("".join(map(chr, range(200, 200 + KNOWN))))
    facts = {"corpus": "none", "corpus_sha256": "", "corpus_characters": 0, "recipe": "auto", "settings": {}}
    model = SavedModel(updates.backend.architecture, vocabulary, updates.backend.weights(), facts)
    past = {"step": updates.step, "position": [0, 0], "rate_factor": 1.0, "finished": False, "history": {}}
    training = SavedTraining(past | {"files": {}, "seconds": 0.0, "device": "cpu"}, updates.backend.state())
    arrays = dict(enumerate([*model.weights.values(), *training.tensors.values()]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        saves = [seconds_of(lambda: save_checkpoint(path, model, training)) for _ in range(9)]
        size = path.stat().st_size
    sums = [seconds_of(lambda: _digests(arrays)) for _ in range(9)]
    return statistics.median(saves), statistics.median(sums), size


def guarding(updates, turns):
    """Return the median seconds of a step, and by what share it is longer than one beside it that does not look."""
    true, steps = torch.tensor(True), updates.settings.muon_every
    looking = loop.finite_state, torch.isfinite
    not_looking = (lambda state: true), (lambda value: true)
    found = {looking: [], not_looking: []}
    for _ in range(turns):
        for way, seconds in found.items():
            loop.finite_state, torch.isfinite = way
            seconds.append(sum(next(updates).seconds for _ in range(steps)) / steps)
    loop.finite_state, torch.isfinite = looking
    pairs = zip(found[looking], found[not_looking], strict=True)
    return statistics.median(found[looking]), statistics.median(a / b for a, b in pairs) - 1


def main():
    found = {}
    with kept_memory():
        for recipe in ("auto", "tutorial-gru"):
            updates = updates_of(recipe)
            for _ in range(3):
                next(updates)
            save, checksums, size = saving(updates)
            step, guard = guarding(updates, TURNS[recipe])
            found[recipe] = {
                "save_seconds": save,
                "megabytes": size / 1e6,
                "share_of_time": save / max(_MIN_SECONDS, save * 50),
                "checksum_share_of_save": checksums / save,
                "step_seconds": step,
                "guard_share_of_step": guard,
            }
    print(f"| {'':24} | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for key in next(iter(found.values())):
        print(f"| {key:24} | {' | '.join(f'{row[key]:.4f}' for row in found.values())} |")
    print(json.dumps({"benchmark": "saving", "processor": processor(), "recipes": found}))


if __name__ == "__main__":
    main()
