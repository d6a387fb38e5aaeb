"""``charloom tune``: search for better training settings."""

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
from charloom.errors import CharloomError, SettingsError
from charloom.planning.recipes import Recipe, choose_recipe, parse_assignments
from charloom.planning.settings import LENGTHS, parse_value
from charloom.terminal.messages import format_duration, json_option, print_json, print_message, quiet_option
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
_SAME_OPTIONS = "add the same text options and settings"
_PURPOSES = {
    "train": "To train with the recipe:",
    "go_on": f"To continue the search ({_SAME_OPTIONS}):",
    "check": f"To verify the result ({_SAME_OPTIONS}):",
}


@click.command("tune")
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
@click.option("--hours", type=float, required=True, help="Total time of the search in hours.")
@click.option(
    "--minutes", type=float, help="Time of each trial in minutes. [default: from the recipe, or 1/12 of --hours]"
)
@click.option("-o", "--output", metavar="FOLDER", help="Folder to create, or folder of a search to continue.")
@click.option(
    "--workers", type=int, default=1, show_default=True, help="Number of worker processes. They share the CPU cores."
)
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE.toml",
    default="auto",
    show_default=True,
    help="Recipe to start from.",
)
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Fix a setting. Repeatable.")
@click.option("--seed", type=int, help="Random seed of the search and its trials. [default: from the recipe]")
@click.option("--device", metavar="auto|cpu|cuda|mps", default="auto", show_default=True, help="Training device.")
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
    """Search for better training settings for a corpus.

    Runs many short training runs (trials) of equal duration. The first uses the settings of the plan; the others vary
    them, and unpromising ones are stopped early. Finally the best settings and the plan are trained again with another
    seed to verify the improvement. The result is a recipe file and an HTML report.

    \b
    charloom tune my_book.txt --hours 0.5
    charloom train my_book.txt --recipe tuning/my_book/recipe.toml

    The default folder is tuning/<corpus>, or -2, -3 ... if it exists. Ctrl-C stops the search and saves its result.
    Pass the folder with -o to continue a search, or to join one that is running in another process.
    """
    started = time.time()
    fixed = _fixed_settings(assignments, seed)
    recipe = choose_recipe(recipe_name, assignments, {"seed": seed})
    _check_options(hours, minutes, workers, sources)
    require_torch()
    require_optuna()
    corpus = read_corpus(sources, text_format, quiet)
    if as_worker is not None:
        _run_worker(corpus, output or "", device, as_worker, checked)
        return

    elapsed = time.time() - started
    if elapsed >= hours * 3600:
        raise SettingsError(
            f"--hours {hours:g} ({hours * 3600:.3g} seconds) is too short: reading the corpus took {elapsed:.3g} "
            "seconds.",
            code="search_too_short",
            hours=hours,
            seconds=elapsed,
        )
    folder = _folder(corpus, recipe, fixed, hours, minutes, output, device, quiet)
    reserved = seconds_to_check(folder.task, workers, hours, has_candidate(folder))
    search = Search(folder, corpus, device, started + hours * 3600, reserved, workers, sources)
    _run_search(search, as_json, quiet)


def _fixed_settings(assignments: tuple[str, ...], seed: int | None) -> dict[str, Any]:
    """Return the settings that all trials share: those of ``--set`` and ``--seed``.

    Raises:
        SettingsError: If one of them is the length of a training run.
    """
    fixed = {name: parse_value(name, value) for name, value in parse_assignments(assignments).items()}
    for name in LENGTHS:
        if name in fixed:
            raise SettingsError(
                f"{name} cannot be fixed with --set, because all trials of a search take the same time. "
                "Pass --minutes to set the time of each trial.",
                code="setting_not_tunable",
                name=name,
            )
    return fixed if seed is None else {**fixed, "seed": seed}


def _check_options(hours: float, minutes: float | None, workers: int, sources: tuple[str, ...]) -> None:
    if not 0 < hours <= _MAX_HOURS:
        raise SettingsError(
            f"--hours must be greater than 0 and at most {_MAX_HOURS:,.0f}, got {hours}.",
            code="invalid_setting",
            name="hours",
            value=hours,
        )
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise SettingsError(
            f"--minutes must be greater than 0, got {minutes}.",
            code="invalid_setting",
            name="minutes",
            value=minutes,
        )
    if not 1 <= workers <= _MAX_WORKERS:
        raise SettingsError(
            f"--workers must be between 1 and {_MAX_WORKERS}, got {workers}.",
            code="invalid_setting",
            name="workers",
            value=workers,
        )
    if workers > 1 and "-" in sources:
        raise SettingsError(
            "--workers cannot read the corpus from standard input (-). Save the text to a file first.",
            code="conflicting_options",
            options=["--workers", "-"],
        )


def _folder(
    corpus: Corpus,
    recipe: Recipe,
    fixed: dict[str, Any],
    hours: float,
    minutes: float | None,
    output: str | None,
    device: str,
    quiet: bool,
) -> TuningFolder:
    """Create the folder of a new search, or open an existing one to continue its search.

    Raises:
        RunError: If the folder is not that of a search, or its search has another corpus or other settings.
    """
    if output is None or not Path(output).exists():
        task = plan_search(corpus, recipe, fixed, hours, minutes, device)
        return new_tuning_folder(unused_folder(corpus.name) if output is None else Path(output), task)
    folder = open_tuning_folder(Path(output))
    check_same_search(folder, corpus, recipe, fixed, minutes)
    folder.trials.fail_dead()
    done = sum(trial.is_judged for trial in folder.trials.trials())
    print_message(f"{folder.path}: resuming a search with {done} finished trials", quiet)
    return folder


def _run_worker(corpus: Corpus, output: str, device: str, until: float, checked: int | None) -> None:
    """Run as a worker process: run trials, or one verification run.

    Args:
        corpus: The corpus.
        output: Folder of the search.
        device: Training device.
        until: End of the search, in seconds since the epoch.
        checked: Number of the trial to verify; None to run trials.

    Raises:
        Stopped: If a signal stopped it.
    """
    end_with_parent(lifeline=0)  # stdin is a pipe that the parent never writes to; it closes when the parent exits
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
    """Run a search, show its progress, and print its result.

    Raises:
        Stopped: If a signal stopped it.
    """
    from charloom.terminal.tuning_view import make_tuning_view  # start-up time: imports rich

    started = time.time()
    flag = StopFlag()
    flag.can_wait = True
    with (
        handle_signals(flag),
        make_tuning_view(search.folder, search.until, search.reserved, quiet) as view,
    ):
        for trial in run_search(search, flag):
            view.show(trial)
    result = write_result(search.folder, search.sources, time.time() - started, flag.signal_number is not None)
    print_summary(result, quiet)
    if as_json:
        print_json(result)
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)
    if not result["complete"]:
        raise CharloomError(
            "No trial was completed in the time of --hours. Allow more time, or shorten the trials with --minutes.",
            code="no_complete_trial",
            failed=result["failed"],
            pruned=result["pruned"],
        )


def print_summary(result: dict[str, Any], quiet: bool) -> None:
    """Print the result of a search and the next commands to stderr.

    Args:
        result: The result; see ``charloom.tuning.report.write_result``.
        quiet: Whether to print nothing.
    """
    pruned = f", {result['pruned']} pruned" if result["pruned"] else ""
    failed = f", {result['failed']} interrupted or failed" if result["failed"] else ""
    outcome = "Stopped" if result["interrupted"] else "Done"
    print_message(
        f"{outcome} after {format_duration(result['seconds'])}: {result['complete']} complete trials{pruned}{failed}.",
        quiet,
    )
    print_message(result["verdict"], quiet)
    print_message(f"Report: {result['page']}", quiet)
    for purpose, command_line in result["commands"].items():
        print_message(f"{_PURPOSES[purpose]}\n  {command_line}", quiet)
