"""Interactive mode (``charloom generate -i``): the user and the model take turns extending a text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from charloom._util.suggest import did_you_mean, suggestions
from charloom.errors import CharloomError, InputError
from charloom.inference.generation_options import check_length
from charloom.inference.session import Session
from charloom.terminal.messages import encode_text, print_error, print_message, print_text, unescape

_HELP = """\
Type text and press Enter to add it and generate a continuation. Press Enter to continue without adding text.
Type \\n for a line feed. Press Ctrl-C to stop a continuation. Commands:
  /undo             Remove the last addition.
  /retry            Replace the last continuation with a new one.
  /choices [N]      Show N alternative continuations (default: 3); /pick K adds the K-th.
  /temperature T    Set the sampling temperature.
  /length N         Set the number of characters per continuation.
  /text             Print the whole text.
  /save FILE        Save the text to a new file.
  /help             Show this help.
  /quit             Quit (or press Ctrl-D)."""


def run_interactive(session: Session, quiet: bool) -> None:
    """Read and execute lines from standard input until the end. Errors are printed and do not end the session.

    Args:
        session: The text so far, and the model that continues it.
        quiet: Whether to omit the help text at the start.
    """
    print_message(_HELP, quiet)
    print_text(session.text)
    while (line := _read_line()) is not None:
        try:
            if line.strip() == "/quit":
                break
            _execute(session, line)
        except CharloomError as error:
            print_error(str(error))
        except OSError as error:
            print_error(f"Cannot write {error.filename}: {error.strerror}.")


def _read_line() -> str | None:
    """Read a line from standard input; None at the end of input."""
    try:
        line = input("\n> ") if sys.stdin.isatty() else sys.stdin.readline()
    except (EOFError, KeyboardInterrupt):
        return None
    return line.rstrip("\n") if line or sys.stdin.isatty() else None


def _execute(session: Session, line: str) -> None:
    """Run a command, or add a line of text and continue it."""
    if not line.startswith("/"):
        session.add(unescape(line))
        _continue(session)
        return
    name, _, argument = line[1:].strip().partition(" ")
    if name not in _COMMANDS:
        hint = did_you_mean(name, _COMMANDS, "/{}".format)
        raise InputError(
            f"Unknown command /{name}.{hint} Type /help for a list.",
            code="unknown_command",
            command=f"/{name}",
            suggestions=[f"/{name}" for name in suggestions(name, _COMMANDS)],
        )
    _COMMANDS[name](session, argument.strip())


def _continue(session: Session) -> None:
    pieces = session.continue_text()
    try:
        for piece in pieces:
            print_text(piece)
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]  # the characters generated so far stay in the text
    print_text("\n")


def _undo(session: Session, _argument: str) -> None:
    session.undo()
    _show_end(session)


def _retry(session: Session, _argument: str) -> None:
    session.undo()
    _continue(session)


def _choices(session: Session, argument: str) -> None:
    for number, text in enumerate(session.choices(_parse_count(argument or "3")), 1):
        print_message(f"--- {number}")
        print_text(text + "\n")


def _pick(session: Session, argument: str) -> None:
    session.pick(_parse_count(argument))
    _show_end(session)


def _temperature(session: Session, argument: str) -> None:
    try:
        value = float(argument)
    except ValueError:
        raise InputError(
            f"Invalid temperature {argument!r}: expected a number, such as 0.8.",
            code="invalid_setting",
            name="temperature",
            value=argument,
        ) from None
    session.set_sampling(temperature=value)


def _length(session: Session, argument: str) -> None:
    session.request = replace(session.request, length=check_length(_parse_count(argument)))


def _text(session: Session, _argument: str) -> None:
    print_text(session.text + "\n")


def _save(session: Session, argument: str) -> None:
    if not argument:
        raise InputError("/save requires a file name, such as /save story.txt.", code="missing_argument")
    try:
        with Path(argument).open("xb") as file:
            file.write(encode_text(session.text))
    except FileExistsError:
        raise InputError(
            f"{argument} already exists. Choose another file name.", code="file_exists", path=argument
        ) from None
    print_message(f"Saved {argument}")


def _help(_session: Session, _argument: str) -> None:
    print_message(_HELP)


_COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "undo": _undo,
    "retry": _retry,
    "choices": _choices,
    "pick": _pick,
    "temperature": _temperature,
    "length": _length,
    "text": _text,
    "save": _save,
    "help": _help,
}


def _parse_count(argument: str) -> int:
    if not argument.isdecimal():
        raise InputError(
            f"Invalid number {argument!r}: expected a whole number.", code="invalid_number", value=argument
        )
    return int(argument)


def _show_end(session: Session) -> None:
    """Print the last 200 characters of the text."""
    print_text("..." + session.text[-200:] + "\n" if len(session.text) > 200 else session.text + "\n")
