"""Runs benchmark peers in turns, each in its own process, bound to as many cores as it may use threads."""

import json
import os
import subprocess
import sys

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def bind(threads):
    """Bind this process to `threads` cores, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def compare(script, peers, arguments, threads, rounds):
    """Return the results of each peer, one per round; peers that cannot run are left out.

    Args:
        script: Benchmark script, called with ``--peer NAME`` and the arguments; prints JSON as its last line.
        peers: Names of the peers.
        arguments: Further command-line arguments.
        threads: Number of threads for numerical libraries.
        rounds: Number of rounds.
    """
    results = {peer: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            print(f"{' '.join(arguments)}, round {number + 1} of {rounds}: {peer}", file=sys.stderr)
            measured = _measure_in_process(script, peer, arguments, threads)
            if measured is not None:
                results[peer].append(measured)
    return {peer: rounds for peer, rounds in results.items() if rounds}


def _measure_in_process(script, peer, arguments, threads):
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, script, "--peer", peer, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{peer} cannot run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])
