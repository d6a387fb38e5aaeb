"""Command-line options for reading text files, shared by all commands that read a corpus."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.terminal.messages import print_notices, unescape

_OPTIONS = {
    "encoding": click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text files."),
    "newlines": click.option(
        "--newlines",
        metavar="keep|lf",
        default="keep",
        show_default=True,
        help="Keep line endings, or convert them to LF.",
    ),
    "normalize": click.option(
        "--normalize",
        metavar="none|nfc",
        default="none",
        show_default=True,
        help="Unicode normalization. nfc combines a letter and its accents into one character.",
    ),
    "unit": click.option(
        "--unit",
        metavar="char|byte",
        default="char",
        show_default=True,
        help="Model characters or bytes. Bytes work for any file, and no input is ever unknown.",
    ),
    "boundary": click.option(
        "--boundary",
        metavar="TEXT",
        default="",
        help="Insert this text between files, so that the model learns where files end.",
    ),
    "lines": click.option(
        "--lines", is_flag=True, help="Treat each line as an independent text, such as a name, title or log line."
    ),
    "column": click.option(
        "--column", metavar="NAME", help="With --lines: the column to read from CSV, TSV or JSON Lines files."
    ),
}
TEXT_OPTIONS = tuple(_OPTIONS)
"""Names of all text options, which are also the fields of ``TextFormat``."""

_DECODING_OPTIONS = ("encoding", "newlines", "normalize")


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all text options to a command that trains on a corpus. The command receives them as ``text_format``."""
    return _with_options(command, TEXT_OPTIONS)


def decoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the decoding options to a command that reads a text with a model, which determines the other text options.

    The command receives them as ``text_format``.
    """
    return _with_options(command, _DECODING_OPTIONS)


def _with_options(command: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_format(**options: Any) -> Any:
        values = {name: options.pop(name) for name in names}
        if values.get("boundary"):
            values["boundary"] = unescape(values["boundary"])
        return command(text_format=TextFormat(**values), **options)

    decorated: Callable[..., Any] = with_format
    for name in reversed(names):
        decorated = _OPTIONS[name](decorated)
    return decorated


def override_text_format(text_format: TextFormat, saved: TextFormat) -> TextFormat:
    """Return a run's saved text format with the options that were given on the command line replaced.

    Args:
        text_format: Values of all text options of the current command, defaults included.
        saved: The text format of the run.
    """
    context = click.get_current_context()
    overrides = {
        name: getattr(text_format, name)
        for name in TEXT_OPTIONS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    return type(saved)(**{**saved.to_dict(), **overrides})


def read_corpus(sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Read a corpus with a progress bar, and print its notices to stderr."""
    from charloom.terminal.progress_bar import progress_bar  # start-up time: imports rich

    with progress_bar("Loading", quiet, in_bytes=True) as report:
        corpus = Corpus.read(list(sources), progress=report, text_format=text_format)
    print_notices(corpus.notices, quiet)
    return corpus
