"""Peers that take turns, each in a process of its own, bound to as many cores as it may have threads."""

import json
import os
import subprocess
import sys

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def bind(threads):
    """Bind this process to as many cores, where the system lets it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def compare(script, peers, arguments, threads, rounds):
    """Return what each peer measured in each round.

    Args:
        script: Called with ``--peer NAME`` and the arguments; its last line of output is JSON.
        peers: Names.
        arguments: More of the command line.
        threads: How many threads libraries are told to use.
        rounds: How often all take their turn.
    """
    found = {peer: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            print(f"{' '.join(arguments)}, round {number + 1} of {rounds}: {peer}", file=sys.stderr)
            measured = _measured_apart(script, peer, arguments, threads)
            if measured is not None:
                found[peer].append(measured)
    return {peer: results for peer, results in found.items() if results}


def _measured_apart(script, peer, arguments, threads):
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, script, "--peer", peer, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{peer} cannot run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])
