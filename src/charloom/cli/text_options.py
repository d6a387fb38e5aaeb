"""Command-line options for reading text files, shared by all commands that read a corpus."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat, TextRules
from charloom.terminal.messages import print_notices, unescape

_OPTIONS = {
    "encoding": click.option(
        "--encoding",
        metavar="NAME|GLOB=NAME",
        default=("utf-8",),
        multiple=True,
        help="Encoding of the text files, or of those that match a glob pattern. Repeatable. [default: utf-8]",
    ),
    "errors": click.option(
        "--errors",
        metavar="strict|replace|skip",
        default="strict",
        show_default=True,
        help="Treatment of undecodable bytes: an error, U+FFFD for each, or omit them.",
    ),
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
    "records": click.option(
        "--records",
        metavar="SEPARATOR|blank|file",
        default="",
        help="Treat the parts between separator lines such as %, between blank lines, or whole files as independent "
        "texts, such as poems, recipes or chat turns.",
    ),
    "column": click.option(
        "--column",
        metavar="NAME",
        help="The column to read from CSV, TSV, JSON Lines or JSON files. Each value is an independent text.",
    ),
    "label": click.option(
        "--label", metavar="NAME", help="With --column: the column with the label of each text, such as its genre."
    ),
    "table": click.option(
        "--table",
        metavar="auto|csv|tsv|jsonl|json",
        default="auto",
        show_default=True,
        help="With --column: the format of the files. auto uses the suffix of the file name.",
    ),
    "delimiter": click.option(
        "--delimiter",
        metavar="CHARACTER",
        default="",
        help="With --column: the delimiter of CSV and TSV files. [default: detected]",
    ),
    "quoting": click.option(
        "--quoting",
        metavar="auto|none|standard",
        default="auto",
        show_default=True,
        help="With --column: whether quotation marks enclose fields. auto is standard for CSV, none for TSV.",
    ),
}
TEXT_OPTIONS = tuple(_OPTIONS)
"""Names of all text options, which are also the fields of ``TextFormat``; ``encoding`` sets ``encodings``, too."""

_ESCAPED = {"boundary", "records", "delimiter"}  # options in which escapes such as \n and \t are replaced
_DECODING_OPTIONS = ("encoding", "errors", "newlines", "normalize")
_SCORING_OPTIONS = (*_DECODING_OPTIONS, "records", "column", "label", "table", "delimiter", "quoting")


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all text options to a command that trains on a corpus. The command receives them as ``text_format``."""
    return _with_options(command, TEXT_OPTIONS)


def decoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the decoding options to a command that reads a text with a model, which determines the other text options.

    The command receives them as ``text_format``.
    """
    return _with_options(command, _DECODING_OPTIONS)


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading texts that a model scores; see ``with_model_rules`` for their defaults.

    The command receives them as ``text_format``.
    """
    return _with_options(command, _SCORING_OPTIONS)


def with_model_rules(text_format: TextFormat, rules: TextRules) -> TextFormat:
    """Return the text format for a text that a model reads: the model's rules, except for the options that were given.

    Args:
        text_format: Values of the text options of the current command, defaults included.
        rules: How the model expects its texts.
    """
    given = _given_options()
    values: dict[str, Any] = {}
    if "newlines" not in given:
        values["newlines"] = rules.newlines
    if "normalize" not in given:
        values["normalize"] = rules.normalize
    if not text_format.is_records:
        values |= {"lines": rules.lines, "records": rules.records or ""}
    return replace(text_format, **values)


def _given_options() -> set[str]:
    context = click.get_current_context()
    return {name for name in TEXT_OPTIONS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def _with_options(command: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_format(**options: Any) -> Any:
        values = {name: options.pop(name) for name in names}
        for name in _ESCAPED.intersection(names):
            values[name] = unescape(values[name])
        values |= _encodings(values["encoding"])
        return command(text_format=TextFormat(**values), **options)

    decorated: Callable[..., Any] = with_format
    for name in reversed(names):
        decorated = _OPTIONS[name](decorated)
    return decorated


def _encodings(given: Sequence[str]) -> dict[str, Any]:
    """Return the fields ``encoding`` and ``encodings`` for the values of ``--encoding``; the last plain name counts."""
    rules = [tuple(value.rsplit("=", 1)) for value in given if "=" in value]
    names = [value for value in given if "=" not in value]
    return {"encoding": names[-1] if names else "utf-8", "encodings": tuple(rules)}


def override_text_format(text_format: TextFormat, saved: TextFormat) -> TextFormat:
    """Return a run's saved text format with the options that were given on the command line replaced.

    Args:
        text_format: Values of all text options of the current command, defaults included.
        saved: The text format of the run.
    """
    given = _given_options()
    if "encoding" in given:
        given.add("encodings")
    return replace(saved, **{name: getattr(text_format, name) for name in given})


def read_corpus(sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Read a corpus with a progress bar, and print its notices to stderr."""
    from charloom.terminal.progress_bar import progress_bar  # start-up time: imports rich

    with progress_bar("Loading", quiet, in_bytes=True) as report:
        corpus = Corpus.read_arguments(list(sources), text_format, report)
    print_notices(corpus.notices, quiet)
    return corpus
