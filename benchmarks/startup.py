"""Start-up time and memory: `charloom generate` compared with only importing NumPy.

    python benchmarks/startup.py

Commands run in turn, each in a new process. Prints medians of the seconds, the peak memory of each, and the time to
import charloom after NumPy, then one JSON line.
"""

import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "import numpy": [sys.executable, "-c", "import numpy"],
    "charloom generate -n 200": [sys.executable, "-m", "charloom", "generate", "-n", "200", "--seed", "1"],
    "charloom --help": [sys.executable, "-m", "charloom", "--help"],
}
IMPORTS = {"import charloom": "import charloom", "charloom.Model": "import charloom; charloom.Model"}
AFTER_NUMPY = "import time, numpy; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def main():
    measured = {name: {"seconds": [], "megabytes": []} for name in COMMANDS}
    imports = {name: [] for name in IMPORTS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            seconds, megabytes = run(command)
            measured[name]["seconds"].append(seconds)
            measured[name]["megabytes"].append(megabytes)
        for name, statement in IMPORTS.items():
            command = [sys.executable, "-c", AFTER_NUMPY.format(statement)]
            imports[name].append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    rows = {
        name: {"seconds": statistics.median(row["seconds"]), "megabytes": max(row["megabytes"])}
        for name, row in measured.items()
    }
    for name, row in rows.items():
        print(f"{name:<26} {row['seconds']:.3f} s {row['megabytes']:6.1f} MB")
    after_numpy = {name: statistics.median(seconds) for name, seconds in imports.items()}
    for name, seconds in after_numpy.items():
        print(f"{name:<26} {seconds:.3f} s after NumPy")
    print(json.dumps({"benchmark": "startup", "rounds": ROUNDS, **rows, "after_numpy": after_numpy}))


def run(command):
    """Run a command; return its duration in seconds and its peak memory in megabytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
