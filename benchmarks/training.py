"""Duration of a training step: charloom compared with Keras, PyTorch and JAX, and with the matrix products only.

    make bench-training                         in a virtual environment with all peers installed

Every peer runs in its own process. Peers take turns in each round; each figure is the median of its rounds. Prints a
table per case, then one JSON line.
"""

import argparse
import json
import resource
import statistics
import time

from machine import processor
from round_robin import bind, compare
from training_peers import PEERS

# cell, units, layers, streams, time steps, vocabulary size
CASES = {
    "the tutorial's GRU": ("gru", 1024, 1, 64, 100, 65),
    "the tutorial's LSTM": ("lstm", 1024, 1, 64, 100, 65),
    "GRU of 512": ("gru", 512, 1, 64, 100, 65),
    "GRU of 2 x 512": ("gru", 512, 2, 64, 100, 65),
    "GRU of 384, 32 x 32": ("gru", 384, 1, 32, 32, 65),
    "GRU of 512, Chinese": ("gru", 512, 1, 64, 100, 5387),
}
SECONDS = 4.0  # minimum duration of each measurement


def measure_step(step):
    """Return the median duration of a step in seconds."""
    for _ in range(3):
        step()  # warm-up; compiles if the peer compiles
    seconds = []
    while sum(seconds) < SECONDS or len(seconds) < 3:
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(peer, case):
    """Return the median duration of a step in seconds, and the peak memory in megabytes."""
    return {
        "seconds": measure_step(PEERS[peer](case)),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(name, rows):
    ours = rows["charloom, default precision"]["seconds"]
    print(f"\n{name}\n\n| {'':32} | ms per step | MB | charloom's time relative to it |\n|---|---:|---:|---:|")
    for peer, row in rows.items():
        print(f"| {peer:32} | {1000 * row['seconds']:,.0f} | {row['megabytes']:,.0f} | {ours / row['seconds']:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=CASES, action="append", help="measure only this case; may be repeated")
    parser.add_argument("--without", choices=PEERS, action="append", default=[], help="skip this peer; may be repeated")
    parser.add_argument("--peer", choices=PEERS, help="measure only this peer, in this process")
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(json.dumps(measure(options.peer, CASES[options.case[0]])))
        return
    results = {}
    for name in options.case or CASES:
        arguments = ["--case", name, "--threads", str(options.threads)]
        peers = [peer for peer in PEERS if peer not in options.without]
        measured = compare(__file__, peers, arguments, options.threads, options.rounds)
        results[name] = {
            peer: {
                "seconds": statistics.median(row["seconds"] for row in rows),
                "megabytes": max(row["megabytes"] for row in rows),
            }
            for peer, rows in measured.items()
        }
        table(name, results[name])
    print(json.dumps({"benchmark": "training", "processor": processor(), "threads": options.threads, "cases": results}))


if __name__ == "__main__":
    main()
