"""Interactive mode (``charloom generate -i``): the user and the model take turns extending a text."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from charloom._util.suggest import did_you_mean, suggestions
from charloom.cli.sample_output import append_text
from charloom.errors import CharloomError, InputError
from charloom.inference.generation_options import check_length
from charloom.inference.session import Session
from charloom.terminal.messages import encode_text, print_error, print_message, print_notices, print_text, unescape

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
  /keep [FILE]      Append the text to a collection of texts (default: kept.txt, then the last FILE).
  /help             Show this help.
  /quit             Quit (or press Ctrl-D)."""

_WITHOUT_ARGUMENT = ("undo", "retry", "text", "help", "quit")
_NOT_ADDED = (
    "The line was not added; on a terminal, the up arrow key brings it back. To skip or replace unknown characters, "
    "start again with --unknown skip or --unknown replace. "
)
_SHOWN = 200  # characters of the end of the text that are shown


@dataclass
class _Dialog:
    """An interactive session at the terminal.

    Attributes:
        session: The text so far, and the model that continues it.
        kept: The file that ``/keep`` appends to.
    """

    session: Session
    kept: Path = Path("kept.txt")


def run_interactive(session: Session, quiet: bool) -> None:
    """Read and execute lines from standard input until the end. Errors are printed and do not end the session.

    Args:
        session: The text so far, and the model that continues it.
        quiet: Whether to omit the help text at the start.
    """
    with contextlib.suppress(ImportError):  # not available on Windows, whose terminal has a history itself
        import readline  # noqa: F401  # the up arrow key brings back the lines that were entered
    print_message(_HELP, quiet)
    print_text(session.text)
    dialog = _Dialog(session)
    while (line := _read_line()) is not None:
        try:
            if line.strip() == "/quit":
                break
            _execute(dialog, line, quiet)
        except CharloomError as error:
            print_error(str(error))
        except OSError as error:
            print_error(f"Cannot write {error.filename or 'the file'}: {error.strerror or error}.")


def _read_line() -> str | None:
    """Read a line from standard input; None at the end of input."""
    try:
        line = input("\n> ") if sys.stdin.isatty() else sys.stdin.readline()
    except (EOFError, KeyboardInterrupt):
        return None
    return line.rstrip("\n") if line or sys.stdin.isatty() else None


def _execute(dialog: _Dialog, line: str, quiet: bool) -> None:
    """Run a command, or add a line of text and continue it."""
    if not line.startswith("/"):
        text = unescape(line)
        dialog.session.add(text, "line", _NOT_ADDED)
        print_notices(dialog.session.unknown_notices(text), quiet)
        _continue(dialog.session)
        return
    name, _, argument = line[1:].strip().partition(" ")
    argument = argument.strip()
    if argument and name in _WITHOUT_ARGUMENT:
        raise InputError(
            f"/{name} takes no argument, got {argument!r}. Enter only /{name}.",
            code="unexpected_argument",
            command=f"/{name}",
            argument=argument,
        )
    if name not in _COMMANDS:
        known = [*_COMMANDS, "quit"]
        hint = did_you_mean(name, known, "/{}".format)
        raise InputError(
            f"Unknown command /{name}.{hint} Type /help for a list.",
            code="unknown_command",
            command=f"/{name}",
            suggestions=[f"/{name}" for name in suggestions(name, known)],
        )
    _COMMANDS[name](dialog, argument)


def _continue(session: Session) -> None:
    pieces = session.continue_text()
    try:
        for piece in pieces:
            print_text(piece)
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]  # the characters generated so far stay in the text
    print_text("\n")


def _undo(dialog: _Dialog, _argument: str) -> None:
    dialog.session.undo()
    _show_end(dialog.session)


def _retry(dialog: _Dialog, _argument: str) -> None:
    dialog.session.undo()
    _continue(dialog.session)


def _choices(dialog: _Dialog, argument: str) -> None:
    for number, text in enumerate(dialog.session.choices(_parse_count(argument or "3")), 1):
        print_message(f"--- {number}")
        print_text(text + "\n")


def _pick(dialog: _Dialog, argument: str) -> None:
    dialog.session.pick(_parse_count(argument))
    _show_end(dialog.session)


def _temperature(dialog: _Dialog, argument: str) -> None:
    try:
        value = float(argument)
    except ValueError:
        raise InputError(
            f"Invalid temperature {argument!r}: expected a number, such as 0.8.",
            code="invalid_setting",
            name="temperature",
            value=argument,
        ) from None
    dialog.session.set_sampling(temperature=value)


def _length(dialog: _Dialog, argument: str) -> None:
    dialog.session.request = replace(dialog.session.request, length=check_length(_parse_count(argument)))


def _text(dialog: _Dialog, _argument: str) -> None:
    print_text(dialog.session.text + "\n")


def _save(dialog: _Dialog, argument: str) -> None:
    if not argument:
        raise InputError("/save requires a file name, such as /save story.txt.", code="missing_argument")
    try:
        with Path(argument).open("xb") as file:
            file.write(encode_text(dialog.session.text))
    except FileExistsError:
        raise InputError(
            f"{argument} already exists. Choose another file name, or append to the file with /keep {argument}.",
            code="file_exists",
            path=argument,
        ) from None
    print_message(f"Saved {argument}")


def _keep(dialog: _Dialog, argument: str) -> None:
    text = dialog.session.text
    if not text:
        raise InputError("Nothing to keep: the text is empty.", code="nothing_to_keep")
    kept = Path(argument) if argument else dialog.kept
    append_text(kept, text, dialog.session.rules)
    dialog.kept = kept
    print_message(f"Kept in {kept} ({len(text):,} characters)")


def _help(_dialog: _Dialog, _argument: str) -> None:
    print_message(_HELP)


_COMMANDS: dict[str, Callable[[_Dialog, str], None]] = {
    "undo": _undo,
    "retry": _retry,
    "choices": _choices,
    "pick": _pick,
    "temperature": _temperature,
    "length": _length,
    "text": _text,
    "save": _save,
    "keep": _keep,
    "help": _help,
}


def _parse_count(argument: str) -> int:
    if not argument.isdecimal():
        raise InputError(
            f"Invalid number {argument!r}: expected a whole number.", code="invalid_number", value=argument
        )
    return int(argument)


def _show_end(session: Session) -> None:
    """Print the end of the text."""
    text = session.text
    if len(text) > _SHOWN:
        print_message(f"--- end of the text, {_SHOWN} of {len(text):,} characters (the whole text: /text)")
        text = "..." + text[-_SHOWN:]
    print_text(text + "\n")
