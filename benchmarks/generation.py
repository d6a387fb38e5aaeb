"""How many characters a second: charloom beside the tutorial's loop, PyTorch and JAX, on the same sizes.

    make bench                                  in a virtual environment that has them all
    python benchmarks/generation.py --all       every size, alphabet, number of streams and threads: an hour

Every peer runs in a process of its own, bound to as many cores as it may have threads; they take turns, round after
round, and each figure is the median of its rounds. A table, then one line of JSON.
"""

import argparse
import json
import statistics
import time
from itertools import product

from generation_peers import PEERS
from in_turn import bind, compare
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
NAMES = ("cell", "hidden", "vocabulary", "streams", "threads")
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
        bind(options.threads)
        print(measure(options.peer, options.cell, options.hidden, options.vocabulary, options.streams))
        return
    every = [(*cell, *rest) for cell, *rest in product(CELLS, (65, 5387), (1, 64), (1, 2))]
    found = []
    for case in every if options.all else QUICK:
        arguments = [f"--{name}={value}" for name, value in zip(NAMES, case, strict=True)]
        found_rates = compare(__file__, PEERS, arguments, case[-1], options.rounds)
        rates = {peer: statistics.median(rounds) for peer, rounds in found_rates.items()}
        table(case, rates)
        found.append({**dict(zip(NAMES, case, strict=True)), "chars_per_second": rates})
    print(json.dumps({"benchmark": "generation", "processor": processor(), "cases": found}))


if __name__ == "__main__":
    main()
