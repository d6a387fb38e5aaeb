"""``charloom tune``: search for better settings."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import click

from charloom._util.extras import require_torch
from charloom._util.processes import end_with_parent
from charloom.cli.signals import StopFlag, Stopped, handle_signals
from charloom.cli.text_options import read_corpus, text_options
from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.errors import SettingsError
from charloom.planning.recipes import Recipe, choose_recipe, parse_assignments
from charloom.planning.settings import LENGTHS, parse_value
from charloom.terminal.messages import clock, json_option, print_json, quiet_option, say
from charloom.tuning.report import write_result
from charloom.tuning.search import (
    Search,
    check,
    check_same_search,
    has_candidate,
    plan_search,
    run_search,
    search,
    seconds_to_check,
    warm_up,
)
from charloom.tuning.storage import (
    TuningFolder,
    new_tuning_folder,
    open_tuning_folder,
    require_optuna,
    unused_folder,
)

_MAX_WORKERS = 256
_MAX_HOURS = 24 * 365.0
_SAME_OPTIONS = "with the options of text and settings you gave"
_PURPOSES = {
    "train": "To train with its recipe:",
    "go_on": f"To go on, {_SAME_OPTIONS}:",
    "check": f"To check it, {_SAME_OPTIONS}:",
}


@click.command("tune")
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
@click.option("--hours", type=float, required=True, help="Search this long from now, all included.")
@click.option("--minutes", type=float, help="Of each training. [default: the recipe's, or a twelfth of --hours]")
@click.option("-o", "--output", metavar="FOLDER", help="A new folder, or that of a search to go on with.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that share the processor's cores.")
@click.option(
    "--recipe", "recipe_name", metavar="NAME|FILE.toml", default="auto", show_default=True, help="Start here."
)
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="A setting that stays as it is.")
@click.option("--seed", type=int, help="Of the search and of its trainings. [default: the recipe's]")
@click.option("--device", metavar="auto|cpu|cuda|mps", default="auto", show_default=True, help="Where to train.")
@click.option("--as-worker", type=float, hidden=True)
@click.option("--check", "checked", type=int, hidden=True)
@text_options
@json_option
@quiet_option
def command(
    sources: tuple[str, ...],
    hours: float,
    minutes: float | None,
    output: str | None,
    workers: int,
    recipe_name: str,
    assignments: tuple[str, ...],
    seed: int | None,
    device: str,
    as_worker: float | None,
    checked: int | None,
    text_format: TextFormat,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search for settings that are better than the plan's on a text.

    Many short trainings of the same time, the plan's first; the others change it, and those that fall behind are given
    up. In the end the best and the plan are trained once more with another seed. What is left is a recipe file and a
    page:

    \b
    charloom tune my_book.txt --hours 0.5
    charloom train my_book.txt --recipe tuning/my_book/recipe.toml

    The folder is tuning/<corpus>, -2, -3 ... if it is not named. Ctrl-C ends a search after all has been written
    down; -o with its folder goes on with it, also while another process works there.
    """
    began = time.time()
    chosen = _fixed_settings(assignments, seed)
    recipe = choose_recipe(recipe_name, assignments, {"seed": seed})
    _check_numbers(hours, minutes, workers, sources)
    require_torch()
    require_optuna()
    corpus = read_corpus(sources, text_format, quiet)
    if as_worker is not None:
        _run_worker(corpus, output or "", device, as_worker, checked)
        return

    folder = _folder(corpus, recipe, chosen, hours, minutes, output, device, quiet)
    reserved = seconds_to_check(folder.task, workers, hours, has_candidate(folder))
    search = Search(folder, corpus, device, began + hours * 3600, reserved, workers, sources)
    _run_search(search, as_json, quiet)


def _fixed_settings(assignments: tuple[str, ...], seed: int | None) -> dict[str, Any]:
    """Return the settings that are not varied, with their values.

    Raises:
        SettingsError: If one of them is the length of a training.
    """
    chosen = {name: parse_value(name, value) for name, value in parse_assignments(assignments).items()}
    for name in LENGTHS:
        if name in chosen:
            raise SettingsError(
                f"{name} cannot be set here: all trainings of a search take the same time. --minutes M says how long."
            )
    return chosen if seed is None else {**chosen, "seed": seed}


def _check_numbers(hours: float, minutes: float | None, workers: int, sources: tuple[str, ...]) -> None:
    if not 0 < hours <= _MAX_HOURS:
        raise SettingsError(f"--hours must be above 0 and at most {_MAX_HOURS:,.0f}; got {hours}.")
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise SettingsError(f"--minutes must be above 0; got {minutes}.")
    if not 1 <= workers <= _MAX_WORKERS:
        raise SettingsError(f"--workers must be from 1 to {_MAX_WORKERS}; got {workers}.")
    if workers > 1 and "-" in sources:
        raise SettingsError("Several workers cannot all read standard input. Save the text in a file and name that.")


def _folder(
    corpus: Corpus,
    recipe: Recipe,
    chosen: dict[str, Any],
    hours: float,
    minutes: float | None,
    output: str | None,
    device: str,
    quiet: bool,
) -> TuningFolder:
    """Make the folder of a new search, or open the one named, if it is of the same search.

    Raises:
        RunError: If it is the folder of another search, or of something else.
    """
    if output is None or not Path(output).exists():
        task = plan_search(corpus, recipe, chosen, hours, minutes, device)
        return new_tuning_folder(unused_folder(corpus.name) if output is None else Path(output), task)
    folder = open_tuning_folder(Path(output))
    check_same_search(folder, corpus, recipe, chosen, minutes)
    folder.trials.fail_dead()
    done = sum(trial.is_judged for trial in folder.trials.trials())
    say(f"{folder.path}: going on with a search of {done} trials.", quiet)
    return folder


def _run_worker(corpus: Corpus, output: str, device: str, until: float, checked: int | None) -> None:
    """Run as one of several processes: search, or make one check.

    Raises:
        Stopped: If a signal ended it.
    """
    end_with_parent(lifeline=0)  # standard input, through which nothing is sent
    folder = open_tuning_folder(Path(output))
    warm_up(folder.task, corpus, device)
    flag = StopFlag()
    flag.can_wait = True
    with handle_signals(flag):
        if checked is None:
            trials = search(folder, corpus, until, device, flag)
        else:
            trials = check(folder, corpus, checked, device, flag)
        for _ in trials:
            pass
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)


def _run_search(search: Search, as_json: bool, quiet: bool) -> None:
    """Search, show it, and print its result.

    Raises:
        Stopped: If a signal ended it.
    """
    from charloom.terminal.tuning_view import make_tuning_view  # imports rich

    began = time.time()
    flag = StopFlag()
    flag.can_wait = True
    with (
        handle_signals(flag),
        make_tuning_view(search.folder, search.until, search.reserved, quiet) as view,
    ):
        for trial in run_search(search, flag):
            view.show(trial)
    result = write_result(search.folder, search.sources, time.time() - began, flag.signal_number is not None)
    say_result(result, quiet)
    if as_json:
        print_json(result)
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)


def say_result(result: dict[str, Any], quiet: bool) -> None:
    """Print what a search came to and what to do with it to stderr; see ``charloom.tuning.report.write_result``."""
    pruned = f", {result['pruned']} given up early" if result["pruned"] else ""
    failed = f", {result['failed']} stopped or failed" if result["failed"] else ""
    ended = "Stopped" if result["interrupted"] else "Done"
    say(f"{ended} after {clock(result['seconds'])}: {result['complete']} complete trials{pruned}{failed}.", quiet)
    say(result["verdict"], quiet)
    say(f"All of it on one page: {result['page']}", quiet)
    for purpose, command_line in result["commands"].items():
        say(f"{_PURPOSES[purpose]}\n  {command_line}", quiet)
