"""Messages on stderr, and the product on stdout."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from math import isnan
from typing import Any, TypeVar

import click

from charloom._util.printable import escape_for_terminal

_HALVES = re.compile("[\ud800-\udfff]")

Command = TypeVar("Command", bound=Callable[..., Any])


def quiet_option(command: Command) -> Command:
    """Add ``--quiet``, which every command has."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def json_option(command: Command) -> Command:
    """Add ``--json``, which every command that has a result has."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def unescaped(text: str) -> str:
    """Return text with a line feed for \\n and a tab for \\t, which are hard to type in a shell."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def clock(seconds: float) -> str:
    """Return seconds as on a clock, minutes and seconds, from an hour on hours before them; "?" for NaN.

    >>> clock(59.6), clock(3661)
    ('1:00', '1:01:01')
    """
    if isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(share: float) -> str:
    """Return a share as it is said: 0.125 as 12.5 %."""
    return f"{100 * share:.1f} %"


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


def print_json_error(error: Mapping[str, Any]) -> None:
    """Write the description of a failure to stderr as one line of JSON.

    Args:
        error: ``code``, ``message`` and the error's data.
    """
    click.echo(json_text({"error": dict(error)}), err=True)


def print_json(result: dict[str, Any]) -> None:
    """Print the result of a command as one JSON object."""
    print_text(json_text(result, indent=2) + "\n")


def json_text(value: object, indent: int | None = None) -> str:
    """Return JSON that can be read; halves of characters are escaped, as there is no other way to write them."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return _HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_text(text: str) -> None:
    """Write a part of the product to stdout at once, as UTF-8 whatever the terminal's settings say."""
    sys.stdout.flush()
    sys.stdout.buffer.write(encode_text(text))
    sys.stdout.buffer.flush()


def encode_text(text: str) -> bytes:
    """Encode generated text as UTF-8. Lone surrogates that stand for bytes become those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def shown(text: str) -> str:
    """Return a text as it may go to stdout: on a terminal, what could move its cursor is shown, not sent."""
    return escape_for_terminal(text) if sys.stdout.isatty() else text
