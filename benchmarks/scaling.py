"""Speed of several processes that train one model, compared with one process with the same number of threads.

    python benchmarks/scaling.py

Measured on one machine, in turn: one process with two threads, and two processes with one thread each that share
every batch (torchrun). Each figure is the median over the rounds of the mean step time reported by `charloom train
--json`. Also measured: the time two processes need to all-reduce gradients of several sizes, and the step time of one
thread that processes its share of the rows, as one of many processes would. From these, the script computes the speed
of up to 64 processes with a network between them: the slowest link of a ring carries 2 (N - 1) / N times the gradient
in 2 (N - 1) messages. Prints tables, then one JSON line.
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

VOCABULARY_SIZE = 65
DEVICE = choose_device("cpu")
SECONDS = 2.0  # minimum duration of each measurement
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
WIDE = {"batching": "streams", "seq_length": 100, "batch_size": 64}
CASES = {  # settings that differ from auto, number of steps
    "the default, 1 x 384, 32 x 32": ({"num_layers": 1, "hidden_size": 384, "dropout_output": 0.1}, 400),
    "GRU of 512, 64 x 100": ({"num_layers": 1, "hidden_size": 512, **WIDE}, 60),
    "GRU of 2 x 512, 64 x 100": ({"num_layers": 2, "hidden_size": 512, **WIDE}, 30),
    "the tutorial's GRU, 64 x 100": ({"recipe": "tutorial-gru"}, 25),
}
FLOATS = (300_000, 625_000, 1_200_000, 4_000_000)
ALL_REDUCE_SCRIPT = """
import statistics, sys, time, torch
from charloom.training.distributed.torchrun import join_process_group
with join_process_group() as ranks:
    for floats in map(int, sys.argv[1:]):
        numbers, seconds = torch.ones(floats), []
        for _ in range(40):
            ranks.all_reduce(torch.zeros(1))  # synchronize the start
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


def train(case, processes, folder):
    """Train a case; return the mean seconds per step and the final training loss."""
    settings, steps = CASES[case]
    settings = dict(settings)
    recipe = settings.pop("recipe", "auto")
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    arguments = ["-m", "charloom", "train", "shakespeare", "--recipe", recipe, "--steps", str(steps), *sets]
    output = Path(folder) / f"{len(list(Path(folder).iterdir()))}"
    command = [sys.executable] if processes == 1 else [*TORCHRUN, str(processes)]
    result = json.loads(run([*command, *arguments, "--json", "--quiet", "--output", output], threads=2 // processes))
    return batch_characters(case) / result["chars_per_second"], result["train_loss"]


def compare_processes(rounds):
    rows = {}
    for case in CASES:
        measured = {1: [], 2: []}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(rounds):
                for processes, results in measured.items():
                    print(f"{case}, round {number + 1} of {rounds}: {processes} processes", file=sys.stderr)
                    results.append(train(case, processes, folder))
        one, two = (statistics.median(seconds for seconds, _ in measured[size]) for size in (1, 2))
        losses = [measured[size][0][1] for size in (1, 2)]
        rows[case] = {"one": one, "two": two, "ratio": two / one, "loss_difference": losses[1] - losses[0]}
    return rows


def settings_of(case):
    values = dict(CASES[case][0])
    return RECIPES[values.pop("recipe", "auto")].settings.with_values(values)


def batch_characters(case):
    settings = settings_of(case)
    return settings.batch_size * settings.seq_length


class SimulatedRank(ProcessGroup):
    """The last rank of a group whose other ranks do not exist: does its share of the work without communication."""

    def __init__(self, size):
        self.rank, self.size = size - 1, size


def seconds_by_rows(case):
    """Return {rows: mean seconds per step} for one thread with 1, 2, 4, ... rows, and the bytes of the gradients."""
    settings = settings_of(case)
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, 10**6).astype(np.uint8)
    architecture = settings.architecture(VOCABULARY_SIZE)
    measured, rows = {}, settings.batch_size
    while rows:
        ranks = SimulatedRank(settings.batch_size // rows)
        network = CharNetwork(architecture, initial_weights(architecture, 0))
        seconds = []
        for record in train_steps(network, make_batches(ids, settings, ranks), settings, 10**6, DEVICE, ranks):
            seconds.append(record.seconds)
            if len(seconds) >= 12 and len(seconds) % 4 == 0 and sum(seconds) > SECONDS:
                break
        measured[rows] = statistics.fmean(seconds[4:])  # whole cycles of Muon, whose every fourth step takes longer
        rows //= 2
    return measured, 4 * architecture.num_parameters


def all_reduce_seconds(size, gradient, gigabits, latency):
    """Return the computed seconds for `size` processes to all-reduce `gradient` bytes over a network."""
    return 2 * (size - 1) / size * gradient / (gigabits * 1e9 / 8) + 2 * (size - 1) * latency


def print_computed(case, steps, gradient, arguments):
    """Print the speed of N processes as a share of N times one process: with a divided batch, and a batch each."""
    max_rows = max(steps)
    print(f"\n{case}: {gradient / 1e6:.1f} MB of gradients; computed share of N times the speed of one process\n")
    networks = [f"{g:g} Gbit/s" for g in arguments.gigabits]
    heads = [*networks, *(f"{network}, {max_rows} rows each" for network in networks)]
    print(f"| processes | rows per process | ms per step without communication | {' | '.join(heads)} |")
    print(f"|---:|---:|---:|{'---:|' * len(heads)}")
    for rows, seconds in steps.items():
        size = max_rows // rows
        sums = [all_reduce_seconds(size, gradient, g, arguments.latency) for g in arguments.gigabits]
        divided = [steps[max_rows] / (size * (seconds + network)) for network in sums]
        grown = [steps[max_rows] / (steps[max_rows] + network) for network in sums]
        shares = " | ".join(f"{100 * share:.0f} %" for share in (*divided, *grown))
        print(f"| {size} | {rows} | {1000 * seconds:.1f} | {shares} |")


def measure_all_reduce():
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "all_reduce.py"
        script.write_text(ALL_REDUCE_SCRIPT)
        output = run([*TORCHRUN, "2", script, *map(str, FLOATS)], threads=1)
    return {int(floats): float(seconds) for floats, seconds in (line.split() for line in output.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--gigabits", type=float, nargs="+", default=[1, 10, 100], help="bandwidth of the computed networks"
    )
    parser.add_argument("--latency", type=float, default=5e-5, help="seconds per message in the computed networks")
    parser.add_argument(
        "--price", type=float, help="price of a core-hour: print the characters trained for a price of 1"
    )
    arguments = parser.parse_args()
    rows, all_reduce = compare_processes(arguments.rounds), measure_all_reduce()
    print("| ms per step | one process, two threads | two processes, one thread each | ratio | loss difference |")
    print("|---|---:|---:|---:|---:|")
    for case, row in rows.items():
        ms = f"{1000 * row['one']:.1f} | {1000 * row['two']:.1f}"
        print(f"| {case} | {ms} | {row['ratio']:.2f} | {row['loss_difference']:.1e} |")
    print("\n| gradients | MB | all-reduce, ms | GB/s |\n|---|---:|---:|---:|")
    for floats, seconds in all_reduce.items():
        print(f"| {floats:,} | {4e-6 * floats:.1f} | {1000 * seconds:.2f} | {4e-9 * floats / seconds:.2f} |")
    torch.set_num_threads(1)
    by_rows = {case: seconds_by_rows(case) for case in CASES}
    for case, (steps, gradient) in by_rows.items():
        print_computed(case, steps, gradient, arguments)
        if arguments.price:
            characters = batch_characters(case) * 3600 / max(steps.values()) / arguments.price
            print(f"\nOne core trains on {characters:,.0f} characters for 1; multiply by the shares above for N cores.")
    print(json.dumps({
        "benchmark": "scaling", "processor": processor(), "cases": rows, "all_reduce": all_reduce,
        "seconds_by_rows": {case: steps for case, (steps, _) in by_rows.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
