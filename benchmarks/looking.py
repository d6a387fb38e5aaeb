"""How fast charloom looks at texts: scores, novelty, the report.

    python benchmarks/looking.py MODEL_OR_RUN [--characters 100000000]

"writing" is the engine's own rate, one stream, float32 like the rest. Novelty is that of 100,000 characters, all of
them copied from here and there, in a text of so many characters: the words of tiny Shakespeare in random order,
handed over in pieces. Its memory is the growth of the process's peak (Linux). A table, then one line of JSON.
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

ONE, MANY, TOGETHER = 20_000, 5_000, 64
PIECE = 1 << 20


def seconds(action, rounds=3):
    """Return the median time."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return sorted(found)[rounds // 2]


def rates(model):
    """Return characters a second: written, scored alone, scored 64 texts together."""
    text = model.generate(length=ONE, seed=0)
    texts = [model.generate(length=MANY, seed=seed) for seed in range(TOGETHER)]
    return {
        "writing": ONE / seconds(lambda: model.generate(length=ONE, seed=1, precision="float32")),
        "one text scored": ONE / seconds(lambda: model.score(text)),
        "64 texts scored together": TOGETHER * MANY / seconds(lambda: model.score_many(texts), 1),
        "one text scored, int8": ONE / seconds(lambda: model.score(text, precision="int8")),
    }


def look_for(characters):
    """Return the seconds that the novelty of 100,000 characters in so many takes."""
    rng, words = np.random.default_rng(0), charloom.Corpus.read("shakespeare").text.split(" ")
    source = "".join(f"{words[i]} " for i in rng.integers(0, len(words), characters // 6))
    source = (source * (1 + characters // len(source)))[:characters]
    starts = rng.integers(0, characters - 100, 1000)
    text = "".join(source[i : i + n] for i, n in zip(starts, rng.integers(50, 151, 1000), strict=True))[:100_000]
    pieces = (source[start : start + PIECE] for start in range(0, characters, PIECE))
    before = reset_peak()
    began = time.perf_counter()
    found = measure_memorization(text, pieces)
    took = time.perf_counter() - began
    grown = None if before is None else (peak_kilobytes() - before) / 1024
    assert found.longest >= 150
    return {"seconds": took, "copied": found.copied, "longest": found.longest, "megabytes": grown}


def reset_peak():
    """Let the peak of the process's memory begin again, and return it in KiB; None where there is no /proc."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return peak_kilobytes()


def peak_kilobytes():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def report(model):
    """Return the seconds that `charloom report` takes, all included."""
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
    found = {"rates": rates(charloom.load(options.model)), "novelty": look_for(options.characters)}
    found["report"] = report(options.model)
    for name, rate in found["rates"].items():
        print(f"| {name} | {rate:,.0f} characters a second |")
    new = found["novelty"]
    memory = "" if new["megabytes"] is None else f", {new['megabytes']:.0f} MiB"
    print(f"| novelty of 100,000 characters in {options.characters:,} | {new['seconds']:.1f} s{memory} |")
    print(f"| charloom report | {found['report']:.1f} s |")
    print(json.dumps({"benchmark": "looking", "model": options.model, "processor": processor(), **found}))


if __name__ == "__main__":
    main()
