"""A text larger than memory: speed of indexing, and memory used by training on it.

    python benchmarks/indexing.py [--gigabytes 8] [--steps 1000]

The text consists of lines of tiny Shakespeare in random order, with a line number now and then. It is indexed on one
core. Then a model trains for `--steps` steps on it, and on its first megabyte; the peaks of anonymous memory are
compared (Linux). Prints a table, then one JSON line. All files lie in a temporary folder.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import charloom
from machine import processor

_BLOCK = 8_000_000  # characters per block; three blocks are repeated
_MODEL = ("hidden_size=256", "num_layers=1", "eval_every=500", "checkpoint_every=500")


def blocks():
    """Return three blocks of lines in random order, as bytes."""
    lines = np.array(charloom.Corpus.read("shakespeare").text.split("\n"), object)
    rng = np.random.default_rng(0)
    return [("\n".join(rng.choice(lines, _BLOCK // 28)) + "\n").encode() for _ in range(3)]


def write(size, file):
    """Write `size` bytes of text to a file."""
    pieces, done, number = blocks(), 0, 0
    while done < size:
        data = pieces[number % len(pieces)] + b"%d\n" % number
        file.write(data[: size - done])
        done, number = done + len(data), number + 1


def environment(folder):
    return {**os.environ, "CHARLOOM_CACHE": str(folder), "NO_COLOR": "1"}


def index(path, folder):
    """Return the seconds to index a text on one core, and to find its existing index."""
    code = "import sys, time, charloom; t = time.perf_counter(); c = charloom.Corpus.read(sys.argv[1]); "
    code += "print(time.perf_counter() - t, len(c))"
    seconds = []
    for _ in range(2):
        command = [*one_core(), sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, env=environment(folder), check=True, capture_output=True, text=True)
        seconds.append(float(done.stdout.split()[0]))
    return seconds


def one_core():
    return ["taskset", "-c", str(max(os.sched_getaffinity(0)))] if hasattr(os, "sched_getaffinity") else []


def peak_memory(command, folder):
    """Run a command; return the peak anonymous memory of its process in MiB, sampled every 10 ms."""
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(re.search(r"RssAnon:\s+(\d+)", status)[1]))
        except (OSError, TypeError):
            pass  # the process has ended
        time.sleep(0.01)
    assert process.returncode == 0, command
    return peak / 1024


def train(path, folder, run, steps):
    command = [sys.executable, "-m", "charloom", "train", str(path), "--steps", str(steps), "-o", str(run), "-q"]
    return peak_memory([*command, *(part for value in _MODEL for part in ("--set", value))], folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0, help="size of the text in units of 2**30 bytes")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument(
        "--folder", default=None, help="folder with free space of twice that size (default: the temporary folder)"
    )
    options = parser.parse_args()
    size = int(options.gigabytes * 2**30)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with (folder / "long.txt").open("wb") as file:
            write(size, file)
        with (folder / "long.txt").open("rb") as file:
            (folder / "short.txt").write_bytes(file.read(10**6))
        indexing, lookup = index(folder / "long.txt", folder)
        peaks = {
            text: train(folder / f"{text}.txt", folder, folder / text, options.steps) for text in ("short", "long")
        }
    results = {
        "bytes": size,
        "indexed_bytes_per_second": size / indexing,
        "known_bytes_per_second": size / lookup,
        "steps": options.steps,
        "peak_anonymous_mib": peaks,
        "more_mib": peaks["long"] - peaks["short"],
    }
    print(f"| write the index of {size:,} bytes | {size / indexing / 1e6:.0f} MB/s |")
    print(f"| find the existing index | {size / lookup / 1e6:.0f} MB/s |")
    print(f"| {options.steps:,} steps: memory compared with its first megabyte | {results['more_mib']:+.1f} MiB |")
    print(json.dumps({"benchmark": "indexing", "processor": processor(), **results}))


if __name__ == "__main__":
    main()
