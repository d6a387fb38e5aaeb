"""How many characters a second: charloom beside the tutorial's loop, PyTorch and JAX, on the same sizes.

    make bench                                  in a virtual environment that has them all
    python benchmarks/generation.py --all       every size, alphabet, number of streams and threads: an hour

Every peer runs in a process of its own, bound to as many cores as it may have threads; they take turns, round after
round, and each figure is the median of its rounds. A table, then one line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import product

from generation_peers import PEERS
from machine import processor

CELLS = (("gru", 512), ("gru", 1024), ("lstm", 1024))
QUICK = (
    ("gru", 512, 65, 1, 1),
    ("gru", 512, 65, 64, 1),
    ("gru", 512, 65, 64, 2),
    ("gru", 512, 5387, 1, 1),
    ("gru", 1024, 65, 1, 1),
    ("gru", 1024, 65, 64, 2),
    ("lstm", 1024, 65, 1, 1),
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
SECONDS = 1.0  # of writing that is measured, each time


def measure(peer, cell, hidden, vocabulary, streams):
    """Return the characters a second of one peer, in this process."""
    write = PEERS[peer](cell, hidden, vocabulary, streams)
    count = 4
    while True:  # as many characters as take about the time wanted
        write(count)  # compiles, where there is something to compile
        began = time.perf_counter()
        write(count)
        seconds = time.perf_counter() - began
        if seconds > SECONDS / 4 or count >= 1 << 17:
            break
        count *= 4
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        write(count)
        rates.append(streams * count / (time.perf_counter() - began))
    return statistics.median(rates)


def measured_apart(peer, case):
    """Return the characters a second of one peer in a process of its own; None if it cannot run."""
    threads = str(case[-1])
    environment = {**os.environ, **dict.fromkeys(THREADS, threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--peer", peer, *(f"--{n}={v}" for n, v in zip(NAMES, case, strict=True))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{peer} cannot run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(done.stdout.split()[-1])


NAMES = ("cell", "hidden", "vocabulary", "streams", "threads")


def compare(case, rounds):
    """Return the median of each peer's rounds, in which they take turns."""
    rates = {peer: [] for peer in PEERS}
    for number in range(rounds):
        for peer in PEERS:
            print(f"{case}, round {number + 1} of {rounds}: {peer}", file=sys.stderr)
            rate = measured_apart(peer, case)
            if rate is not None:
                rates[peer].append(rate)
    return {peer: statistics.median(found) for peer, found in rates.items() if found}


def table(case, rates):
    cell, hidden, vocabulary, streams, threads = case
    print(f"\n{cell.upper()}, {hidden} units, {vocabulary:,} characters known; {streams} streams, {threads} threads\n")
    print(f"| {'':28} | chars/s | charloom int8 is so many times as fast |\n|---|---:|---:|")
    for peer, rate in rates.items():
        print(f"| {peer:28} | {rate:,.0f} | {rates['charloom, int8'] / rate:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every combination")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=PEERS, help="measure this one alone, in this process")
    for name in NAMES:
        parser.add_argument(f"--{name}", type=str if name == "cell" else int)
    options = parser.parse_args()
    if options.peer:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        print(measure(options.peer, options.cell, options.hidden, options.vocabulary, options.streams))
        return
    every = [(*cell, *rest) for cell, *rest in product(CELLS, (65, 5387), (1, 64), (1, 2))]
    found = []
    for case in every if options.all else QUICK:
        rates = compare(case, options.rounds)
        table(case, rates)
        found.append({**dict(zip(NAMES, case, strict=True)), "chars_per_second": rates})
    print(json.dumps({"benchmark": "generation", "processor": processor(), "cases": found}))


if __name__ == "__main__":
    main()
