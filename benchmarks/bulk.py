"""Scoring a million lines in bulk: two workers beside one, the kill in the middle, and what a terabyte costs.

    python benchmarks/bulk.py [MODEL] [--lines 1000000] [--precision int8] [--rounds 1] [--folder DIR] [--price P]

The lines are random words of the Python language reference, 50 to 60 characters each, of letters that the bundled model
knows; the same ones every time. One worker and two take turns on a job of their own, each a process with one thread,
Dask's start included; beside the seconds on the clock stand those of the processors (all processes, start and end
included), which other programs on the machine change less. Then a job of two workers is killed (SIGKILL to all its
processes) when half its parts are there, and started again; each line must have one row, the parts that were there must
not have been touched, and the rows must be those of the job that was not killed. Bytes are characters in this text. A
terabyte is 10**12 bytes; core-hours are the processor time of the two workers; the price of one is yours.
A table, then one line of JSON.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from charloom.bulk.dask import run_on_dask
from charloom.bulk.job import read_job
from charloom.bulk.scoring import scoring_job
from machine import processor

LEAST, MOST = 50, 60  # characters of a line
PARTITION = 2_000_000  # bytes
TERABYTE = 1e12


def make_lines(path, lines):
    """Write lines of random words; the same for the same number of them."""
    from pydoc_data.topics import topics

    words = sorted(set(re.findall(r"\b[A-Za-z]{2,12}\b", " ".join(topics.values()))))
    rng = np.random.Generator(np.random.Philox(key=13))
    with path.open("w", encoding="ascii", newline="\n") as file:
        for _ in range(-(-lines // 10_000)):
            drawn = iter(rng.integers(0, len(words), 300_000).tolist())
            lengths = rng.integers(LEAST, MOST + 1, min(10_000, lines)).tolist()
            for length in lengths:
                line = words[next(drawn)]
                while len(line) < length:
                    line += " " + words[next(drawn)]
                file.write(line[:length] + "\n")
            lines -= len(lengths)


def work(folder, model, text, workers, precision):
    job = scoring_job(folder, model, [str(text)], partition_bytes=PARTITION, precision=precision)
    run_on_dask(job, workers=workers)


def start(folder, options, text, workers):
    """Start a job in a process group of its own, as a user would start a script."""
    command = [sys.executable, __file__, options.model, "--work", str(folder), str(text), str(workers)]
    return subprocess.Popen([*command, "--precision", options.precision], start_new_session=True)


def timed(folder, options, text, workers):
    """Return the seconds that a whole job takes, Python's and Dask's start included, and those of the processors."""
    began, used = time.perf_counter(), processor_seconds()
    if start(folder, options, text, workers).wait():
        raise SystemExit("the job failed")
    return time.perf_counter() - began, processor_seconds() - used


def processor_seconds():
    """Return what all processes that this one has started and that have ended have used."""
    used = os.times()
    return used.children_user + used.children_system


def killed(folder, options, text):
    """Kill a job when half its parts are there, start it again, and return what was there before."""
    half = -(-text.stat().st_size // PARTITION) // 2
    process, parts = start(folder, options, text, 2), folder / "parts"
    while len(list(parts.glob("*.jsonl"))) < half:
        if process.poll() is not None:
            raise SystemExit("the job ended before it could be killed")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.jsonl")}
    timed(folder, options, text, 2)
    if any(path.stat().st_mtime_ns != at for path, at in before.items()):
        raise SystemExit("a part that was there has been made again")
    return len(before)


def check_once(folder, text):
    """Exit unless each line of the text has one row, in order; return how many there are."""
    offset = rows = 0
    with text.open("rb") as file:
        for row, line in zip(read_job(folder).rows(), file, strict=True):
            if row["offset"] != offset or row["characters"] != len(line) - 2:
                raise SystemExit(f"the line at byte {offset} has the row {row}")
            offset += len(line)
            rows += 1
    return rows


def compare(options, folder, text):
    """Return the seconds of one worker and of two, in turn."""
    seconds = {1: [], 2: []}
    for number in range(options.rounds):
        for workers, found in seconds.items():
            clock, used = timed(folder / f"job-{number}-{workers}", options, text, workers)
            found.append((clock, used))
            rate = text.stat().st_size / clock
            print(
                f"| {workers} | {clock:.1f} s | {used:.1f} s of processors | {rate:,.0f} characters a second |",
                flush=True,
            )
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="shakespeare")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--price", type=float, help="of a core for an hour, in your currency")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        folder, text, workers = options.work
        work(folder, options.model, text, int(workers), options.precision)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, text = Path(name), Path(name) / "lines.txt"
        make_lines(text, options.lines)
        seconds = compare(options, folder, text)
        there = killed(folder / "killed", options, text)
        rows = check_once(folder / "killed", text)
        same = list(read_job(folder / "killed").rows()) == list(read_job(folder / "job-0-2").rows())
        size = text.stat().st_size
    if rows != options.lines or not same:
        raise SystemExit(f"{rows} rows of {options.lines} lines, the same as without the kill: {same}")
    one, two = (statistics.median(clock for clock, _ in found) for found in seconds.values())
    core_hours = TERABYTE / size * statistics.median(used for _, used in seconds[2]) / 3600
    print(f"two workers are {one / two:.2f} times as fast as one")
    print(f"killed when {there} parts were there: {rows:,} rows for {options.lines:,} lines")
    cost = None if options.price is None else core_hours * options.price
    print(f"a terabyte takes {core_hours:,.0f} core-hours" + (f" and costs {cost:,.0f}" if cost is not None else ""))
    found = {
        "lines": options.lines,
        "characters": size,
        "seconds_and_processor_seconds": seconds,
        "ratio": one / two,
        "parts_at_kill": there,
    }
    found |= {"rows": rows, "core_hours_a_terabyte": core_hours, "price": options.price, "cost_a_terabyte": cost}
    print(json.dumps({"benchmark": "bulk", "model": options.model, "precision": options.precision,
                      "processor": processor(), **found}))  # fmt: skip


if __name__ == "__main__":
    main()
