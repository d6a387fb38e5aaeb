"""Promises of a training run: it ends on time, reaches the expected loss, repeats exactly, and can be extended.

    python benchmarks/promises.py budget RESULTS.jsonl TEXT... [--minutes 0.34 0.5 1] [--busy 10] [--interrupted 4]
    python benchmarks/promises.py repeat RESULTS.jsonl
    python benchmarks/promises.py extend RESULTS.jsonl TEXT... [--minutes 0.5] [--steps 800]
    python benchmarks/promises.py table RESULTS.jsonl...

`budget` trains every text for every time with `charloom train TEXT --minutes M`. During some of the runs other
processes keep all cores busy: from the start to the middle, or from the middle to the end; some runs are stopped in the
middle and resumed. `repeat` trains the same number of steps again with this number planned from the start, and runs
beside other load and resumed ones also with the recipe of the run, which must give the same weights bit for bit.
`extend` trains a run, extends it by the same length, and trains another one of double length. `table` prints the
results, one JSON line per run.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import charloom
from charloom.data.corpus import Corpus
from charloom.model.file.model_file import load_model
from charloom.planning.heuristics import expected_bits
from charloom.planning.plan_changes import parse_changes
from charloom.planning.recipes import RECIPES, Recipe, load_recipe
from charloom.training.events import EvaluationRecord, FinishRecord, PlanRecord
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training
from machine import processor

CHARLOOM = [sys.executable, "-m", "charloom"]
PROCESSES_PER_CORE = 1  # a training waits for its slowest thread, so one is enough to slow it down several times


def spin():
    """Keep a core busy."""
    while True:
        pass


class Busy:
    """Keeps all cores busy between two points in time, in seconds from now."""

    def __init__(self, start, end):
        self.processes = []
        self.timers = [threading.Timer(start, self.begin), threading.Timer(end, self.end)]
        for timer in self.timers:
            timer.start()

    def begin(self):
        """Start the processes."""
        self.processes = [multiprocessing.Process(target=spin) for _ in range(PROCESSES_PER_CORE * os.cpu_count())]
        for process in self.processes:
            process.start()

    def end(self):
        """End the processes and cancel what has not begun."""
        for timer in self.timers:
            timer.cancel()
        for process in self.processes:
            process.kill()
            process.join()
        self.processes = []


def command(*arguments, stop_after=None):
    """Run charloom, optionally interrupt it, and return its result and its wall time."""
    began = time.perf_counter()
    with subprocess.Popen([*CHARLOOM, *arguments, "--json", "-q"], stdout=subprocess.PIPE, text=True) as process:
        if stop_after is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(stop_after)
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    return json.loads(out), time.perf_counter() - began


def train_on_time(text, minutes, load, interrupted, folder):
    """Train with a time budget, and return the facts about the run."""
    seconds, run = 60 * minutes, folder / f"{Path(text).stem}-{minutes}-{load}"
    shutil.rmtree(run, ignore_errors=True)
    halves = {"none": None, "ends": (0, seconds / 2), "starts": (seconds / 2, 2 * seconds + 30)}[load]
    busy = Busy(*halves) if halves else None
    try:
        result, wall = command(
            "train", text, "--minutes", str(minutes), "-o", str(run), stop_after=seconds / 2 if interrupted else None
        )
        if interrupted and result["interrupted"]:
            result, more = command("train", "--resume", str(run))
            wall += more
    finally:
        if busy is not None:
            busy.end()
    facts = open_run(str(run)).training.facts
    changes = parse_changes(load_recipe(str(run / "recipe.toml")).settings.plan_changes)
    return {
        "kind": "budget",
        "text": Path(text).name,
        "path": text,
        "run": str(run),
        "planned_seconds": seconds,
        "load": load,
        "interrupted": interrupted,
        "used_seconds": result["seconds"],
        "wall_seconds": wall,
        "steps": result["steps"],
        "limited": facts.get("max_steps") == result["steps"] or facts["history"]["ended"],
        "first_steps": changes[0].steps if changes else result["steps"],
        "changes": max(0, len(changes) - 1),
        "loss": result["val_loss"],
        "best_bits": result["bits_per_char"],
    }


def records_of(records):
    """Run a training and return its plan, its evaluations and its end."""
    plan, evaluations = None, []
    for record in records:
        if isinstance(record, PlanRecord):
            plan = record
        elif isinstance(record, EvaluationRecord):
            evaluations.append(record)
    assert isinstance(record, FinishRecord)
    return plan, evaluations, record


def repeat(row, folder):
    """Train the same steps again: with the recipe of the run, and with a plan made for them at the start."""
    run, corpus = Path(row["run"]), Corpus.read([row["path"]])
    written = load_recipe(str(run / "recipe.toml"))
    shutil.rmtree(folder, ignore_errors=True)
    result = {}
    if row["load"] != "none" or row["interrupted"]:
        records_of(run_training(corpus, written, str(folder / "exact")))
        saved, again = (load_model(path / "model.safetensors").weights for path in (run, folder / "exact"))
        result["equal_weights"] = all(bool((saved[name] == weight).all()) for name, weight in again.items())
    settings = replace(written.settings, plan_changes="")
    planned = records_of(run_training(corpus, Recipe("auto", "", settings, written.fixed), str(folder / "planned")))
    shutil.rmtree(folder)
    return result | {"planned_loss": planned[2].val_loss, "expected_bits": expected(row, planned[0])}


def expected(row, plan):
    """Return the range of losses that was expected for the first plan of a run, in bits per character."""
    read = row["first_steps"] / plan.plan.steps_per_epoch * plan.training_chars
    return expected_bits(plan.baselines.ngrams, plan.baselines.unigram, read)


def extend(text, length, folder):
    """Train, extend by the same length, and train a run of double length."""
    corpus, (name, value) = Corpus.read([text]), next(iter(length.items()))
    shutil.rmtree(folder, ignore_errors=True)
    base = records_of(run_training(corpus, RECIPES["auto"].with_values(length), str(folder / "base")))[2]
    saved = open_run(str(folder / "base"))
    _, evaluations, extended = records_of(resume_training(saved, corpus, length))
    double = records_of(run_training(corpus, RECIPES["auto"].with_values({name: 2 * value}), str(folder / "double")))[2]
    shutil.rmtree(folder)
    return {
        "kind": "extend",
        "text": Path(text).name,
        "length": f"{value:g} {name}",
        "steps": base.steps,
        "base": base.best_val_loss,
        "extended_steps": extended.steps,
        "extended_last": evaluations[-1].val_loss if evaluations else base.val_loss,
        "extended": extended.best_val_loss,
        "double_steps": double.steps,
        "double": double.best_val_loss,
    }


def table(rows):
    """Print Markdown tables of the results."""
    budget = [row for row in rows if row["kind"] == "budget"]
    if budget:
        print("| text | planned s | used s | other load | steps (first plan) | loss | planned | expected | reached |")
        print("|---|---:|---:|---|---:|---:|---:|---|---:|")
    for row in budget:
        bits = row.get("expected_bits")
        cells = [
            row["text"] + (", resumed" if row["interrupted"] else ""),
            f"{row['planned_seconds']:.0f}",
            f"{row['used_seconds']:.1f}" + (" (limited)" if row["limited"] else ""),
            row["load"],
            f"{row['steps']:,} ({row['first_steps']:,})",
            f"{row['loss']:.4f}",
            f"{row['planned_loss']:.4f}" if "planned_loss" in row else "",
            f"{bits[0]:.2f} to {bits[1]:.2f}" if bits else "none",
            f"{row['best_bits']:.2f}",
        ]
        print(f"| {' | '.join(cells)} |")
    on_time = [r for r in budget if not r["limited"]]
    late = [r for r in on_time if abs(r["used_seconds"] - r["planned_seconds"]) > max(2, 0.05 * r["planned_seconds"])]
    print(f"\non time: {len(on_time) - len(late)} of {len(on_time)}; limited by the text: {len(budget) - len(on_time)}")
    repeated = [r for r in budget if "planned_loss" in r]
    if repeated:
        difference = statistics.fmean(r["loss"] - r["planned_loss"] for r in repeated)
        again = [r["equal_weights"] for r in repeated if "equal_weights" in r]
        print(f"equal weights, of runs beside other load or resumed: {sum(again)} of {len(again)}")
        print(f"mean difference from the loss of a plan made for these steps: {difference:+.4f}")
        ranges = [r for r in repeated if r["expected_bits"]]
        inside = sum(r["expected_bits"][0] <= r["best_bits"] <= r["expected_bits"][1] for r in ranges)
        print(f"inside the expected range: {inside} of {len(ranges)}")
    for row in rows:
        if row["kind"] == "extend":
            gain, double = row["base"] - row["extended"], row["base"] - row["double"]
            losses = " | ".join(f"{row[key]:.4f}" for key in ("base", "extended_last", "extended", "double"))
            print(f"| {row['text']} | {row['length']} | {row['steps']:,} | {losses} | {gain:+.4f} | {double:+.4f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=("budget", "repeat", "extend", "table"))
    parser.add_argument("results", type=Path)
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--minutes", type=float, nargs="+", default=[])
    parser.add_argument("--steps", type=int, nargs="+", default=[])
    parser.add_argument("--busy", type=int, default=0, help="number of runs beside other load")
    parser.add_argument("--interrupted", type=int, default=0, help="number of runs that are stopped and resumed")
    parser.add_argument("--folder", type=Path, default=Path("promises"), help="where the runs are kept")
    options = parser.parse_args()
    if options.mode == "table":
        paths = [options.results, *map(Path, options.texts)]
        table([json.loads(line) for path in paths for line in path.read_text().splitlines()])
        return
    options.folder.mkdir(exist_ok=True)
    if options.mode == "repeat":
        rows = [json.loads(line) for line in options.results.read_text().splitlines()]
        for row in rows:
            if "planned_loss" not in row:
                row |= repeat(row, options.folder / "again")
                options.results.write_text("".join(json.dumps(row) + "\n" for row in rows))
                print(json.dumps(row), flush=True)
        return
    cases = [(text, {"minutes": m}) for m in options.minutes for text in options.texts]
    cases += [(text, {"steps": steps}) for steps in options.steps for text in options.texts]
    for number, (text, length) in enumerate(cases):
        if options.mode == "budget":
            turn = number * options.busy // len(cases) != (number + 1) * options.busy // len(cases)
            load = ("starts", "ends")[number % 2] if turn else "none"
            stopped = not turn and number * options.interrupted // len(cases) != (
                number + 1
            ) * options.interrupted // len(cases)
            row = train_on_time(text, length["minutes"], load, stopped, options.folder)
        else:
            row = extend(text, length, options.folder / "extend")
        row |= {"machine": processor(), "charloom": charloom.__version__}
        with options.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
