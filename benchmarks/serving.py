"""How much `charloom serve` serves: streams beside the engine's own rate, requests, first characters, memory.

    python benchmarks/serving.py [MODEL_OR_RUN] [--length 20000] [--requests 20000] [--rounds 3]

The server is a process with its defaults, the client (`serving_client.py`) another on the same machine; the engine's
own rate is that of as many texts in one batch, in a process that does nothing else. They take turns; figures are
medians of the rounds. Memory is what the server holds (Linux) after 40,000 requests of 16 characters, when what it
remembers has filled up, and after each tenth of as many more as are asked for. A table, then one line of JSON.
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
FILLING = 40_000  # requests until the states that the server remembers, 64 MiB of them, are as many as it ever keeps
CLIENT = str(Path(__file__).with_name("serving_client.py"))


def engine_rate(source, length):
    """Return the characters a second that the engine draws for as many texts, in this process."""
    model = charloom.load(source)
    engine, ids, sampling = model.engine_for("auto"), prompt_ids(model.vocabulary, PROMPT), Sampling()
    cursor = cursor_after(ids, *prefill(engine, ids), sampling, np.arange(STREAMS, dtype=np.uint64))
    began = time.perf_counter()
    for done in range(0, length, engine.chunk):
        engine.sample(cursor, min(engine.chunk, length - done), sampling)
    return STREAMS * length / (time.perf_counter() - began)


def engine_rate_apart(source, length):
    command = [sys.executable, __file__, source, "--engine", "--length", str(length)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextmanager
def served(source):
    """Serve a model while this lasts: the process and its port."""
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
    raise SystemExit(f"charloom serve ended with {process.returncode}")


def load(port, name, **asked):
    """Return what a client found, in a process of its own."""
    print(f"{name} {asked}", file=sys.stderr)
    command = [sys.executable, CLIENT, name, str(port), json.dumps(asked)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def median_of(rounds):
    """Return the median of each figure."""
    return {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}


def resident_megabytes(process):
    """Return what the process holds, or None where there is no /proc."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def one_round(source, port, length):
    found = {"engine": {"characters_per_second": engine_rate_apart(source, length)}}
    found["streams"] = load(port, "streams", count=STREAMS, length=length)
    found["requests"] = load(port, "requests", connections=32, count=1000, length=500)
    found["first character, idle server"] = load(port, "first_characters")
    found["first character, 31 other streams"] = load(port, "first_characters", beside=STREAMS - 1)
    found["1,000 over 64 connections"] = load(port, "requests", connections=64, count=1000, length=200)
    return found


def memory(process, port, requests):
    """Return what the server holds once it remembers as much as it ever does, and after each tenth of the requests."""
    load(port, "requests", connections=16, count=FILLING, length=16)
    held, rates = [resident_megabytes(process)], []
    for _ in range(10):
        rates.append(load(port, "requests", connections=16, count=requests // 10, length=16)["requests_per_second"])
        held.append(resident_megabytes(process))
    rate = statistics.median(rates)
    return {"requests": requests, "requests_per_second": rate, "before": held[0], "after": held[-1]}, held


def table(found):
    for name, figures in found.items():
        known = {figure.replace("_", " "): value for figure, value in figures.items() if value is not None}
        shown = ", ".join(f"{figure} {value:,.1f}" for figure, value in known.items())
        print(f"| {name} | {shown} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="shakespeare")
    parser.add_argument("--length", type=int, default=20_000, help="characters of each of the 32 streams")
    parser.add_argument("--requests", type=int, default=20_000, help="between the two looks at the memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", action="store_true", help="measure the engine alone, in this process")
    options = parser.parse_args()
    if options.engine:
        print(engine_rate(options.model, options.length))
        return
    with served(options.model) as (process, port):
        load(port, "requests", connections=8, count=64, length=100)  # everything is loaded and warm
        rounds = [one_round(options.model, port, options.length) for _ in range(options.rounds)]
        found = {name: median_of([each[name] for each in rounds]) for name in rounds[0]}
        share = found["streams"]["characters_per_second"] / found["engine"]["characters_per_second"]
        table({"streams, of the engine's rate": {"percent": 100 * share}, **found})
        found["memory"], held = memory(process, port, options.requests)
    table({"memory": found["memory"]})
    found |= {"share_of_engine_rate": share, "megabytes": held}
    print(json.dumps({"benchmark": "serving", "model": options.model, "processor": processor(), **found}))


if __name__ == "__main__":
    main()
