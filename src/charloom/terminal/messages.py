"""Print results to stdout and messages to stderr."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from math import isfinite, isnan
from typing import Any, TextIO, TypeVar

import click

from charloom._util.printable import escape_for_terminal
from charloom.errors import InputError

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_ESCAPES = re.compile(r"\\([\\nrt])|((?:\\u[0-9a-fA-F]{1,4})+)")
_CHARACTERS = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}

Command = TypeVar("Command", bound=Callable[..., Any])


def quiet_option(command: Command) -> Command:
    """Add the option ``--quiet`` to a command."""
    return click.option("-q", "--quiet", is_flag=True, help="Print only errors and results.")(command)


def json_option(command: Command) -> Command:
    """Add the option ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")(command)


def unescape(text: str) -> str:
    r"""Replace escapes in a text from the command line, by one rule for all options that take text.

    ``\n`` is a line feed, ``\r`` a carriage return, ``\t`` a tab, ``\\`` a backslash, and ``\uXXXX`` the UTF-16 code
    unit with four hexadecimal digits; a character above U+FFFF is a surrogate pair, as in JSON. Any other backslash
    stays unchanged.

    Raises:
        InputError: If ``\u`` is followed by one to three hexadecimal digits, or an escape is half a surrogate pair.

    >>> unescape(r"a\tb \\newline \ud83d\ude00 \q") == "a\tb \\newline \U0001f600 \\q"
    True
    """
    return _ESCAPES.sub(_replace_escape, text)


def _replace_escape(match: re.Match[str]) -> str:
    if match[1]:
        return _CHARACTERS[match[1]]
    escape, units = match[0], match[2].split("\\u")[1:]
    if any(len(unit) < 4 for unit in units):
        raise InputError(
            f"Incomplete escape in {match.string!r}: \\u requires four hexadecimal digits, such as \\u00e9. "
            "For a backslash and a u, type \\\\u.",
            code="invalid_escape",
            escape=escape,
            text=match.string,
        )
    try:
        return bytes.fromhex("".join(units)).decode("utf-16-be")
    except UnicodeDecodeError:
        raise InputError(
            f"The escape {escape} in {match.string!r} contains half a surrogate pair, which is not a character. "
            "Type both halves, such as \\ud83d\\ude00, or the character itself.",
            code="invalid_escape",
            escape=escape,
            text=match.string,
        ) from None


def format_duration(seconds: float) -> str:
    """Format a duration with its unit: seconds, ``m:ss min`` or ``h:mm:ss h``; "?" for NaN.

    >>> format_duration(34.7), format_duration(59.6), format_duration(3661)
    ('35 s', '1:00 min', '1:01:01 h')
    """
    if isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def count_passes(passes: float) -> str:
    """Return a number of passes over the text in words, such as "1 pass" or "8.3 passes"."""
    return f"{passes:.2g} {'pass' if passes == 1 else 'passes'} over the text"


def format_percent(share: float) -> str:
    """Format a fraction as a percentage: 0.125 becomes ``12.5 %``."""
    return f"{100 * share:.1f} %"


USUAL = "usual by chance:"
"""Precedes the share that is copied in held-out text."""
USUAL_MEANS = "Usual by chance: the same share of the author's own held-out text."
"""Explains ``USUAL``."""


def print_message(message: str, quiet: bool = False) -> None:
    """Print a message to stderr, unless ``quiet``."""
    if not quiet:
        click.echo(message, err=True)


def print_notices(messages: Iterable[str], quiet: bool = False) -> None:
    """Print notices to stderr, one per line, each prefixed with "note: "."""
    for message in messages:
        print_message(f"note: {message}", quiet)


def print_error(message: str) -> None:
    """Print an error message to stderr, prefixed with "Error: "."""
    click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True)


def print_json_error(error: Mapping[str, Any]) -> None:
    """Print an error to stderr as one line of JSON.

    Args:
        error: ``code``, ``message`` and the error's data.
    """
    click.echo(json_text({"error": _replace_non_finite(dict(error))}), err=True)


def _replace_non_finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by the strings "nan", "inf" and "-inf"."""
    match value:
        case float() if not isfinite(value):
            return str(value)
        case dict():
            return {key: _replace_non_finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_replace_non_finite(item) for item in value]
    return value


def print_json(result: dict[str, Any]) -> None:
    """Print the result of a command to stdout as a JSON object."""
    print_text(json_text(result, indent=2) + "\n")


def json_text(value: object, indent: int | None = None) -> str:
    """Encode a value as readable JSON. Only lone surrogates, which UTF-8 cannot encode, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return _LONE_SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def require_stdout() -> None:
    """Raise ``InputError`` if standard output was closed when the command started (``>&-`` in a shell)."""
    if sys.stdout is None:
        raise InputError(
            "Standard output is closed, so the result cannot be printed. Redirect it to a file or /dev/null instead.",
            code="stdout_closed",
        )


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is open and connected to a terminal."""
    return stream is not None and stream.isatty()


def print_text(text: str) -> None:
    """Write text to stdout and flush it. The encoding is always UTF-8, regardless of the locale.

    Raises:
        InputError: If standard output is closed.
    """
    require_stdout()
    sys.stdout.flush()
    sys.stdout.buffer.write(encode_text(text))
    sys.stdout.buffer.flush()


def encode_text(text: str) -> bytes:
    """Encode generated text as UTF-8. Surrogate escapes (U+DC80 to U+DCFF) become the raw bytes that they represent."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def escape_for_stdout(text: str) -> str:
    """Escape control characters in text for stdout if stdout is a terminal, which would interpret them."""
    return escape_for_terminal(text) if is_terminal(sys.stdout) else text
