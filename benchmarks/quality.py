"""How good a text model some minutes give: held-out loss by two protocols, over several seeds, and the wall time.

    python benchmarks/quality.py shakespeare --minutes 3 --seeds 3 [-- --recipe tutorial-gru --val-fraction 0.1 ...]

Each seed is one `charloom train` in a process of its own; everything after -- is passed on to it. "One stream" is the
loss of every held-out character but the first, given all before it. "Crops" is nanoGPT's protocol: windows of 256
characters from random places of the held-out text, each from the zero state, every one of their characters counted.
A table, then one line of JSON.
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

CROPS, CROP_LENGTH, AT_ONCE = 2048, 256, 64


def crop_loss(model, ids):
    """Return the mean loss of random windows, each from the zero state."""
    network = CharNetwork(model.architecture, model.saved.weights).eval()
    starts = np.random.default_rng(0).integers(0, len(ids) - CROP_LENGTH, CROPS)
    windows = torch.from_numpy(ids[starts[:, None] + np.arange(CROP_LENGTH + 1)].astype(np.int64))
    with torch.no_grad():
        losses = [
            F.cross_entropy(network(part[:, :-1])[0].flatten(0, 1), part[:, 1:].flatten()).item()
            for part in windows.split(AT_ONCE)
        ]
    return statistics.fmean(losses)


def measure(corpus, held_out, minutes, seed, more):
    """Train once; return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        length = ["--minutes", str(minutes)] if minutes else []
        command = [sys.executable, "-m", "charloom", "train", corpus, *length, "--seed", str(seed), "-o", run, "--json"]
        began = time.perf_counter()
        done = subprocess.run([*command, *more], stdout=subprocess.PIPE, text=True, check=True)
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
    parser.add_argument("--minutes", type=float, default=0, help="0: as long as charloom plans")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("more", nargs="*", help="after --: more options of `charloom train`")
    options = parser.parse_args()
    held_out = charloom.Corpus.read(options.corpus).split(0.1).validation
    found = []
    print("| seed | model | steps | wall time, s | one stream | crops | last epoch of training |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for seed in range(options.seeds):
        one = measure(options.corpus, held_out, options.minutes, seed, options.more)
        found.append(one)
        print(
            f"| {seed} | {one['model']} | {one['steps']:,} | {one['wall_seconds']:.0f} | {one['one_stream']:.4f} | "
            f"{one['crops']:.4f} | {one['train_loss']:.4f} |",
            flush=True,
        )
    means = {key: statistics.fmean(one[key] for one in found) for key in ("wall_seconds", "one_stream", "crops")}
    spread = {key: max(one[key] for one in found) - min(one[key] for one in found) for key in ("one_stream", "crops")}
    print(
        f"| mean | | | {means['wall_seconds']:.0f} | {means['one_stream']:.4f} (over {spread['one_stream']:.4f}) | "
        f"{means['crops']:.4f} | |"
    )
    facts = {"corpus": options.corpus, "minutes": options.minutes, "more": options.more, "processor": processor()}
    print(json.dumps({"benchmark": "quality", **facts, "mean": means, "runs": found}))


if __name__ == "__main__":
    main()
