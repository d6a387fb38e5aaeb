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
from charloom.cli.text_options import TEXT_OPTIONS, override_text_format, read_corpus, text_options
from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError, SettingsError
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.file.run_folder import check_new_run_folder, find_model
from charloom.planning.cost import memory_bytes
from charloom.planning.recipes import RECIPES, Recipe, choose_recipe
from charloom.planning.settings import LENGTHS, check_lengths, describe_setting, setting_fields
from charloom.report.verdict import SHORT_TEXT, TEXT_LENGTH_ADVICE
from charloom.terminal.messages import (
    count_passes,
    format_duration,
    json_option,
    print_error,
    print_json,
    print_message,
    print_notices,
    print_text,
    quiet_option,
)
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, launched_by_torchrun
from charloom.training.events import FinishRecord, Record
from charloom.training.pipeline import (
    TrainingRequest,
    TrainingSetup,
    complete_plan,
    measure,
    measure_step_seconds,
    prepare,
)
from charloom.training.resume import SavedRun, open_run, resume_training

Observer = Callable[[Record], object]
"""A function that is called with every record of a training run."""

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
"""Parameters of the command that may be combined with ``--resume``."""


class _TrainCommand(click.Command):
    """The ``train`` command, whose help ends with generated lists of all recipes and settings."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Recipes"):
            formatter.write_dl([(recipe.name, recipe.about) for recipe in RECIPES.values()])
        with formatter.section("Settings for --set and recipe files [default in the recipe auto]"):
            formatter.write_dl([(item.name, describe_setting(item)) for item in setting_fields()])


@click.command("train", cls=_TrainCommand)
@click.argument("sources", nargs=-1, metavar="CORPUS...")
@click.option("-o", "--output", metavar="RUN", help="Run folder to create. [default: runs/<corpus>, or -2, -3 ...]")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE.toml",
    default="auto",
    show_default=True,
    help="Recipe: a named set of settings, or a TOML file.",
)
@click.option("--minutes", type=float, help="Training time in minutes, including evaluation and saving.")
@click.option("--epochs", type=int, help="Number of passes over the corpus.")
@click.option("--steps", type=int, help="Number of optimizer steps.")
@click.option("--seed", type=int, help="Random seed. [default: from the recipe]")
@click.option("--device", metavar="auto|cpu|cuda|mps", default="auto", show_default=True, help="Training device.")
@click.option(
    "--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Override a setting (listed below). Repeatable."
)
@click.option(
    "--val-fraction", type=float, help="Fraction of the text held out for validation. [default: from the recipe]"
)
@click.option(
    "--test-fraction", type=float, help="Fraction of the text reserved for testing and never used. [default: 0]"
)
@click.option("--init", "init_model", metavar="MODEL", help="Initialize the weights from this model.")
@click.option("--resume", "resumed", metavar="RUN", help="Resume this run.")
@click.option("--new-text", is_flag=True, help="With --resume: continue on a different corpus.")
@click.option("--live", is_flag=True, help="Serve a local web page with live training curves.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files to the run folder.")
@click.option("--plan", "only_plan", is_flag=True, help="Print the training plan and exit.")
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
    """Train a model on a text corpus.

    CORPUS is one or more text files, folders or globs, - for standard input, or a named corpus (shakespeare,
    python-docs). The run folder contains the best model, checkpoints, metrics and samples.

    \b
    charloom train my_book.txt --minutes 3
    charloom generate runs/my_book

    Ctrl-C saves a checkpoint and stops. --resume continues exactly where the run stopped. Add --minutes, --epochs or
    --steps to train for that much longer. The run remembers the path of its corpus; if the files have moved, pass
    their new path as CORPUS. Under torchrun, on one or more machines, the processes share every batch, and the first
    one writes the run folder.

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
    """Check that the given options can be combined.

    Raises:
        SettingsError: If they cannot.
        click.MissingParameter: If CORPUS is missing.
    """
    given = [
        parameter
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if context.params["only_plan"] and (context.params["live"] or context.params["tensorboard"]):
        raise SettingsError(
            "--plan cannot be combined with --live or --tensorboard, because it does not train.",
            code="conflicting_options",
            options=[p.opts[-1] for p in given if p.name in ("only_plan", "live", "tensorboard")],
        )
    if context.params["resumed"] is None:
        if context.params["new_text"]:
            raise SettingsError(
                "--new-text requires --resume RUN: it continues a run on a different corpus.",
                code="missing_option",
                option="--resume",
                required_by="--new-text",
            )
        if not context.params["sources"]:
            corpus = next(p for p in context.command.params if p.name == "sources")
            raise click.MissingParameter(ctx=context, param=corpus)
        return
    if not context.params["sources"] and any(p.name in TEXT_OPTIONS for p in given):
        text_options = [p.opts[-1] for p in given if p.name in TEXT_OPTIONS]
        raise SettingsError(
            f"{', '.join(text_options)} requires a CORPUS with --resume: without one, the run reads its text with its "
            "saved options.",
            code="missing_corpus",
            required_by=text_options,
        )
    conflicting = [p.opts[-1] for p in given if p.name not in _WITH_RESUME]
    if conflicting:
        raise SettingsError(
            f"{', '.join(conflicting)} cannot be combined with --resume, because a resumed run keeps its settings. "
            "To train with other settings, start a new run with --init RUN.",
            code="conflicting_options",
            options=["--resume", *conflicting],
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
    """Open a run, read its corpus or the one given, and return the records of the resumed training."""
    more = {key: value for key in LENGTHS if (value := named.get(key)) is not None}
    check_lengths(more)
    saved = open_run(run, process_group)
    if new_text and not sources:
        raise SettingsError(
            "--new-text requires a CORPUS: charloom train CORPUS --resume RUN --new-text.",
            code="missing_corpus",
            required_by=["--new-text"],
        )
    corpus = _resumed_corpus(saved, sources, text_format, quiet)
    return resume_training(saved, corpus, more, new_text, device, flag, flag.take_save, process_group)


def _resumed_corpus(saved: SavedRun, sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Read the corpus given on the command line, or by default that of the run."""
    if sources:
        return read_corpus(sources, override_text_format(text_format, saved.text_format), quiet)
    corpus = saved.read_corpus()
    print_notices(corpus.notices, quiet)
    return corpus


@contextmanager
def _joined_processes() -> Iterator[ProcessGroup]:
    """Join the process group of ``torchrun``, if it started this process. An error is reported by one process only.

    Raises:
        SystemExit: If an error occurred in several processes and another one reports it.
    """
    if not launched_by_torchrun():
        yield SINGLE_PROCESS
        return
    require_torch()
    from charloom.training.distributed.torchrun import join_process_group

    with join_process_group() as process_group:
        try:
            yield process_group
        except CharloomError as error:
            if process_group.is_first and process_group.should_report(error):
                raise
            if not process_group.is_first and process_group.should_report(error):
                print_error(f"process {process_group.rank + 1} of {process_group.size}, on {node()}: {error}")
            raise SystemExit(error.exit_code) from None


@contextmanager
def _observers(live: bool, tensorboard: bool, quiet: bool) -> Iterator[list[Observer]]:
    """Yield the observers for ``--live`` and ``--tensorboard``.

    Raises:
        MissingExtraError: If a required optional dependency is not installed.
    """
    observers: list[Observer] = []
    with ExitStack() as stack:
        if tensorboard:
            require_extra("--tensorboard", "tensorboard", "tensorboard")
            from charloom.training.tensorboard import TensorBoardLog  # imports TensorBoard, an extra

            observers.append(TensorBoardLog().take)
        if live:
            from charloom.serve.live import LivePage  # start-up time: imports the report

            page = LivePage()
            stack.enter_context(page.serve())
            print_message(f"Live page: {page.address}", quiet)
            observers.append(page.take)
        yield observers


def _show_training(
    records: Iterator[Record], flag: StopFlag, as_json: bool, quiet: bool, observers: Sequence[Observer]
) -> None:
    """Run the training and show its progress.

    Args:
        records: The records of the training. Iterating over them runs it.
        flag: The stop flag of the training.
        as_json: Whether to print the last record as JSON.
        quiet: Whether to suppress the progress display.
        observers: Functions to call with every record.

    Raises:
        Stopped: If a signal stopped the training.
    """
    from charloom.terminal.training_view import make_view  # imports rich

    with make_view(quiet) as view, handle_signals(flag):
        for record in records:
            flag.can_wait = True  # from now on the training checks the flag, and there is progress to save
            view.show(record)
            for observe in observers:
                observe(record)
    assert isinstance(record, FinishRecord)
    if as_json:
        print_json(asdict(record))
    if flag.signal_number is not None and record.interrupted:  # not if it arrived after the last step
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
    """Print the plan of a training run without running it."""
    began = time.perf_counter()
    setup = prepare(TrainingRequest(corpus, recipe, device, init, process_group=process_group, began=began))
    plan = complete_plan(setup, measure(setup))
    print_notices(plan.notices, quiet)
    seconds = plan.seconds or plan.steps * measure_step_seconds(setup, 60)
    settings = plan.settings.to_dict()
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
        "measured": True,
        "settings": settings,
    }
    if not process_group.is_first:
        return
    if as_json:
        print_json(result)
        return
    rows = [*_plan_rows(result, setup), ("", "")]
    rows += [(name, str(value)) for name, value in settings.items() if value and name != "steps"]
    print_text("".join(f"{name:<24} {value}".rstrip() + "\n" for name, value in rows))


def _plan_rows(plan: dict[str, Any], setup: TrainingSetup) -> Iterator[tuple[str, str]]:
    yield "recipe", plan["recipe"]
    yield "model", f"{setup.settings.in_words}, {plan['parameters']:,} parameters"
    short = f" (too short: {TEXT_LENGTH_ADVICE})" if len(setup.training) < SHORT_TEXT else ""
    yield "text", f"{len(setup.training):,} training characters, {len(setup.validation):,} held out{short}"
    duration = format_duration(60 * plan["minutes"])
    yield "planned", f"{plan['steps']:,} steps, {count_passes(plan['epochs'])}, about {duration} (measured)"
    yield "memory", f"{plan['memory_bytes'] / 1e9:.2g} GB"
    if plan["expected_bits_per_char"] is not None:
        low, high = plan["expected_bits_per_char"]
        expected = f"{low:.2f} to {high:.2f} expected  (n-gram baseline: {plan['ngram_bits_per_char']:.2f})"
        yield "bits per character", expected
    yield "device", plan["device"]
