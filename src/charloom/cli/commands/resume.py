"""``charloom train --resume``: what goes together on the command line, and finding the text again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from charloom.cli.text_options import TEXT_OPTIONS, changed_on_command_line
from charloom.errors import SettingsError
from charloom.planning.settings import LENGTHS, check_lengths
from charloom.terminal.messages import say_all

if TYPE_CHECKING:
    from charloom.cli.signals import StopFlag
    from charloom.data.text_format import TextFormat
    from charloom.training.distributed.process_group import ProcessGroup
    from charloom.training.events import Record

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


def check_options(context: click.Context) -> None:
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


def resume(
    run: str,
    sources: Sequence[str],
    text_format: TextFormat,
    named: Mapping[str, float | None],
    new_text: bool,
    device: str,
    quiet: bool,
    ranks: ProcessGroup,
) -> Callable[[StopFlag], Iterator[Record]]:
    """Return what goes on with a run, given the flag that signals set.

    Args:
        run: The run folder.
        sources: Its text, or another; empty: where it was.
        text_format: Of those named, as far as it was typed; the rest is as it was.
        named: Of the lengths, at most one is not None: how much longer.
        new_text: Whether another text will do.
        device: Where; "auto": where it was.
        quiet: Whether nothing is said.
        ranks: The processes that train together.
    """
    from charloom.cli.read_corpus import read_corpus
    from charloom.training.resume import open_run, resume_training

    more = {key: value for key in LENGTHS if (value := named.get(key)) is not None}
    check_lengths(more)
    saved = open_run(run, ranks)
    if new_text and not sources:
        raise SettingsError("--new-text needs the text: charloom train TEXT --resume RUN --new-text")
    if sources:
        corpus = read_corpus(sources, changed_on_command_line(text_format, saved.text_format), quiet)
    else:
        corpus = saved.read_corpus()
        say_all(corpus.notices, quiet)
    return lambda flag: resume_training(saved, corpus, more, new_text, device, flag, flag.take_save, ranks)
