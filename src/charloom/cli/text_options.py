"""Options for reading files as text, shared by all commands that read a corpus."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.terminal.messages import say_all, unescaped

_OPTIONS = {
    "encoding": click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text files."),
    "newlines": click.option(
        "--newlines", metavar="keep|lf", default="keep", show_default=True, help="Keep line ends, or make them LF."
    ),
    "normalize": click.option(
        "--normalize",
        metavar="none|nfc",
        default="none",
        show_default=True,
        help="With nfc, a letter and its accents become one character.",
    ),
    "unit": click.option(
        "--unit",
        metavar="char|byte",
        default="char",
        show_default=True,
        help="Learn characters, or bytes: any file at all, and nothing is unknown.",
    ),
    "boundary": click.option(
        "--boundary", metavar="TEXT", default="", help="Put between files, so that ends of texts are learned."
    ),
    "lines": click.option("--lines", is_flag=True, help="Every line is a text of its own: names, titles, log lines."),
    "column": click.option("--column", metavar="NAME", help="With --lines: of CSV, TSV or JSON lines, what to read."),
}
TEXT_OPTIONS = tuple(_OPTIONS)
"""Names of all of them, as ``TextFormat`` has them."""

_HOW_DECODED = ("encoding", "newlines", "normalize")


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options of a text that is learned; the command takes them as ``text_format``."""
    return _with_options(command, TEXT_OPTIONS)


def decoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a text that a model reads, which says the others; the command takes ``text_format``."""
    return _with_options(command, _HOW_DECODED)


def _with_options(command: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_format(**options: Any) -> Any:
        values = {name: options.pop(name) for name in names}
        if values.get("boundary"):
            values["boundary"] = unescaped(values["boundary"])
        return command(text_format=TextFormat(**values), **options)

    decorated: Callable[..., Any] = with_format
    for name in reversed(names):
        decorated = _OPTIONS[name](decorated)
    return decorated


def changed_on_command_line(text_format: TextFormat, saved: TextFormat) -> TextFormat:
    """Return how a run's text was read, with what was typed now in place of what was saved."""
    context = click.get_current_context()
    typed = {
        name: getattr(text_format, name)
        for name in TEXT_OPTIONS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    return type(saved)(**{**saved.to_dict(), **typed})


def read_corpus(sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Read a corpus for a command, with a progress bar; notices go to stderr."""
    from charloom.terminal.progress_bar import progress_bar  # imports rich, which most commands do not need

    with progress_bar("loading", quiet, in_bytes=True) as report:
        corpus = Corpus.read(list(sources), progress=report, text_format=text_format)
    say_all(corpus.notices, quiet)
    return corpus
