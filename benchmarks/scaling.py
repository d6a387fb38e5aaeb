"""How fast several processes train one model, beside one process with as many threads.

    python benchmarks/scaling.py

On one machine, in turn: one process with two threads, and two processes with one thread each that share every batch
(torchrun). Each figure is the median over the rounds of the median step, as `charloom train --json` tells it. Then what
two processes need to add up gradients of several sizes. Tables, then one line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import processor

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
import statistics, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
for floats in map(int, sys.argv[1:]):
    numbers, seconds = torch.ones(floats), []
    for _ in range(40):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(numbers)
        seconds.append(time.perf_counter() - began)
        numbers.fill_(1)
    if dist.get_rank() == 0:
        print(floats, statistics.median(seconds))
dist.destroy_process_group()
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
    told = run([*command, *what, "--json", "--quiet", "--output", output], threads=2 // processes)
    found = json.loads(told)
    written = (output / "recipe.toml").read_text()
    size = next(int(line.split(" = ")[1]) for line in written.splitlines() if line.startswith("batch_size"))
    length = next(int(line.split(" = ")[1]) for line in written.splitlines() if line.startswith("seq_length"))
    return size * length / found["chars_per_second"], found["train_loss"]


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


def adding_up():
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "adding_up.py"
        script.write_text(ADDING_UP)
        told = run([*TORCHRUN, "2", script, *map(str, FLOATS)], threads=1)
    return {int(floats): float(seconds) for floats, seconds in (line.split() for line in told.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rows, sums = compared(parser.parse_args().rounds), adding_up()
    print("| ms a step | one process, two threads | two processes, one thread each | ratio | loss, difference |")
    print("|---|---:|---:|---:|---:|")
    for case, row in rows.items():
        ms = f"{1000 * row['one']:.1f} | {1000 * row['two']:.1f}"
        print(f"| {case} | {ms} | {row['ratio']:.2f} | {row['loss_difference']:.1e} |")
    print("\n| gradients | MB | added up in ms | GB/s |\n|---|---:|---:|---:|")
    for floats, seconds in sums.items():
        print(f"| {floats:,} | {4e-6 * floats:.1f} | {1000 * seconds:.2f} | {4e-9 * floats / seconds:.2f} |")
    print(json.dumps({"benchmark": "scaling", "processor": processor(), "cases": rows, "adding_up": sums}))


if __name__ == "__main__":
    main()
