"""How long a step of training takes: charloom beside Keras, PyTorch and JAX, and the products alone.

    make bench-training                         in a virtual environment that has them all

Every peer runs in a process of its own; they take turns, round after round, and each figure is the median of its
rounds. A table for each case, then one line of JSON.
"""

import argparse
import json
import resource
import statistics
import time

from in_turn import bind, compare
from machine import processor
from training_peers import PEERS

# cell, units, layers, streams, steps, alphabet
CASES = {
    "the tutorial's GRU": ("gru", 1024, 1, 64, 100, 65),
    "the tutorial's LSTM": ("lstm", 1024, 1, 64, 100, 65),
    "GRU of 512": ("gru", 512, 1, 64, 100, 65),
    "GRU of 2 x 512": ("gru", 512, 2, 64, 100, 65),
    "GRU of 384, 32 x 32": ("gru", 384, 1, 32, 32, 65),
    "GRU of 512, Chinese": ("gru", 512, 1, 64, 100, 5387),
}
SECONDS = 4.0  # of steps that are measured, each time


def measure_step(step):
    """Return the median seconds of a step."""
    for _ in range(3):
        step()  # compiles, where there is something to compile
    seconds = []
    while sum(seconds) < SECONDS or len(seconds) < 3:
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(peer, case):
    """Return the median seconds of a step, and the largest memory in megabytes."""
    return {
        "seconds": measure_step(PEERS[peer](case)),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(name, rows):
    ours = rows["charloom, default precision"]["seconds"]
    print(f"\n{name}\n\n| {'':32} | ms a step | MB | charloom takes so much of its time |\n|---|---:|---:|---:|")
    for peer, row in rows.items():
        print(f"| {peer:32} | {1000 * row['seconds']:,.0f} | {row['megabytes']:,.0f} | {ours / row['seconds']:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=CASES, action="append", help="this case alone; may be given again")
    parser.add_argument("--without", choices=PEERS, action="append", default=[], help="leave out this peer")
    parser.add_argument("--peer", choices=PEERS, help="measure this one alone, in this process")
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(json.dumps(measure(options.peer, CASES[options.case[0]])))
        return
    found = {}
    for name in options.case or CASES:
        arguments = ["--case", name, "--threads", str(options.threads)]
        peers = [peer for peer in PEERS if peer not in options.without]
        measured = compare(__file__, peers, arguments, options.threads, options.rounds)
        found[name] = {
            peer: {
                "seconds": statistics.median(row["seconds"] for row in rows),
                "megabytes": max(row["megabytes"] for row in rows),
            }
            for peer, rows in measured.items()
        }
        table(name, found[name])
    print(json.dumps({"benchmark": "training", "processor": processor(), "threads": options.threads, "cases": found}))


if __name__ == "__main__":
    main()
