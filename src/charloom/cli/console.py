"""Talking to the person: notices and errors on stderr, the product alone on stdout."""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def quiet_option(command: Command) -> Command:
    """Add ``--quiet``, which every command has."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def json_option(command: Command) -> Command:
    """Add ``--json``, which every command that has a result has."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def encoding_option(command: Command) -> Command:
    """Add ``--encoding`` to a command that reads a text."""
    return click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text files.")(command)


def say(message: str, quiet: bool = False) -> None:
    """Write a notice to stderr."""
    if not quiet:
        click.echo(message, err=True)


def say_all(messages: Iterable[str], quiet: bool = False) -> None:
    """Write notices to stderr, one a line."""
    for message in messages:
        say(f"note: {message}", quiet)


def say_error(message: str) -> None:
    """Write an error to stderr."""
    click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True)


def print_json(result: dict[str, Any]) -> None:
    """Print the result of a command as one JSON object."""
    print_text(json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def print_text(text: str) -> None:
    """Write a part of the product to stdout at once, as UTF-8 whatever the terminal's settings say."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
    sys.stdout.buffer.flush()
