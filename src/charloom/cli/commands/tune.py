"""``charloom tune``: a search for settings that are better than the plan's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.text_options import text_options
from charloom.errors import RunError, SettingsError
from charloom.terminal.messages import json_option, print_json, quiet_option, say

if TYPE_CHECKING:
    from charloom.cli.signals import StopFlag
    from charloom.data.corpus import Corpus
    from charloom.data.text_format import TextFormat
    from charloom.planning.recipes import Recipe
    from charloom.tuning.storage import TuningFolder
    from charloom.tuning.trials import Trial

_MOST_WORKERS = 256
_MOST_HOURS = 24 * 365.0


@dataclass(frozen=True)
class Search:
    """One search under way.

    Attributes:
        folder: Where it is written down.
        corpus: What is learned.
        device: Where.
        until: When trials end, by ``time.time``.
        workers: How many processes.
        sources: CORPUS as it was typed.
    """

    folder: TuningFolder
    corpus: Corpus
    device: str
    until: float
    workers: int
    sources: tuple[str, ...]


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
    from charloom._util.extras import require_torch
    from charloom.cli.commands.train import choose_recipe
    from charloom.cli.read_corpus import read_corpus
    from charloom.tuning.storage import require_optuna

    began = time.time()
    chosen = _chosen(assignments, seed)
    recipe = choose_recipe(recipe_name, assignments, {"seed": seed})
    _check_numbers(hours, minutes, workers, sources)
    require_torch()
    require_optuna()
    corpus = read_corpus(sources, text_format, quiet)
    if as_worker is not None:
        _work(corpus, output or "", device, as_worker, checked)
        return
    folder = _folder(corpus, recipe, chosen, hours, minutes, output, device, quiet)
    _show(Search(folder, corpus, device, began + hours * 3600, workers, sources), hours, as_json, quiet)


def _chosen(assignments: tuple[str, ...], seed: int | None) -> dict[str, Any]:
    """Return the settings that stay, with their values.

    Raises:
        SettingsError: If one says how long to train.
    """
    from charloom.planning.recipes import parse_assignments
    from charloom.planning.settings import LENGTHS, parse_value

    chosen = {name: parse_value(name, value) for name, value in parse_assignments(assignments).items()}
    for name in LENGTHS:
        if name in chosen:
            raise SettingsError(
                f"{name} cannot be set here: all trainings of a search take the same time. --minutes M says how long."
            )
    return chosen if seed is None else {**chosen, "seed": seed}


def _check_numbers(hours: float, minutes: float | None, workers: int, sources: tuple[str, ...]) -> None:
    if not 0 < hours <= _MOST_HOURS:
        raise SettingsError(f"--hours must be above 0 and at most {_MOST_HOURS:,.0f}; got {hours}.")
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise SettingsError(f"--minutes must be above 0; got {minutes}.")
    if not 1 <= workers <= _MOST_WORKERS:
        raise SettingsError(f"--workers must be from 1 to {_MOST_WORKERS}; got {workers}.")
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
    """Return the folder of a new search, or the one named, if it is of the same search.

    Raises:
        RunError: If it is of another, or of none.
    """
    from charloom.tuning.plan import plan_search
    from charloom.tuning.storage import free_folder, new_tuning_folder, open_tuning_folder

    if output is None or not Path(output).exists():
        task = plan_search(corpus, recipe, chosen, hours, minutes, device)
        return new_tuning_folder(free_folder(corpus.name) if output is None else Path(output), task)
    folder = open_tuning_folder(Path(output))
    _check_same(folder, corpus, recipe, chosen, minutes)
    folder.trials.give_up_dead()
    done = sum(trial.is_judged for trial in folder.trials.trials())
    say(f"{folder.path}: going on with a search of {done} trials.", quiet)
    return folder


def _check_same(
    folder: TuningFolder, corpus: Corpus, recipe: Recipe, chosen: dict[str, Any], minutes: float | None
) -> None:
    task, other = folder.task, ""
    if (task.corpus_sha256, task.format) != (corpus.sha256, corpus.format.to_dict()):
        other = f"on another text, or read in another way: {task.corpus}, sha256 {task.corpus_sha256[:12]} ..."
    elif task.fixed != chosen:
        fixed = " ".join(f"{name}={value}" for name, value in task.fixed.items()) or "nothing"
        other = f"with other settings fixed: {fixed}"
    elif task.recipe != recipe.name:
        other = f"around another recipe: {task.recipe}"
    elif minutes is not None and minutes != task.plan.minutes:
        other = f"with other minutes: {task.plan.minutes:g}"
    if other:
        raise RunError(
            f"The search in {folder.path} is {other}. Its trials cannot be compared with those asked for now: name "
            "another folder with -o, or none."
        )


def _work(corpus: Corpus, output: str, device: str, until: float, checked: int | None) -> None:
    """Do what a process of several does: search, or make one check."""
    from charloom._util.processes import end_with_parent
    from charloom.cli.signals import Stopped, stop_flag
    from charloom.tuning.plan import warm_up
    from charloom.tuning.search import check, search
    from charloom.tuning.storage import open_tuning_folder

    end_with_parent(lifeline=0)  # standard input: nothing is ever sent
    folder = open_tuning_folder(Path(output))
    warm_up(folder.task, corpus, device)
    with stop_flag() as flag:
        flag.can_wait = True
        trials = (
            search(folder, corpus, until, device, flag)
            if checked is None
            else check(folder, corpus, checked, device, flag)
        )
        for _ in trials:
            pass
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)


def _show(asked: Search, hours: float, as_json: bool, quiet: bool) -> None:
    """Search, and say what comes of it.

    Raises:
        Stopped: If a signal ended it.
    """
    from charloom.cli.signals import Stopped, stop_flag
    from charloom.cli.tuning_result import say_result, write_result
    from charloom.terminal.tuning_view import make_tuning_view

    began = time.time()
    reserved = _seconds_to_check(asked, hours)
    with stop_flag() as flag:
        flag.can_wait = True
        with make_tuning_view(asked.folder, asked.until, reserved, quiet) as view:
            for trial in _trials(asked, asked.until - reserved, flag):
                view.show(trial)
            if reserved:
                for trial in _checks(asked, flag):
                    view.show(trial)
    found = write_result(asked.folder, asked.sources, time.time() - began, flag.signal_number is not None)
    say_result(found, quiet)
    if as_json:
        print_json(found)
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)


def _seconds_to_check(asked: Search, hours: float) -> float:
    from charloom.tuning.plan import seconds_to_check
    from charloom.tuning.trials import outcome

    found = outcome(asked.folder.trials.trials(), ())
    has_found = found.plan is not None and found.best != found.plan
    return seconds_to_check(asked.folder.task, asked.workers, hours, has_found)


def _trials(asked: Search, until: float, flag: StopFlag) -> Iterator[Trial]:
    from charloom.tuning.plan import warm_up
    from charloom.tuning.search import search
    from charloom.tuning.workers import follow

    if asked.workers == 1:
        warm_up(asked.folder.task, asked.corpus, asked.device)
        return search(asked.folder, asked.corpus, until, asked.device, flag)
    commands = [_worker_command(asked, until)] * asked.workers
    return follow(asked.folder.trials, commands, asked.workers, flag)


def _checks(asked: Search, flag: Callable[[], bool]) -> Iterator[Trial]:
    """Train the best and the plan once more, unless they are the same."""
    from charloom.tuning.search import check
    from charloom.tuning.trials import outcome
    from charloom.tuning.workers import follow

    found = outcome(asked.folder.trials.trials(), asked.folder.checks.trials())
    if found.plan is None or found.best is None or found.is_checked or flag():
        return
    numbers = [trial.number for trial in (found.best, found.plan)]
    if asked.workers > 1:
        commands = [_worker_command(asked, asked.until, number) for number in numbers]
        yield from follow(asked.folder.checks, commands, asked.workers, flag)
        return
    for number in numbers:
        if not flag():
            yield from check(asked.folder, asked.corpus, number, asked.device, flag)


def _worker_command(asked: Search, until: float, checked: int | None = None) -> list[str]:
    """Return the arguments of a process that helps."""
    given = asked.corpus.format.to_dict()
    words = [f"--{name}={value}" for name, value in given.items() if isinstance(value, str) and value]
    words += [f"--{name}" for name, value in given.items() if value is True]
    words += [] if checked is None else [f"--check={checked}"]
    place = ["-o", str(asked.folder.path), "--device", asked.device, "--hours=1", f"--as-worker={until!r}", "--quiet"]
    return ["tune", *place, *words, "--", *asked.sources]
