"""``charloom train``: from a text file to a model."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.console import encoding_option, json_option, print_json, print_text, quiet_option, say_all
from charloom.errors import SettingsError

if TYPE_CHECKING:
    from charloom.plan.recipes import Recipe
    from charloom.text.corpus import Corpus


class _TrainCommand(click.Command):
    """A command whose help ends with every setting, taken from where the settings are declared."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from charloom.plan.recipes import RECIPES
        from charloom.plan.settings import describe_setting, setting_fields

        with formatter.section("Recipes"):
            formatter.write_dl([(recipe.name, recipe.about) for recipe in RECIPES.values()])
        with formatter.section("Settings for --set and recipe files [default of auto]"):
            formatter.write_dl([(item.name, describe_setting(item)) for item in setting_fields()])


@click.command("train", cls=_TrainCommand)
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
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
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and stop.")
@encoding_option
@json_option
@quiet_option
def command(
    sources: tuple[str, ...],
    output: str | None,
    recipe_name: str,
    assignments: tuple[str, ...],
    device: str,
    only_plan: bool,
    encoding: str,
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
    """
    from charloom.cli.reading import read_corpus
    from charloom.model.run_folder import check_new_run_folder
    from charloom.training.torch_extra import require_torch

    recipe = choose_recipe(recipe_name, assignments, named)
    check_new_run_folder(output)
    require_torch()
    corpus = read_corpus(sources, encoding, quiet)
    if only_plan:
        _print_plan(corpus, recipe, device, as_json, quiet)
    else:
        _train(corpus, recipe, output, device, as_json, quiet)


def choose_recipe(name: str, assignments: tuple[str, ...], named: dict[str, float | None]) -> Recipe:
    """Return the recipe with everything changed that the command line changes.

    Raises:
        SettingsError: If a setting is unknown, out of range, or given twice.
    """
    from charloom.plan.recipes import load_recipe, parse_assignments

    recipe = load_recipe(name)
    values: dict[str, Any] = parse_assignments(assignments)
    for key, number in named.items():
        if number is not None:
            if key in values:
                raise SettingsError(f"{key} was given twice: as --{key.replace('_', '-')} and with --set.")
            values[key] = number
    lengths = [f"--{key}" for key in ("minutes", "epochs", "steps") if key in values]
    if len(lengths) > 1:
        raise SettingsError(f"Give one of --minutes, --epochs and --steps, not {' and '.join(lengths)}.")
    for key in ("minutes", "epochs", "steps"):
        if key in values and not isinstance(values[key], str) and not values[key] > 0:
            raise SettingsError(f"--{key} must be above 0; got {values[key]}.")
    return recipe.with_values(values)


def _train(corpus: Corpus, recipe: Recipe, output: str | None, device: str, as_json: bool, quiet: bool) -> None:
    from charloom.cli.stopping import Stopped, stop_flag
    from charloom.cli.training_view import make_view
    from charloom.training.records import FinishRecord
    from charloom.training.run import run_training

    finish: FinishRecord | None = None
    with stop_flag() as flag, make_view(quiet) as view:
        for record in run_training(corpus, recipe, output, device, stop=flag):
            view.show(record)
            if isinstance(record, FinishRecord):
                finish = record
    if as_json and finish is not None:
        print_json(asdict(finish))
    if flag.signal_number is not None:
        raise Stopped(flag.signal_number)


def _print_plan(corpus: Corpus, recipe: Recipe, device: str, as_json: bool, quiet: bool) -> None:
    from charloom.training.preparation import first_evaluation, measure_step_seconds, prepare, resolve_plan

    began = time.perf_counter()
    ready = prepare(corpus, recipe, device)
    _, evaluation_seconds = first_evaluation(ready, ready.make_network())
    plan = resolve_plan(ready, began, evaluation_seconds)
    say_all(plan.notices, quiet)
    minutes = recipe.settings.minutes or plan.steps * measure_step_seconds(ready) / 60
    found = {
        "recipe": recipe.name,
        "parameters": ready.architecture.num_parameters,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "minutes": minutes,
        "device": ready.device.description,
        "settings": plan.settings.to_dict(),
    }
    if as_json:
        print_json(found)
        return
    head = {key: value for key, value in found.items() if key != "settings"} | {"minutes": f"{minutes:.1f}"}
    print_text("".join(f"{key:<18} {value}\n" for key, value in head.items()) + "\n")
    print_text("".join(f"{key:<18} {value}\n" for key, value in plan.settings.to_dict().items()))
