"""What a search leaves and says: the recipe file, the page, the verdict."""

import shlex
import time
from collections.abc import Sequence
from typing import Any

from charloom._util.atomic_io import write_atomically
from charloom._version import __version__
from charloom.model.file.run_folder import RECIPE
from charloom.planning.recipes import write_recipe
from charloom.terminal.messages import clock, say
from charloom.tuning.report import tuning_page
from charloom.tuning.search_space import differences
from charloom.tuning.storage import PAGE, TuningFolder
from charloom.tuning.trials import Outcome, Trial, TuningTask, counts, outcome
from charloom.tuning.verdict import tuning_verdict

_SAME = "with the options of text and settings you gave"
_PURPOSES = {
    "train": "To train with its recipe:",
    "go_on": f"To go on, {_SAME}:",
    "check": f"To check it, {_SAME}:",
}


def write_result(folder: TuningFolder, sources: Sequence[str], seconds: float, interrupted: bool) -> dict[str, Any]:
    """Write the recipe file and the page of a search; return what it came to: keys of ``--json``.

    Args:
        folder: Where it is written down.
        sources: CORPUS as it was typed.
        seconds: That it took this time.
        interrupted: Whether it was stopped.
    """
    task, trials, checks = folder.task, folder.trials.trials(), folder.checks.trials()
    found = outcome(trials, checks)
    verdict = tuning_verdict(task, found, sum(trial.is_judged for trial in trials))
    recipe = folder.path / RECIPE
    if found.winner is not None:
        text = write_recipe(task.recipe, task.result(found.winner), _facts(task, found.winner))
        write_atomically(recipe, text.encode("utf-8"))
    page = tuning_page(task, trials, checks, found, verdict)
    write_atomically(folder.path / PAGE, page.encode("utf-8"))
    return {
        "folder": str(folder.path),
        "recipe": str(recipe) if found.winner is not None else None,
        "page": str(folder.path / PAGE),
        "minutes": task.plan.minutes,
        **counts(trials),
        "beats_plan": bool(found.winner is not None and found.winner != found.plan and found.is_checked),
        "best_trial": found.best.number if found.best else None,
        "best_val_loss": _loss(found.best),
        "plan_val_loss": _loss(found.plan),
        "checked": _checked(found),
        "settings": {} if found.winner is None else differences(task.settings(found.winner.place), task.plan),
        "verdict": " ".join(verdict),
        "seconds": seconds,
        "interrupted": interrupted,
        "commands": _commands(folder, found, sources, interrupted),
    }


def say_result(found: dict[str, Any], quiet: bool) -> None:
    """Say what a search came to, and what to do with it."""
    given_up = f", {found['pruned']} given up early" if found["pruned"] else ""
    failed = f", {found['failed']} stopped or failed" if found["failed"] else ""
    stopped = "Stopped" if found["interrupted"] else "Done"
    say(f"{stopped} after {clock(found['seconds'])}: {found['complete']} complete trials{given_up}{failed}.", quiet)
    say(found["verdict"], quiet)
    say(f"All of it on one page: {found['page']}", quiet)
    for what, command in found["commands"].items():
        say(f"{_PURPOSES[what]}\n  {command}", quiet)


def _facts(task: TuningTask, winner: Trial) -> dict[str, str]:
    return {
        "corpus": task.corpus,
        "corpus_sha256": task.corpus_sha256,
        "found": f"trial {winner.number} of a search",
        "val_loss": f"{winner.loss:.6g}",
        "made": time.strftime("%Y-%m-%d"),
        "charloom": __version__,
    }


def _commands(folder: TuningFolder, found: Outcome, sources: Sequence[str], interrupted: bool) -> dict[str, str]:
    corpus = shlex.join(sources)
    commands = {}
    if found.winner is not None:
        recipe = shlex.quote(str(folder.path / RECIPE))
        commands["train"] = f"charloom train {corpus} --recipe {recipe}"
    path = shlex.quote(str(folder.path))
    if interrupted:
        commands["go_on"] = f"charloom tune {corpus} -o {path} --hours 0.5"
    elif found.plan is not None and not found.is_checked:
        hours = 2.2 * folder.task.plan.minutes / 60
        commands["check"] = f"charloom tune {corpus} -o {path} --hours {hours:.2g}"
    return commands


def _loss(trial: Trial | None) -> float | None:
    return None if trial is None else trial.loss


def _checked(found: Outcome) -> dict[str, float | None] | None:
    if found.plan_check is None or found.best_check is None:
        return None
    return {"plan_val_loss": found.plan_check.loss, "best_val_loss": found.best_check.loss}
