"""A text larger than memory: how fast it is indexed, and what training on it takes.

    python benchmarks/indexing.py [--gigabytes 8] [--steps 1000]

The text is lines of tiny Shakespeare in random order, numbered now and then. It is indexed on one core; then so many
steps are trained on it, and on its first megabyte, and the peaks of anonymous memory are compared (Linux). A table,
then one line of JSON. Everything lies in a folder that is removed afterwards.
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

_BLOCK = 8_000_000  # characters of a piece that is written again and again
_MODEL = ("hidden_size=256", "num_layers=1", "eval_every=500", "checkpoint_every=500")


def blocks():
    """Return some megabytes of lines in random order."""
    lines = np.array(charloom.Corpus.read("shakespeare").text.split("\n"), object)
    rng = np.random.default_rng(0)
    return [("\n".join(rng.choice(lines, _BLOCK // 28)) + "\n").encode() for _ in range(3)]


def write(size, to):
    """Write so many bytes."""
    pieces, done, number = blocks(), 0, 0
    while done < size:
        data = pieces[number % len(pieces)] + b"%d\n" % number
        to.write(data[: size - done])
        done, number = done + len(data), number + 1


def environment(folder):
    return {**os.environ, "CHARLOOM_CACHE": str(folder), "NO_COLOR": "1"}


def index(path, folder):
    """Return the seconds that it takes to index a text, on one core, and again when it is known."""
    code = "import sys, time, charloom; t = time.perf_counter(); c = charloom.Corpus.read(sys.argv[1]); "
    code += "print(time.perf_counter() - t, len(c))"
    found = []
    for _ in range(2):
        command = [*one_core(), sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, env=environment(folder), check=True, capture_output=True, text=True)
        found.append(float(done.stdout.split()[0]))
    return found


def one_core():
    return ["taskset", "-c", str(max(os.sched_getaffinity(0)))] if hasattr(os, "sched_getaffinity") else []


def peak_while(command, folder):
    """Run a command, and return the highest anonymous memory that its process was seen with, in MiB."""
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(re.search(r"RssAnon:\s+(\d+)", status)[1]))
        except (OSError, TypeError):
            pass  # it ended in between
        time.sleep(0.01)
    assert process.returncode == 0, command
    return peak / 1024


def train(path, folder, run, steps):
    command = [sys.executable, "-m", "charloom", "train", str(path), "--steps", str(steps), "-o", str(run), "-q"]
    return peak_while([*command, *(part for value in _MODEL for part in ("--set", value))], folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of 2**30 bytes")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", default=None, help="a place with room for twice that")
    options = parser.parse_args()
    size = int(options.gigabytes * 2**30)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with (folder / "long.txt").open("wb") as file:
            write(size, file)
        with (folder / "long.txt").open("rb") as file:
            (folder / "short.txt").write_bytes(file.read(10**6))
        made, known = index(folder / "long.txt", folder)
        peaks = {
            text: train(folder / f"{text}.txt", folder, folder / text, options.steps) for text in ("short", "long")
        }
    found = {
        "bytes": size,
        "indexed_bytes_per_second": size / made,
        "known_bytes_per_second": size / known,
        "steps": options.steps,
        "peak_anonymous_mib": peaks,
        "more_mib": peaks["long"] - peaks["short"],
    }
    print(f"| index of {size:,} bytes | {size / made / 1e6:.0f} MB/s |")
    print(f"| the same, known already | {size / known / 1e6:.0f} MB/s |")
    print(f"| {options.steps:,} steps on it, against its first megabyte | {found['more_mib']:+.1f} MiB |")
    print(json.dumps({"benchmark": "indexing", "processor": processor(), **found}))


if __name__ == "__main__":
    main()
