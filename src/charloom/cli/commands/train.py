"""``charloom train``: from a text file to a model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.distributed import several
from charloom.cli.text_options import text_options
from charloom.errors import SettingsError
from charloom.terminal.messages import json_option, print_json, print_text, quiet_option, say_all

if TYPE_CHECKING:
    from charloom.cli.observers import Watcher
    from charloom.cli.signals import StopFlag
    from charloom.data.corpus import Corpus
    from charloom.data.text_format import TextFormat
    from charloom.model.file.model_file import SavedModel
    from charloom.planning.recipes import Recipe
    from charloom.training.distributed.process_group import ProcessGroup
    from charloom.training.events import Record


class _TrainCommand(click.Command):
    """A command whose help ends with every setting, taken from where the settings are declared."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from charloom.planning.recipes import RECIPES
        from charloom.planning.settings import describe_setting, setting_fields

        with formatter.section("Recipes"):
            formatter.write_dl([(recipe.name, recipe.about) for recipe in RECIPES.values()])
        with formatter.section("Settings for --set and recipe files [default of auto]"):
            formatter.write_dl([(item.name, describe_setting(item)) for item in setting_fields()])


@click.command("train", cls=_TrainCommand)
@click.argument("sources", nargs=-1, metavar="CORPUS...")
@click.option("-o", "--output", metavar="RUN", help="The run folder, a new one. [default: runs/<corpus>, -2, -3 ...]")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE.toml",
    default="auto",
    show_default=True,
    help="A set of choices.",
)
@click.option("--minutes", type=float, help="Train this long, all included.")
@click.option("--epochs", type=int, help="Train for this many passes over the text.")
@click.option("--steps", type=int, help="Train for this many updates.")
@click.option("--seed", type=int, help="Decides everything random. [default: the recipe's]")
@click.option("--device", metavar="auto|cpu|cuda|mps", default="auto", show_default=True, help="Where to train.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Change a setting; see below.")
@click.option("--val-fraction", type=float, help="Share of the text held out. [default: the recipe's]")
@click.option("--test-fraction", type=float, help="Share held out and never looked at. [default: 0]")
@click.option("--init", "init_model", metavar="MODEL", help="Begin with the weights of this model.")
@click.option("--resume", "resumed", metavar="RUN", help="Go on with a run; see below.")
@click.option("--new-text", is_flag=True, help="With --resume: on another text.")
@click.option("--live", is_flag=True, help="Serve a page on this machine that follows the training.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the run folder.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and stop.")
@text_options
@json_option
@quiet_option
def command(
    sources: tuple[str, ...],
    output: str | None,
    recipe_name: str,
    assignments: tuple[str, ...],
    device: str,
    init_model: str | None,
    resumed: str | None,
    new_text: bool,
    live: bool,
    tensorboard: bool,
    only_plan: bool,
    text_format: TextFormat,
    as_json: bool,
    quiet: bool,
    **named: float | None,
) -> None:
    """Train a model on a text.

    CORPUS is a text file, several, a folder, a glob, - for standard input, or a named corpus: shakespeare,
    python-docs. The run folder that is left holds the best model, checkpoints, measurements and samples.

    \b
    charloom train my_book.txt --minutes 3
    charloom generate runs/my_book

    Ctrl-C stops a training after it has been saved. With --resume it goes on exactly where it stopped; with --minutes,
    --epochs or --steps, too, it is trained so much longer. It finds its text again by itself; if that has moved, name
    it as CORPUS. Processes that torchrun starts, on one machine or more, share every batch; the first of them writes.

    \b
    charloom train --resume runs/my_book
    torchrun --nproc-per-node 2 -m charloom train my_book.txt
    """
    from charloom._util.extras import require_torch
    from charloom.cli.commands.resume import check_options, resume
    from charloom.cli.read_corpus import read_corpus
    from charloom.model.file.run_folder import check_new_run_folder

    with several() as ranks:
        quiet = quiet or not ranks.is_first
        check_options(click.get_current_context())
        if resumed is not None:
            require_torch()
            start = resume(resumed, sources, text_format, named, new_text, device, quiet, ranks)
        else:
            recipe = choose_recipe(recipe_name, assignments, named)
            if ranks.is_first:
                check_new_run_folder(output)
            init = None if init_model is None else _load(init_model)
            require_torch()
            corpus = read_corpus(sources, text_format, quiet)
            if only_plan:
                _print_plan(corpus, recipe, device, init, as_json, quiet, ranks)
                return
            start = _beginning(corpus, recipe, output, device, init, ranks)
        _follow(start, live, tensorboard, as_json, quiet, ranks)


def _follow(
    start: Callable[[StopFlag], Iterator[Record]],
    live: bool,
    tensorboard: bool,
    as_json: bool,
    quiet: bool,
    ranks: ProcessGroup,
) -> None:
    """Show a training in every way that was asked for: the first of several processes does."""
    from charloom.cli.observers import watchers

    first = ranks.is_first
    with watchers(live and first, tensorboard and first, quiet) as told:
        show_training(start, as_json and first, quiet, told)


def _beginning(
    corpus: Corpus, recipe: Recipe, output: str | None, device: str, init: SavedModel | None, ranks: ProcessGroup
) -> Callable[[StopFlag], Iterator[Record]]:
    """Return what begins a new run, given the flag that signals set."""
    from charloom.training.run import run_training

    return lambda flag: run_training(corpus, recipe, output, device, flag, flag.take_save, init, ranks)


def choose_recipe(name: str, assignments: tuple[str, ...], named: dict[str, float | None]) -> Recipe:
    """Return the recipe with everything changed that the command line changes.

    Raises:
        SettingsError: If a setting is unknown, out of range, or given twice.
    """
    from charloom.planning.recipes import load_recipe, parse_assignments
    from charloom.planning.settings import check_lengths

    recipe = load_recipe(name)
    values: dict[str, Any] = parse_assignments(assignments)
    for key, number in named.items():
        if number is not None:
            if key in values:
                raise SettingsError(f"{key} was given twice: as --{key.replace('_', '-')} and with --set.")
            values[key] = number
    check_lengths(values)
    return recipe.with_values(values)


def _load(model: str) -> SavedModel:
    from charloom.model.file.model_file import load_model
    from charloom.model.file.run_folder import find_model

    return load_model(find_model(model))


def show_training(
    start: Callable[[StopFlag], Iterator[Record]], as_json: bool, quiet: bool, told: Sequence[Watcher] = ()
) -> None:
    """Show a training as it goes.

    Args:
        start: Returns its records, given the flag that signals set.
        as_json: Whether its end is printed.
        quiet: Whether nothing is shown.
        told: Who else takes its records.

    Raises:
        Stopped: If a signal ended it.
    """
    from charloom.cli.signals import Stopped, stop_flag
    from charloom.terminal.training_view import make_view
    from charloom.training.events import FinishRecord

    with make_view(quiet) as view, stop_flag() as flag:
        for record in start(flag):
            flag.can_wait = True  # from here on there is something to save
            view.show(record)
            for take in told:
                take(record)
    assert isinstance(record, FinishRecord)
    if as_json:
        print_json(asdict(record))
    if flag.signal_number is not None and record.interrupted:  # not if it came too late
        raise Stopped(flag.signal_number)


def _print_plan(
    corpus: Corpus,
    recipe: Recipe,
    device: str,
    init: SavedModel | None,
    as_json: bool,
    quiet: bool,
    ranks: ProcessGroup,
) -> None:
    from charloom.planning.cost import memory_bytes
    from charloom.training.stages import first_evaluation, measure_step_seconds, prepare, resolve_plan

    began = time.perf_counter()
    ready = prepare(corpus, recipe, device, init, ranks=ranks)
    _, evaluation_seconds = first_evaluation(ready)
    plan = resolve_plan(ready, began, evaluation_seconds)
    say_all(plan.notices, quiet)
    seconds = plan.seconds or plan.steps * measure_step_seconds(ready, 60)
    found = {
        "recipe": recipe.name,
        "parameters": ready.architecture.num_parameters,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "epochs": plan.steps / plan.steps_per_epoch,
        "minutes": seconds / 60,
        "memory_bytes": memory_bytes(plan.settings, len(ready.vocabulary)),
        "expected_bits_per_char": plan.expected_bits,
        "ngram_bits_per_char": None if ready.baselines.ngrams is None else ready.baselines.ngrams / math.log(2),
        "device": ready.device.description,
        "settings": plan.settings.to_dict(),
    }
    if not ranks.is_first:
        return
    if as_json:
        print_json(found)
        return
    print_text("".join(f"{name:<24} {value}\n" for name, value in _plan_rows(found)) + "\n")
    print_text("".join(f"{key:<24} {value}\n" for key, value in plan.settings.to_dict().items()))


def _plan_rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "recipe", found["recipe"]
    yield "parameters", f"{found['parameters']:,}"
    yield "steps", f"{found['steps']:,}"
    yield "epochs", f"{found['epochs']:.2f}  ({found['steps_per_epoch']:,} steps each)"
    yield "minutes", f"{found['minutes']:.1f}"
    yield "memory", f"{found['memory_bytes'] / 1e9:.1f} GB"
    if found["expected_bits_per_char"] is not None:
        low, high = found["expected_bits_per_char"]
        said = f"{low:.2f} to {high:.2f} expected  (a table of n-grams: {found['ngram_bits_per_char']:.2f})"
        yield "bits per character", said
    yield "device", found["device"]
