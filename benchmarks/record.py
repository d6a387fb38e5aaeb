"""Run a benchmark, append its result to `results/NAME.jsonl`, and rebuild docs/results.md.

    python benchmarks/record.py encoding
    .venv-bench/bin/python benchmarks/record.py training --rounds 3      # benchmarks that run peers
    python benchmarks/record.py                                          # only rebuild the pages

Arguments after the name are passed to the benchmark. Its output is shown as it comes. Its last line, a JSON object, is
stored with the date, machine, package versions and command. Nothing is measured on a busy machine.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from machine import processor
from pages import PAGES, write_pages
from recorded_tables import RESULTS, TABLES

PACKAGES = ("charloom", "numpy", "torch", "tensorflow", "tensorflow-cpu", "keras", "jax")


def main():
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else None), sys.argv[2:]
    if name is not None:
        if name not in TABLES:
            raise SystemExit(f"Unknown benchmark {name!r}. Known benchmarks: {', '.join(sorted(TABLES))}.")
        facts = run_facts(name, arguments)  # before the benchmark itself makes the machine busy
        require_idle_machine(facts)
        append(name, {**run_benchmark(name, arguments, facts), "run": facts})
    write_pages()
    print(f"written: {', '.join(f'docs/{page}' for page in PAGES)}", file=sys.stderr)


def run_facts(name, arguments):
    """Return command, date, processor, cores, load, system and package versions of this run."""
    return {
        "command": " ".join(["python", f"benchmarks/{name}.py", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **dict(installed_versions())},
    }


def require_idle_machine(facts):
    """Exit if other processes are running: they once turned a ratio of 33 into 101."""
    if (facts["load"] or 0) > facts["cores"] / 2:
        raise SystemExit(
            f"The machine is busy (load {facts['load']} on {facts['cores']} cores), so results would be wrong. "
            f"Wait until the load is {facts['cores'] / 2:g} or less. Nothing was recorded."
        )


def installed_versions():
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def run_benchmark(name, arguments, facts):
    """Run the benchmark, show its output, and return the JSON object of its last line."""
    print(f"{facts['command']}, on {facts['processor']}", file=sys.stderr)
    script = Path(__file__).with_name(f"{name}.py")
    line = ""
    with subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{facts['command']} failed with exit code {process.returncode}. Nothing was recorded.")
    result = json.loads(line)
    if result.get("benchmark") != name:
        raise SystemExit(
            f"The last line of {facts['command']} belongs to the benchmark {result.get('benchmark')!r}. "
            "Nothing was recorded."
        )
    return result


def append(name, result):
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
