"""How fast several processes train one model, beside one process with as many threads.

    python benchmarks/scaling.py

On one machine, in turn: one process with two threads, and two processes with one thread each that share every batch
(torchrun). Each figure is the median over the rounds of the mean step, as `charloom train --json` tells it. Then what
two processes need to add up gradients of several sizes; and what a step takes one thread that reads some rows of the
batch, as it would be one of many. From these, what up to 64 would take with a network between them, which is computed:
the slowest link of a ring carries 2 (N - 1) / N times the gradient, in 2 (N - 1) messages. Tables, then a line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch.backend import train_steps
from charloom.training.backends.torch.device import choose_device
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from charloom.training.distributed.process_group import ProcessGroup
from machine import processor

ALPHABET = 65
DEVICE = choose_device("cpu")
SECONDS = 2.0  # of steps that are measured, each time
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
WIDE = {"batching": "streams", "seq_length": 100, "batch_size": 64}
CASES = {  # settings beside those of auto, and steps
    "the default, 1 x 384, 32 x 32": ({"num_layers": 1, "hidden_size": 384, "dropout_output": 0.1}, 400),
    "GRU of 512, 64 x 100": ({"num_layers": 1, "hidden_size": 512, **WIDE}, 60),
    "GRU of 2 x 512, 64 x 100": ({"num_layers": 2, "hidden_size": 512, **WIDE}, 30),
    "the tutorial's GRU, 64 x 100": ({"recipe": "tutorial-gru"}, 25),
}
FLOATS = (300_000, 625_000, 1_200_000, 4_000_000)
ADDING_UP = """
import statistics, sys, time, torch
from charloom.training.distributed.torchrun import joined
with joined() as ranks:
    for floats in map(int, sys.argv[1:]):
        numbers, seconds = torch.ones(floats), []
        for _ in range(40):
            ranks.all_reduce(torch.zeros(1))  # both begin at the same time
            began = time.perf_counter()
            ranks.all_reduce(numbers)
            seconds.append(time.perf_counter() - began)
            numbers.fill_(1)
        if ranks.is_first:
            print(floats, statistics.median(seconds))
"""


def run(command, threads, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, **options)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def trained(case, processes, folder):
    """Return the seconds of a step, and the losses at its end."""
    settings, steps = CASES[case]
    settings = dict(settings)
    recipe = settings.pop("recipe", "auto")
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    what = ["-m", "charloom", "train", "shakespeare", "--recipe", recipe, "--steps", str(steps), *sets]
    output = Path(folder) / f"{len(list(Path(folder).iterdir()))}"
    command = [sys.executable] if processes == 1 else [*TORCHRUN, str(processes)]
    found = json.loads(run([*command, *what, "--json", "--quiet", "--output", output], threads=2 // processes))
    return batch_characters(case) / found["chars_per_second"], found["train_loss"]


def compared(rounds):
    rows = {}
    for case in CASES:
        found = {1: [], 2: []}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(rounds):
                for processes, results in found.items():
                    print(f"{case}, round {number + 1} of {rounds}: {processes} processes", file=sys.stderr)
                    results.append(trained(case, processes, folder))
        one, two = (statistics.median(seconds for seconds, _ in found[size]) for size in (1, 2))
        losses = [found[size][0][1] for size in (1, 2)]
        rows[case] = {"one": one, "two": two, "ratio": two / one, "loss_difference": losses[1] - losses[0]}
    return rows


def settings_of(case):
    values = dict(CASES[case][0])
    return RECIPES[values.pop("recipe", "auto")].settings.with_values(values)


def batch_characters(case):
    settings = settings_of(case)
    return settings.batch_size * settings.seq_length


class OneOf(ProcessGroup):
    """The last of several processes, the others of which are not there: it does its share and waits for nobody."""

    def __init__(self, size):
        self.rank, self.size = size - 1, size


def rows_alone(case):
    """Return the mean seconds of a step of one thread that is one of so many that it reads 1, 2, 4 ... rows."""
    settings = settings_of(case)
    ids = np.random.default_rng(0).integers(0, ALPHABET, 10**6).astype(np.uint8)
    architecture = settings.architecture(ALPHABET)
    found, rows = {}, settings.batch_size
    while rows:
        ranks = OneOf(settings.batch_size // rows)
        network = CharNetwork(architecture, initial_weights(architecture, 0))
        seconds = []
        for record in train_steps(network, make_batches(ids, settings, ranks), settings, 10**6, DEVICE, ranks):
            seconds.append(record.seconds)
            if len(seconds) >= 12 and len(seconds) % 4 == 0 and sum(seconds) > SECONDS:
                break
        found[rows] = statistics.fmean(seconds[4:])  # whole turns of Muon, which takes longer in one of four
        rows //= 2
    return found, 4 * architecture.num_parameters


def adding(size, gradient, gigabits, latency):
    """Return the seconds in which so many processes add up a gradient of so many bytes over a network."""
    return 2 * (size - 1) / size * gradient / (gigabits * 1e9 / 8) + 2 * (size - 1) * latency


def print_computed(case, steps, gradient, arguments):
    """Print what share of N times the speed of one process N of them have: with its batch divided, or a batch each."""
    most = max(steps)
    print(f"\n{case}: {gradient / 1e6:.1f} MB of gradients; share of N times the speed of one process, computed\n")
    networks = [f"{g:g} Gbit/s" for g in arguments.gigabits]
    heads = [*networks, *(f"{network}, {most} rows each" for network in networks)]
    print(f"| processes | rows each | ms alone | {' | '.join(heads)} |")
    print(f"|---:|---:|---:|{'---:|' * len(heads)}")
    for rows, seconds in steps.items():
        size = most // rows
        sums = [adding(size, gradient, g, arguments.latency) for g in arguments.gigabits]
        divided = [steps[most] / (size * (seconds + one)) for one in sums]
        grown = [steps[most] / (steps[most] + one) for one in sums]
        shares = " | ".join(f"{100 * share:.0f} %" for share in (*divided, *grown))
        print(f"| {size} | {rows} | {1000 * seconds:.1f} | {shares} |")


def adding_up():
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "adding_up.py"
        script.write_text(ADDING_UP)
        told = run([*TORCHRUN, "2", script, *map(str, FLOATS)], threads=1)
    return {int(floats): float(seconds) for floats, seconds in (line.split() for line in told.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabits", type=float, nargs="+", default=[1, 10, 100], help="of the networks computed with")
    parser.add_argument("--latency", type=float, default=5e-5, help="seconds of a message, likewise")
    parser.add_argument("--price", type=float, help="of a core for an hour, in any currency: characters for it")
    arguments = parser.parse_args()
    rows, sums = compared(arguments.rounds), adding_up()
    print("| ms a step | one process, two threads | two processes, one thread each | ratio | loss, difference |")
    print("|---|---:|---:|---:|---:|")
    for case, row in rows.items():
        ms = f"{1000 * row['one']:.1f} | {1000 * row['two']:.1f}"
        print(f"| {case} | {ms} | {row['ratio']:.2f} | {row['loss_difference']:.1e} |")
    print("\n| gradients | MB | added up in ms | GB/s |\n|---|---:|---:|---:|")
    for floats, seconds in sums.items():
        print(f"| {floats:,} | {4e-6 * floats:.1f} | {1000 * seconds:.2f} | {4e-9 * floats / seconds:.2f} |")
    torch.set_num_threads(1)
    alone = {case: rows_alone(case) for case in CASES}
    for case, (steps, gradient) in alone.items():
        print_computed(case, steps, gradient, arguments)
        if arguments.price:
            characters = batch_characters(case) * 3600 / max(steps.values()) / arguments.price
            print(f"\nOne core trains on {characters:,.0f} characters for 1; N of them on the share above of that.")
    print(json.dumps({
        "benchmark": "scaling", "processor": processor(), "cases": rows, "adding_up": sums,
        "rows_alone": {case: steps for case, (steps, _) in alone.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
