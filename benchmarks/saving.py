"""Cost of safe training: saving checkpoints, their checksums, and checking for non-finite numbers.

    python benchmarks/saving.py

For the default recipe and the tutorial's GRU: median time to save a checkpoint and to compute its SHA-256 digests;
median time of a step with and without the check for non-finite numbers. The two kinds of steps alternate in groups of
as many steps as Muon reuses one orthogonal matrix, so both include its expensive steps. Prints a table, then one JSON
line.
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

VOCABULARY_SIZE = 65
TURNS = {"auto": 200, "tutorial-gru": 10}


def training_steps(recipe):
    settings = RECIPES[recipe].settings
    architecture = settings.architecture(VOCABULARY_SIZE)
    network = CharNetwork(architecture, initial_weights(architecture, 0))
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, 10**6).astype(np.uint8)
    backend = loop.TorchBackend(network, settings, choose_device("cpu"))
    return TrainingSteps(backend, make_batches(ids, settings), settings, 10**6)


def seconds_of(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def saving(steps):
    """Return the median seconds of a save, the median seconds of its checksums, and the file size in bytes."""
    vocabulary = Vocabulary("".join(map(chr, range(200, 200 + VOCABULARY_SIZE))))
    facts = {"corpus": "none", "corpus_sha256": "", "corpus_characters": 0, "recipe": "auto", "settings": {}}
    model = SavedModel(steps.backend.architecture, vocabulary, steps.backend.weights(), facts)
    progress = {"step": steps.step, "position": [0, 0], "rate_factor": 1.0, "finished": False, "history": {}}
    training = SavedTraining(progress | {"files": {}, "seconds": 0.0, "device": "cpu"}, steps.backend.state())
    arrays = dict(enumerate([*model.weights.values(), *training.tensors.values()]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        saves = [seconds_of(lambda: save_checkpoint(path, model, training)) for _ in range(9)]
        size = path.stat().st_size
    checksums = [seconds_of(lambda: _digests(arrays)) for _ in range(9)]
    return statistics.median(saves), statistics.median(checksums), size


def check_cost(steps, turns):
    """Return the median seconds of a step, and the share of time that the check for non-finite numbers adds."""
    true, group = torch.tensor(True), steps.settings.muon_every
    checking = loop.finite_state, torch.isfinite
    not_checking = (lambda state: true), (lambda value: true)
    durations = {checking: [], not_checking: []}
    for _ in range(turns):
        for functions, seconds in durations.items():
            loop.finite_state, torch.isfinite = functions
            seconds.append(sum(next(steps).seconds for _ in range(group)) / group)
    loop.finite_state, torch.isfinite = checking
    pairs = zip(durations[checking], durations[not_checking], strict=True)
    return statistics.median(durations[checking]), statistics.median(a / b for a, b in pairs) - 1


def main():
    results = {}
    with kept_memory():
        for recipe in ("auto", "tutorial-gru"):
            steps = training_steps(recipe)
            for _ in range(3):
                next(steps)
            save, checksums, size = saving(steps)
            step, check = check_cost(steps, TURNS[recipe])
            results[recipe] = {
                "save_seconds": save,
                "megabytes": size / 1e6,
                "share_of_time": save / max(_MIN_SECONDS, save * 50),
                "checksum_share_of_save": checksums / save,
                "step_seconds": step,
                "guard_share_of_step": check,
            }
    print(f"| {'':24} | {' | '.join(results)} |\n|---|{'---:|' * len(results)}")
    for key in next(iter(results.values())):
        print(f"| {key:24} | {' | '.join(f'{row[key]:.4f}' for row in results.values())} |")
    print(json.dumps({"benchmark": "saving", "processor": processor(), "recipes": results}))


if __name__ == "__main__":
    main()
