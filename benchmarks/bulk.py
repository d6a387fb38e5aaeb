"""Bulk scoring of a million lines: two workers compared with one, a kill in the middle, and the cost of a terabyte.

    python benchmarks/bulk.py [MODEL] [--lines 1000000] [--precision int8] [--rounds 1] [--folder DIR] [--price P]

The lines are random words of the Python language reference, 50 to 60 characters each, with letters that the bundled
model knows; the same lines every time. Jobs with one and with two workers take turns; a worker is a process with one
thread. Times include Dask's start. Processor seconds (all processes, start and end included) are reported too, since
other programs on the machine affect them less. Then a job with two workers is killed (SIGKILL to all its processes)
when half of its parts are written, and started again. Each line must have one row, existing parts must not be
rewritten, and the rows must equal those of the job that was not killed. A byte is a character in this text. A
terabyte is 10**12 bytes; core-hours are processor time of the two workers; you supply the price of a core-hour.
Prints a table, then one JSON line.
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

MIN_LENGTH, MAX_LENGTH = 50, 60  # characters per line
PARTITION = 2_000_000  # bytes
TERABYTE = 1e12


def make_lines(path, lines):
    """Write lines of random words to a file, deterministically."""
    from pydoc_data.topics import topics

    words = sorted(set(re.findall(r"\b[A-Za-z]{2,12}\b", " ".join(topics.values()))))
    rng = np.random.Generator(np.random.Philox(key=13))
    with path.open("w", encoding="ascii", newline="\n") as file:
        for _ in range(-(-lines // 10_000)):
            drawn = iter(rng.integers(0, len(words), 300_000).tolist())
            lengths = rng.integers(MIN_LENGTH, MAX_LENGTH + 1, min(10_000, lines)).tolist()
            for length in lengths:
                line = words[next(drawn)]
                while len(line) < length:
                    line += " " + words[next(drawn)]
                file.write(line[:length] + "\n")
            lines -= len(lengths)


def run_job(folder, model, text, workers, precision):
    job = scoring_job(folder, model, [str(text)], partition_bytes=PARTITION, precision=precision)
    run_on_dask(job, workers=workers)


def start(folder, options, text, workers):
    """Start a job in its own process group, as a user would start a script."""
    command = [sys.executable, __file__, options.model, "--work", str(folder), str(text), str(workers)]
    return subprocess.Popen([*command, "--precision", options.precision], start_new_session=True)


def timed(folder, options, text, workers):
    """Run a job; return wall-clock seconds, including the start of Python and Dask, and processor seconds."""
    began, used = time.perf_counter(), processor_seconds()
    if start(folder, options, text, workers).wait():
        raise SystemExit("The job failed.")
    return time.perf_counter() - began, processor_seconds() - used


def processor_seconds():
    """Return the processor seconds of all finished child processes."""
    used = os.times()
    return used.children_user + used.children_system


def kill_and_restart(folder, options, text):
    """Kill a job when half of its parts are written and restart it; return the number of parts at the kill."""
    half = -(-text.stat().st_size // PARTITION) // 2
    process, folder_of_parts = start(folder, options, text, 2), folder / "parts"
    while len(list(folder_of_parts.glob("*.jsonl"))) < half:
        if process.poll() is not None:
            raise SystemExit("The job ended before it could be killed.")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in folder_of_parts.glob("*.jsonl")}
    timed(folder, options, text, 2)
    if any(path.stat().st_mtime_ns != at for path, at in before.items()):
        raise SystemExit("A part that existed was written again.")
    return len(before)


def check_once(folder, text):
    """Check that each line has one row, in order; return the number of rows."""
    offset = rows = 0
    with text.open("rb") as file:
        for row, line in zip(read_job(folder).rows(), file, strict=True):
            if row["offset"] != offset or row["characters"] != len(line) - 2:
                raise SystemExit(f"The line at byte {offset} has the wrong row {row}.")
            offset += len(line)
            rows += 1
    return rows


def compare(options, folder, text):
    """Run jobs with one and two workers in turn; return (wall-clock, processor) seconds by number of workers."""
    seconds = {1: [], 2: []}
    for number in range(options.rounds):
        for workers, timings in seconds.items():
            clock, used = timed(folder / f"job-{number}-{workers}", options, text, workers)
            timings.append((clock, used))
            rate = text.stat().st_size / clock
            print(
                f"| {workers} | {clock:.1f} s | {used:.1f} s processor time | {rate:,.0f} characters per second |",
                flush=True,
            )
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="shakespeare")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="working folder (default: the temporary folder)")
    parser.add_argument("--price", type=float, help="price of a core-hour, in your currency")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        folder, text, workers = options.work
        run_job(folder, options.model, text, int(workers), options.precision)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, text = Path(name), Path(name) / "lines.txt"
        make_lines(text, options.lines)
        seconds = compare(options, folder, text)
        parts = kill_and_restart(folder / "killed", options, text)
        rows = check_once(folder / "killed", text)
        same = list(read_job(folder / "killed").rows()) == list(read_job(folder / "job-0-2").rows())
        size = text.stat().st_size
    if rows != options.lines or not same:
        raise SystemExit(f"{rows} rows for {options.lines} lines; equal to the job without a kill: {same}")
    one, two = (statistics.median(clock for clock, _ in timings) for timings in seconds.values())
    core_hours = TERABYTE / size * statistics.median(used for _, used in seconds[2]) / 3600
    print(f"two workers are {one / two:.2f} times as fast as one")
    print(f"killed when {parts} parts were written: {rows:,} rows for {options.lines:,} lines")
    cost = None if options.price is None else core_hours * options.price
    print(f"a terabyte takes {core_hours:,.0f} core-hours" + (f" and costs {cost:,.0f}" if cost is not None else ""))
    results = {
        "lines": options.lines,
        "characters": size,
        "seconds_and_processor_seconds": seconds,
        "ratio": one / two,
        "parts_at_kill": parts,
    }
    results |= {"rows": rows, "core_hours_a_terabyte": core_hours, "price": options.price, "cost_a_terabyte": cost}
    print(json.dumps({"benchmark": "bulk", "model": options.model, "precision": options.precision,
                      "processor": processor(), **results}))  # fmt: skip


if __name__ == "__main__":
    main()
