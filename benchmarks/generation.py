"""Generation speed in characters per second: charloom compared with the tutorial's loop, PyTorch and JAX.

    make bench                                  in a virtual environment with all peers installed
    python benchmarks/generation.py --all       every model size, alphabet, number of streams and threads: an hour

Every peer runs in its own process, bound to as many cores as it may use threads. Peers take turns in each round; each
figure is the median of its rounds. Prints tables, then one JSON line.
"""

import argparse
import json
import statistics
import time
from itertools import product

from generation_peers import PEERS
from machine import processor
from round_robin import bind, compare

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
SECONDS = 1.0  # approximate duration of each measurement


def measure(peer, cell, hidden, vocabulary, streams):
    """Measure one peer in this process; return characters per second."""
    generate = PEERS[peer](cell, hidden, vocabulary, streams)
    count = 4
    while True:  # find a count that takes about SECONDS
        generate(count)  # warm-up; compiles if the peer compiles
        began = time.perf_counter()
        generate(count)
        seconds = time.perf_counter() - began
        if seconds > SECONDS / 4 or count >= 1 << 17:
            break
        count *= 4
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        generate(count)
        rates.append(streams * count / (time.perf_counter() - began))
    return statistics.median(rates)


def table(case, rates):
    cell, hidden, vocabulary, streams, threads = case
    print(
        f"\n{cell.upper()}, {hidden} units, {vocabulary:,} characters in the vocabulary; "
        f"{streams} streams, {threads} threads\n"
    )
    print(f"| {'':28} | chars/s | speedup of charloom int8 |\n|---|---:|---:|")
    for peer, rate in rates.items():
        print(f"| {peer:28} | {rate:,.0f} | {rates['charloom, int8'] / rate:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="measure every combination")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=PEERS, help="measure only this peer, in this process")
    for name in NAMES:
        parser.add_argument(f"--{name}", type=str if name == "cell" else int)
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(measure(options.peer, options.cell, options.hidden, options.vocabulary, options.streams))
        return
    combinations = [(*cell, *rest) for cell, *rest in product(CELLS, (65, 5387), (1, 64), (1, 2))]
    results = []
    for case in combinations if options.all else QUICK:
        arguments = [f"--{name}={value}" for name, value in zip(NAMES, case, strict=True)]
        rounds_of = compare(__file__, PEERS, arguments, case[-1], options.rounds)
        rates = {peer: statistics.median(rounds) for peer, rounds in rounds_of.items()}
        table(case, rates)
        results.append({**dict(zip(NAMES, case, strict=True)), "chars_per_second": rates})
    print(json.dumps({"benchmark": "generation", "processor": processor(), "cases": results}))


if __name__ == "__main__":
    main()
