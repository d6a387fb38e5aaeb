"""``charloom generate -i``: write in turns with a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from charloom._util.suggest import did_you_mean
from charloom.errors import CharloomError, InputError
from charloom.inference.generation_options import check_length
from charloom.inference.session import Session
from charloom.terminal.messages import encode_text, print_text, say, say_error, unescaped

_HELP = """\
Type text and press Enter: it is added, and the model goes on. Enter alone lets it go on. \\n is a line feed.
Ctrl-C ends a continuation. Lines that begin with / are commands:
  /undo             take back what was added last
  /retry            take back the last continuation and write another
  /choices [N]      show N continuations (3); /pick K takes one of them
  /temperature T    how wild: 0.5 is safe, 1 as the model predicts
  /length N         characters in a continuation
  /text             show the whole text
  /save FILE        write it to a new file
  /quit             end (or Ctrl-D)"""


def write_together(session: Session, quiet: bool) -> None:
    """Read lines until the end and do what they say; an error is said, and the session goes on."""
    say(_HELP, quiet)
    print_text(session.text)
    while (line := _next_line()) is not None:
        try:
            if line.strip() == "/quit":
                break
            _obey(session, line)
        except CharloomError as error:
            say_error(str(error))
        except OSError as error:
            say_error(f"{error.filename} cannot be written: {error.strerror}.")


def _next_line() -> str | None:
    """Return a line, or None at the end."""
    try:
        line = input("\n> ") if sys.stdin.isatty() else sys.stdin.readline()
    except (EOFError, KeyboardInterrupt):
        return None
    return line.rstrip("\n") if line or sys.stdin.isatty() else None


def _obey(session: Session, line: str) -> None:
    if not line.startswith("/"):
        session.add(unescaped(line))
        _continue(session)
        return
    name, _, argument = line[1:].strip().partition(" ")
    if name not in _COMMANDS:
        hint = did_you_mean(name, _COMMANDS, "/{}".format)
        raise InputError(f"There is no command /{name}.{hint} /help shows them all.")
    _COMMANDS[name](session, argument.strip())


def _continue(session: Session) -> None:
    pieces = session.continue_text()
    try:
        for piece in pieces:
            print_text(piece)
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]  # what was shown stays part of the text
    print_text("\n")


def _undo(session: Session, _argument: str) -> None:
    session.undo()
    _show_end(session)


def _retry(session: Session, _argument: str) -> None:
    session.undo()
    _continue(session)


def _choices(session: Session, argument: str) -> None:
    for number, text in enumerate(session.choices(_whole(argument or "3")), 1):
        say(f"--- {number}")
        print_text(text + "\n")


def _pick(session: Session, argument: str) -> None:
    session.pick(_whole(argument))
    _show_end(session)


def _temperature(session: Session, argument: str) -> None:
    try:
        value = float(argument)
    except ValueError:
        raise InputError(f"/temperature takes a number; got {argument!r}.") from None
    session.set_sampling(temperature=value)


def _length(session: Session, argument: str) -> None:
    session.request = replace(session.request, length=check_length(_whole(argument)))


def _text(session: Session, _argument: str) -> None:
    print_text(session.text + "\n")


def _save(session: Session, argument: str) -> None:
    if not argument:
        raise InputError("/save takes the name of a file.")
    try:
        with Path(argument).open("xb") as file:
            file.write(encode_text(session.text))
    except FileExistsError:
        raise InputError(f"{argument} exists already. Name another file.") from None
    say(f"saved {argument}")


def _help(_session: Session, _argument: str) -> None:
    say(_HELP)


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


def _whole(argument: str) -> int:
    if not argument.isdecimal():
        raise InputError(f"A whole number is wanted here; got {argument!r}.")
    return int(argument)


def _show_end(session: Session) -> None:
    """Show the last lines of the text, so that one sees where it stands."""
    print_text("..." + session.text[-200:] + "\n" if len(session.text) > 200 else session.text + "\n")
