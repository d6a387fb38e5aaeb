"""Throughput of `charloom serve`: streams (compared with the engine's rate), requests, first characters, memory.

    python benchmarks/serving.py [MODEL_OR_RUN] [--length 20000] [--requests 20000] [--rounds 3]

The server runs in one process with default options, the client (`serving_client.py`) in another on the same machine.
The engine's own rate is measured for the same number of texts in one batch, in a process that does nothing else.
These take turns; figures are medians of the rounds. Memory is the server's resident memory (Linux) after 40,000
requests of 16 characters, when its prefix cache is full, and after each tenth of `--requests` more requests. Prints a
table, then one JSON line.
"""

import argparse
import json
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import charloom
from charloom.inference.generation import cursor_after, prefill, prompt_ids
from charloom.inference.generation_options import Sampling
from machine import processor
from serving_client import PROMPT

STREAMS = 32
FILL_REQUESTS = 40_000  # requests until the server's prefix cache of 64 MiB is full
CLIENT = str(Path(__file__).with_name("serving_client.py"))


def engine_rate(source, length):
    """Return the characters per second that the engine generates for STREAMS texts, in this process."""
    model = charloom.load(source)
    engine, ids, sampling = model.engine_for("auto"), prompt_ids(model.vocabulary, PROMPT), Sampling()
    cursor = cursor_after(ids, *prefill(engine, ids), sampling, np.arange(STREAMS, dtype=np.uint64))
    began = time.perf_counter()
    for done in range(0, length, engine.chunk):
        engine.sample(cursor, min(engine.chunk, length - done), sampling)
    return STREAMS * length / (time.perf_counter() - began)


def engine_rate_in_subprocess(source, length):
    command = [sys.executable, __file__, source, "--engine", "--length", str(length)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextmanager
def served(source):
    """Run a server for a model; yield its process and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "charloom", "serve", source, "--port", str(port)])
    try:
        wait_for(process, port)
        yield process, port
    finally:
        process.terminate()
        process.wait(10)


def wait_for(process, port):
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"charloom serve stopped with exit code {process.returncode}")


def load(port, name, **options):
    """Run a load of the client in its own process and return its result."""
    print(f"{name} {options}", file=sys.stderr)
    command = [sys.executable, CLIENT, name, str(port), json.dumps(options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def median_of(rounds):
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}


def resident_megabytes(process):
    """Return the resident memory of a process in megabytes; None without /proc."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def one_round(source, port, length):
    results = {"engine": {"characters_per_second": engine_rate_in_subprocess(source, length)}}
    results["streams"] = load(port, "streams", count=STREAMS, length=length)
    results["requests"] = load(port, "requests", connections=32, count=1000, length=500)
    results["first character, idle server"] = load(port, "first_characters")
    results["first character, 31 other streams"] = load(port, "first_characters", other_streams=STREAMS - 1)
    results["1,000 over 64 connections"] = load(port, "requests", connections=64, count=1000, length=200)
    return results


def memory(process, port, requests):
    """Return the server's memory when its prefix cache is full, and after each tenth of the requests."""
    load(port, "requests", connections=16, count=FILL_REQUESTS, length=16)
    megabytes, rates = [resident_megabytes(process)], []
    for _ in range(10):
        rates.append(load(port, "requests", connections=16, count=requests // 10, length=16)["requests_per_second"])
        megabytes.append(resident_megabytes(process))
    rate = statistics.median(rates)
    return {
        "requests": requests,
        "requests_per_second": rate,
        "before": megabytes[0],
        "after": megabytes[-1],
    }, megabytes


def print_table(results):
    for name, figures in results.items():
        known = {figure.replace("_", " "): value for figure, value in figures.items() if value is not None}
        shown = ", ".join(f"{figure} {value:,.1f}" for figure, value in known.items())
        print(f"| {name} | {shown} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="shakespeare")
    parser.add_argument("--length", type=int, default=20_000, help="characters per stream (32 streams)")
    parser.add_argument(
        "--requests", type=int, default=20_000, help="number of requests between the two memory measurements"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", action="store_true", help="measure only the engine, in this process")
    options = parser.parse_args()
    if options.engine:
        print(engine_rate(options.model, options.length))
        return
    with served(options.model) as (process, port):
        load(port, "requests", connections=8, count=64, length=100)  # warm-up
        rounds = [one_round(options.model, port, options.length) for _ in range(options.rounds)]
        results = {name: median_of([row[name] for row in rounds]) for name in rounds[0]}
        share = results["streams"]["characters_per_second"] / results["engine"]["characters_per_second"]
        print_table({"streams, share of the engine's rate": {"percent": 100 * share}, **results})
        results["memory"], held = memory(process, port, options.requests)
    print_table({"memory": results["memory"]})
    results |= {"share_of_engine_rate": share, "megabytes": held}
    print(json.dumps({"benchmark": "serving", "model": options.model, "processor": processor(), **results}))


if __name__ == "__main__":
    main()
