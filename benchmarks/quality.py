"""Model quality after a few minutes: held-out loss by two protocols, over several seeds, and the wall time.

    python benchmarks/quality.py shakespeare --minutes 3 --seeds 3 [-- --recipe tutorial-gru --val-fraction 0.1 ...]

Each seed is one `charloom train` in its own process; arguments after -- are passed to it. "One stream" is the loss of
every held-out character but the first, given all characters before it. "Crops" is nanoGPT's protocol: windows of 256
characters from random places of the held-out text, each from the zero state, with every character counted. Prints a
table, then one JSON line.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch.nn import functional as F

import charloom
from charloom.training.backends.torch.network import CharNetwork
from machine import processor

CROPS, CROP_LENGTH, BATCH = 2048, 256, 64


def crop_loss(model, ids):
    """Return the mean loss of random windows, each from the zero state, in nats per character."""
    network = CharNetwork(model.architecture, model.saved.weights).eval()
    starts = np.random.default_rng(0).integers(0, len(ids) - CROP_LENGTH, CROPS)
    windows = torch.from_numpy(ids[starts[:, None] + np.arange(CROP_LENGTH + 1)].astype(np.int64))
    with torch.no_grad():
        losses = [
            F.cross_entropy(network(part[:, :-1])[0].flatten(0, 1), part[:, 1:].flatten()).item()
            for part in windows.split(BATCH)
        ]
    return statistics.fmean(losses)


def measure(corpus, held_out, minutes, seed, train_options):
    """Train once; return model size, steps, wall time and losses."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        length = ["--minutes", str(minutes)] if minutes else []
        command = [sys.executable, "-m", "charloom", "train", corpus, *length, "--seed", str(seed), "-o", run, "--json"]
        began = time.perf_counter()
        done = subprocess.run([*command, *train_options], stdout=subprocess.PIPE, text=True, check=True)
        wall = time.perf_counter() - began
        finish, model = json.loads(done.stdout), charloom.load(run)
    a = model.architecture
    return {
        "seed": seed,
        "model": f"{a.cell} {a.num_layers} x {a.hidden_size}",
        "parameters": a.num_parameters,
        "steps": finish["steps"],
        "wall_seconds": wall,
        "one_stream": finish["best_val_loss"],
        "crops": crop_loss(model, model.vocabulary.encode(held_out)),
        "train_loss": finish["train_loss"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="?", default="shakespeare")
    parser.add_argument("--minutes", type=float, default=0, help="training time; 0: as long as charloom plans")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("more", nargs="*", help="after --: further options of `charloom train`")
    options = parser.parse_args()
    held_out = charloom.Corpus.read(options.corpus).split(0.1).validation
    runs = []
    print("| seed | model | steps | wall time, s | one stream | crops | training loss of the last epoch |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for seed in range(options.seeds):
        run = measure(options.corpus, held_out, options.minutes, seed, options.more)
        runs.append(run)
        print(
            f"| {seed} | {run['model']} | {run['steps']:,} | {run['wall_seconds']:.0f} | {run['one_stream']:.4f} | "
            f"{run['crops']:.4f} | {run['train_loss']:.4f} |",
            flush=True,
        )
    means = {key: statistics.fmean(run[key] for run in runs) for key in ("wall_seconds", "one_stream", "crops")}
    spread = {key: max(run[key] for run in runs) - min(run[key] for run in runs) for key in ("one_stream", "crops")}
    print(
        f"| mean | | | {means['wall_seconds']:.0f} | {means['one_stream']:.4f} (range {spread['one_stream']:.4f}) | "
        f"{means['crops']:.4f} | |"
    )
    facts = {"corpus": options.corpus, "minutes": options.minutes, "more": options.more, "processor": processor()}
    print(json.dumps({"benchmark": "quality", **facts, "mean": means, "runs": runs}))


if __name__ == "__main__":
    main()
