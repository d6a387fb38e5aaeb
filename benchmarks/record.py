"""Run a benchmark and keep what it found: a line more in `results`, and docs/benchmarks.md written again.

    python benchmarks/record.py encoding
    .venv-bench/bin/python benchmarks/record.py training --rounds 3      # those that have peers
    python benchmarks/record.py                                          # the page alone

Arguments behind the name are the benchmark's own. Its output is shown as it comes; its last line, one JSON object,
is kept together with the date, the machine, the versions and the command. On a busy machine nothing is measured.
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
            raise SystemExit(f"There is no benchmark {name!r}. Those that are: {', '.join(sorted(TABLES))}.")
        facts = about(name, arguments)
        look_for_quiet(facts)
        keep(name, {**last_line(name, arguments, facts), "run": facts})
    write_pages()
    print(f"written: {', '.join(f'docs/{page}' for page in PAGES)}", file=sys.stderr)


def about(name, arguments):
    """Return what a reader must know to judge a figure; asked before the benchmark makes the machine busy."""
    return {
        "command": " ".join(["python", f"benchmarks/{name}.py", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **dict(installed())},
    }


def look_for_quiet(facts):
    """Refuse to measure beside other work: with it, a ratio of 33 has come out as 101."""
    if (facts["load"] or 0) > facts["cores"] / 2:
        raise SystemExit(
            f"Other processes are running (load {facts['load']} on {facts['cores']} cores): what is measured now "
            f"would be of no use. Wait until the load is {facts['cores'] / 2:g} at most; nothing was kept."
        )


def installed():
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def last_line(name, arguments, facts):
    """Run the benchmark, show what it prints, and return its last line's object."""
    print(f"{facts['command']}, on {facts['processor']}", file=sys.stderr)
    script = Path(__file__).with_name(f"{name}.py")
    line = ""
    with subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{facts['command']} ended with {process.returncode}; nothing was kept.")
    found = json.loads(line)
    if found.get("benchmark") != name:
        raise SystemExit(f"The last line of {facts['command']} is of {found.get('benchmark')!r}; nothing was kept.")
    return found


def keep(name, found):
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(found, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
