"""Speed of analyzing texts: scoring, memorization (`--novelty`), the report.

    python benchmarks/analysis.py MODEL_OR_RUN [--characters 100000000]

"generation" is the engine's rate with one stream in float32, for comparison. Memorization is measured for 100,000
characters copied from random places of a source of `--characters` characters: the words of tiny Shakespeare in random
order, read in pieces. Memory is the growth of the process' peak (Linux). Prints a table, then one JSON line.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import charloom
from charloom.inference.memorization import measure_memorization
from machine import processor

ONE_TEXT, EACH_TEXT, TEXTS = 20_000, 5_000, 64  # characters of one text, of each of several texts; number of texts
PIECE = 1 << 20  # characters


def seconds(action, rounds=3):
    """Return the median duration of an action."""
    durations = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        durations.append(time.perf_counter() - began)
    return sorted(durations)[rounds // 2]


def rates(model):
    """Return characters per second: generated, one text scored, 64 texts scored in a batch."""
    text = model.generate(length=ONE_TEXT, seed=0)
    texts = [model.generate(length=EACH_TEXT, seed=seed) for seed in range(TEXTS)]
    return {
        "generation": ONE_TEXT / seconds(lambda: model.generate(length=ONE_TEXT, seed=1, precision="float32")),
        "one text scored": ONE_TEXT / seconds(lambda: model.score(text)),
        "64 texts scored in a batch": TEXTS * EACH_TEXT / seconds(lambda: model.score_many(texts), 1),
        "one text scored, int8": ONE_TEXT / seconds(lambda: model.score(text, precision="int8")),
    }


def memorization(characters):
    """Measure the memorization of 100,000 characters in a source of `characters` characters."""
    rng, words = np.random.default_rng(0), charloom.Corpus.read("shakespeare").text.split(" ")
    source = "".join(f"{words[i]} " for i in rng.integers(0, len(words), characters // 6))
    source = (source * (1 + characters // len(source)))[:characters]
    starts = rng.integers(0, characters - 100, 1000)
    text = "".join(source[i : i + n] for i, n in zip(starts, rng.integers(50, 151, 1000), strict=True))[:100_000]
    pieces = (source[start : start + PIECE] for start in range(0, characters, PIECE))
    before = reset_peak()
    began = time.perf_counter()
    overlap = measure_memorization(text, pieces)
    duration = time.perf_counter() - began
    growth = None if before is None else (peak_kilobytes() - before) / 1024
    assert overlap.longest >= 150
    return {"seconds": duration, "copied": overlap.copied, "longest": overlap.longest, "megabytes": growth}


def reset_peak():
    """Reset the peak memory of the process and return it in KiB; None without /proc."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return peak_kilobytes()


def peak_kilobytes():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def report(model):
    """Return the duration of `charloom report` in seconds, including its start."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "charloom", "report", model, "-o", f"{folder}/report.html", "--json"]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--characters", type=int, default=100_000_000)
    options = parser.parse_args()
    results = {"rates": rates(charloom.load(options.model)), "novelty": memorization(options.characters)}
    results["report"] = report(options.model)
    for name, rate in results["rates"].items():
        print(f"| {name} | {rate:,.0f} characters per second |")
    novelty = results["novelty"]
    memory = "" if novelty["megabytes"] is None else f", {novelty['megabytes']:.0f} MiB"
    print(f"| memorization of 100,000 characters in {options.characters:,} | {novelty['seconds']:.1f} s{memory} |")
    print(f"| charloom report | {results['report']:.1f} s |")
    print(json.dumps({"benchmark": "analysis", "model": options.model, "processor": processor(), **results}))


if __name__ == "__main__":
    main()
