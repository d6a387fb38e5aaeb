"""Training step of a GRU with each implementation of the recurrent layers, on the CPU in float32.

    python benchmarks/gru_implementations.py --threads 1

The implementations take turns, step by step, so that other work on the machine slows all of them equally. Figures are
medians of processor time (all threads) and of wall-clock time; ratios are relative to ``nn.GRU`` (pytorch). The last
line is JSON.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from charloom.model.initializers import initial_weights
from charloom.planning.settings import Settings
from charloom.training.backends.torch.backend import TorchBackend
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from charloom.training.steps import TrainingSteps, kept_memory
from machine import processor

VOCABULARY = 65
CASES = {  # settings, number of measured steps
    "384 units, 32 x 32": ({"hidden_size": 384, "embedding_size": 128, "batch_size": 32, "seq_length": 32}, 30),
    "1024 units, 64 x 100": ({"hidden_size": 1024, "embedding_size": 256, "batch_size": 64, "seq_length": 100}, 10),
}
WARM_UP = 2  # steps


def training_steps(implementation, settings):
    architecture = settings.architecture(VOCABULARY)
    network = CharNetwork(architecture, initial_weights(architecture, 0), implementation=implementation)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 400_000).astype(np.uint8)
    backend = TorchBackend(network, settings, choose_device("cpu", "float32"))
    return TrainingSteps(backend, make_batches(ids, settings), settings, 10**6)


def measure(implementations, settings, count):
    """Return for each implementation the median seconds per step, by processor time and by wall clock."""
    all_steps = {name: training_steps(name, settings) for name in implementations}
    measured = {name: {"processor": [], "wall": []} for name in implementations}
    with kept_memory():
        for number in range(WARM_UP + count):
            for name, steps in all_steps.items():
                began = time.process_time()
                wall = next(steps).seconds
                if number >= WARM_UP:
                    measured[name]["processor"].append(time.process_time() - began)
                    measured[name]["wall"].append(wall)
    return {
        name: {clock: statistics.median(seconds) for clock, seconds in clocks.items()}
        for name, clocks in measured.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--implementation",
        action="append",
        help="implementation to measure; may be repeated (default: gru_autograd and pytorch)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.implementation or ["gru_autograd", "pytorch"]
    results = {}
    for case, (values, count) in CASES.items():
        settings = Settings(cell="gru", precision="float32", steps=10**6, minutes=0, **values)
        results[case] = [measure(names, settings, count) for _ in range(options.rounds)]
        for row in results[case]:
            figures = [
                f"{name} {1e3 * clocks['processor']:,.1f} ms ({1e3 * clocks['wall']:,.1f} wall clock, "
                f"{row['pytorch']['processor'] / clocks['processor'] if 'pytorch' in row else 1:.2f} times)"
                for name, clocks in row.items()
            ]
            print(f"{case}: {'; '.join(figures)}", flush=True)
    line = {"benchmark": "gru_implementations", "processor": processor(), "threads": options.threads, "cases": results}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
