"""Lists for docs/reliability.md from `results/reliability.jsonl`, which `make test-full` writes."""

import json
from functools import cache
from itertools import groupby
from pathlib import Path

TRIALS = Path(__file__).parent / "results" / "reliability.jsonl"


@cache
def trials():
    """Return all recorded trials in the order of the file."""
    return [json.loads(line) for line in TRIALS.read_text(encoding="utf-8").splitlines()]


def section(guarantee):
    """Return the trials of a guarantee as a list; variants of an attempt with the same result are one entry."""
    chosen = [trial for trial in trials() if trial["guarantee"] == guarantee]
    if not chosen:
        raise SystemExit(f"No trials are recorded for the guarantee {guarantee!r}.")
    lines = []
    for (attempt, result), group in groupby(chosen, key=lambda trial: (trial["attempt"], trial["result"])):
        variants = list(group)
        names = f" ({', '.join(trial['variant'] for trial in variants)})" if variants[0]["variant"] else ""
        lines.append(f"- {attempt}{names}, **{sum(trial['count'] for trial in variants):,} x**: {result}.")
    runs = dict.fromkeys((trial["command"], trial["date"], trial["python"], trial["machine"]) for trial in chosen)
    measured = "; ".join(f"`{command}`, {date}, Python {python}, {machine}" for command, date, python, machine in runs)
    return "\n".join([*lines, "", f"Run: {measured}."])


def failures():
    """Return a warning that names the tests that failed in the recorded run; empty if none did."""
    failed = [trial["attempt"] for trial in trials() if trial["guarantee"] == "failed"]
    return f"**These tests failed in the recorded run: {', '.join(failed)}.**" if failed else ""
