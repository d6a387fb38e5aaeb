"""``charloom train``: train a model on a text, or resume a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from platform import node
from typing import Any

import click
from click.core import ParameterSource

from charloom._util.extras import require_extra, require_torch
from charloom.cli.signals import StopFlag, Stopped, handle_signals
from charloom.cli.text_options import TEXT_OPTIONS, changed_on_command_line, read_corpus, text_options
from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, SettingsError
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.file.run_folder import check_new_run_folder, find_model
from charloom.planning.cost import memory_bytes
from charloom.planning.recipes import RECIPES, Recipe, choose_recipe
from charloom.planning.settings import LENGTHS, check_lengths, describe_setting, setting_fields
from charloom.terminal.messages import (
    json_option,
    print_json,
    print_text,
    quiet_option,
    say,
    say_all,
    say_error,
)
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, started_together
from charloom.training.events import FinishRecord, Record
from charloom.training.pipeline import TrainingRequest, complete_plan, measure, measure_step_seconds, prepare
from charloom.training.resume import SavedRun, open_run, resume_training

Observer = Callable[[Record], object]
"""Receives every record of a training."""

_WITH_RESUME = (
    "resumed",
    "sources",
    "new_text",
    "device",
    *TEXT_OPTIONS,
    "live",
    "tensorboard",
    "as_json",
    "quiet",
    *LENGTHS,
)
"""Parameters of the command that ``--resume`` allows."""


class _TrainCommand(click.Command):
    """A command whose help ends with every setting, taken from where the settings are declared."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
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
    with _joined_processes() as process_group:
        quiet = quiet or not process_group.is_first
        flag = StopFlag()
        _check_options(click.get_current_context())
        if resumed is not None:
            require_torch()
            records = _resume(resumed, sources, text_format, named, new_text, device, flag, quiet, process_group)
        else:
            recipe = choose_recipe(recipe_name, assignments, named)
            if process_group.is_first:
                check_new_run_folder(output)
            init = None if init_model is None else load_model(find_model(init_model))
            require_torch()
            corpus = read_corpus(sources, text_format, quiet)
            if only_plan:
                _print_plan(corpus, recipe, device, init, as_json, quiet, process_group)
                return
            from charloom.training.run import run_training

            records = run_training(corpus, recipe, output, device, flag, flag.take_save, init, process_group)
        with _observers(live and process_group.is_first, tensorboard and process_group.is_first, quiet) as observers:
            _show_training(records, flag, as_json and process_group.is_first, quiet, observers)


def _check_options(context: click.Context) -> None:
    """Raise ``SettingsError`` if options do not go together, and click's own error if there is no CORPUS."""
    given = [
        parameter
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if context.params["only_plan"] and (context.params["live"] or context.params["tensorboard"]):
        raise SettingsError("--live and --tensorboard follow a training, and --plan makes none. Leave out one of them.")
    if context.params["resumed"] is None:
        if context.params["new_text"]:
            raise SettingsError("--new-text goes with --resume RUN: it lets a run go on with another text.")
        if not context.params["sources"]:
            corpus = next(p for p in context.command.params if p.name == "sources")
            raise click.MissingParameter(ctx=context, param=corpus)
        return
    if not context.params["sources"] and any(p.name in TEXT_OPTIONS for p in given):
        raise SettingsError("A run knows how its text is read. Options that say so go with a CORPUS that is named.")
    wrong = [p.opts[-1] for p in given if p.name not in _WITH_RESUME]
    if wrong:
        raise SettingsError(
            f"{', '.join(wrong)} cannot be given with --resume: a run keeps its settings, so that it goes on exactly. "
            "To train on with others, begin a new run with --init RUN."
        )


def _resume(
    run: str,
    sources: Sequence[str],
    text_format: TextFormat,
    named: Mapping[str, float | None],
    new_text: bool,
    device: str,
    flag: StopFlag,
    quiet: bool,
    process_group: ProcessGroup,
) -> Iterator[Record]:
    """Open a run, read its text or the one that was named, and return the records of its training."""
    more = {key: value for key in LENGTHS if (value := named.get(key)) is not None}
    check_lengths(more)
    saved = open_run(run, process_group)
    if new_text and not sources:
        raise SettingsError("--new-text needs the text: charloom train TEXT --resume RUN --new-text")
    corpus = _resumed_corpus(saved, sources, text_format, quiet)
    return resume_training(saved, corpus, more, new_text, device, flag, flag.take_save, process_group)


def _resumed_corpus(saved: SavedRun, sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Return the text that was named, or else that of the run."""
    if sources:
        return read_corpus(sources, changed_on_command_line(text_format, saved.text_format), quiet)
    corpus = saved.read_corpus()
    say_all(corpus.notices, quiet)
    return corpus


@contextmanager
def _joined_processes() -> Iterator[ProcessGroup]:
    """Join the processes that ``torchrun`` started, if there are any; an error is reported by one of them.

    Raises:
        SystemExit: If an error occurred in several processes, and another one reports it.
    """
    if not started_together():
        yield SINGLE_PROCESS
        return
    require_torch()
    from charloom.training.distributed.torchrun import joined

    with joined() as process_group:
        try:
            yield process_group
        except CharloomError as error:
            if process_group.is_first and process_group.should_report(error):
                raise
            if not process_group.is_first and process_group.should_report(error):
                say_error(f"process {process_group.rank + 1} of {process_group.size}, on {node()}: {error}")
            raise SystemExit(error.exit_code) from None


@contextmanager
def _observers(live: bool, tensorboard: bool, quiet: bool) -> Iterator[list[Observer]]:
    """Yield what receives the records of a training besides the terminal.

    Raises:
        MissingExtraError: If what was requested is not installed.
    """
    observers: list[Observer] = []
    with ExitStack() as stack:
        if tensorboard:
            require_extra("--tensorboard", "tensorboard", "tensorboard")
            from charloom.training.tensorboard import TensorBoardLog  # imports TensorBoard, an extra

            observers.append(TensorBoardLog().take)
        if live:
            from charloom.serve.live import LivePage  # imports the report, which few trainings need

            page = LivePage()
            stack.enter_context(page.served())
            say(f"live: {page.address}", quiet)
            observers.append(page.take)
        yield observers


def _show_training(
    records: Iterator[Record], flag: StopFlag, as_json: bool, quiet: bool, observers: Sequence[Observer]
) -> None:
    """Run a training and show it.

    Args:
        records: The training, which starts when it is iterated.
        flag: Flag of the training, which signals set.
        as_json: Whether its last record is printed.
        quiet: Whether nothing is shown.
        observers: Receive every record.

    Raises:
        Stopped: If a signal ended it.
    """
    from charloom.terminal.training_view import make_view  # imports rich

    with make_view(quiet) as view, handle_signals(flag):
        for record in records:
            flag.can_wait = True  # from here on there is something to save
            view.show(record)
            for observe in observers:
                observe(record)
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
    process_group: ProcessGroup,
) -> None:
    """Print what a training would do: the pipeline up to its plan."""
    began = time.perf_counter()
    setup = prepare(TrainingRequest(corpus, recipe, device, init, process_group=process_group, began=began))
    plan = complete_plan(setup, measure(setup))
    say_all(plan.notices, quiet)
    seconds = plan.seconds or plan.steps * measure_step_seconds(setup, 60)
    result = {
        "recipe": recipe.name,
        "parameters": setup.architecture.num_parameters,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "epochs": plan.steps / plan.steps_per_epoch,
        "minutes": seconds / 60,
        "memory_bytes": memory_bytes(plan.settings, len(setup.vocabulary)),
        "expected_bits_per_char": plan.expected_bits,
        "ngram_bits_per_char": None if setup.baselines.ngrams is None else setup.baselines.ngrams / math.log(2),
        "device": setup.device.description,
        "settings": plan.settings.to_dict(),
    }
    if not process_group.is_first:
        return
    if as_json:
        print_json(result)
        return
    print_text("".join(f"{name:<24} {value}\n" for name, value in _plan_rows(result)) + "\n")
    print_text("".join(f"{key:<24} {value}\n" for key, value in plan.settings.to_dict().items()))


def _plan_rows(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "recipe", plan["recipe"]
    yield "parameters", f"{plan['parameters']:,}"
    yield "steps", f"{plan['steps']:,}"
    yield "epochs", f"{plan['epochs']:.2f}  ({plan['steps_per_epoch']:,} steps each)"
    yield "minutes", f"{plan['minutes']:.1f}"
    yield "memory", f"{plan['memory_bytes'] / 1e9:.1f} GB"
    if plan["expected_bits_per_char"] is not None:
        low, high = plan["expected_bits_per_char"]
        expected = f"{low:.2f} to {high:.2f} expected  (a table of n-grams: {plan['ngram_bits_per_char']:.2f})"
        yield "bits per character", expected
    yield "device", plan["device"]
