"""The command ``charloom``: finds subcommands, and turns errors into exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from charloom._util.memory import is_out_of_memory
from charloom._util.suggest import did_you_mean, suggestions
from charloom._version import __version__
from charloom.cli.signals import Stopped
from charloom.errors import CharloomError
from charloom.terminal.messages import print_json_error, say_error

COMMANDS = {
    "train": "Train a model on a text.",
    "generate": "Write text with a trained model.",
    "score": "Measure how well a model predicts a text: nats and bits per character.",
    "report": "Show what a model learned: curves, surprisal, neurons, gates, in one page.",
    "corpus": "Look at a text before training on it.",
    "info": "Show what a model is: layers, parameters, vocabulary, losses, provenance.",
    "tune": "Search for settings that are better than the plan's on a text.",
    "serve": "Serve models as OpenAI's completions API, and a page to write with them.",
    "export": "Write a model in another form.",
    "import": "Convert a Keras model to a charloom model.",
    "push": "Put a model on the Hugging Face Hub, with a card that says what it is.",
    "pull": "Fetch a model from the Hugging Face Hub.",
    "doctor": "Say which versions, device and instructions are used, and what would be faster.",
}
"""Each command with its line in ``charloom --help``, in the order in which they are used.

Each is a module of ``charloom.cli.commands``, which is imported only when the command runs.
"""

_MODULES = {"import": "import_"}  # a keyword of Python cannot name a module


class _UnknownCommand(click.UsageError):
    """The first word of the command line is not a command."""

    def __init__(self, command: str, ctx: click.Context) -> None:
        hint = did_you_mean(command, COMMANDS)
        super().__init__(f"Unknown command {command!r}.{hint} The commands are {', '.join(COMMANDS)}.", ctx)
        self.command, self.suggestions = command, suggestions(command, COMMANDS)


class _Commands(click.Group):
    """Imports a command when it runs, and suggests the nearest one for an unknown name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise _UnknownCommand(args[0], ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = import_module(f"charloom.cli.commands.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="charloom %(version)s")
def group() -> None:
    """Train a character-level language model on your own text, and generate from it.

    \b
    charloom train my_book.txt --minutes 3
    charloom generate runs/my_book -p "Once "
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done; 2: invalid input; 4: the loss or the weights became NaN or infinite; 128 + n: stopped by signal n;
    1: any other error. With ``--json``, the last line on stderr describes a failure as a JSON object.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in arguments
    try:
        group.main(list(arguments), prog_name="charloom", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            print_json_error(_click_error(error))
        else:
            error.show()
        return error.exit_code
    except CharloomError as error:
        return _fail(error, as_json)
    except Stopped as stopped:
        return _interrupted(stopped.signal_number, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(signal.SIGINT, as_json)
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a defect of charloom: show the traceback
        return _fail(
            CharloomError(
                "Out of memory. Close other programs, or train with a smaller hidden_size or batch_size (--set).",
                code="out_of_memory",
            ),
            as_json,
        )
    except OSError as error:
        name = os.fspath(error.filename) if error.filename else None
        reason = error.strerror or str(error)
        return _fail(
            CharloomError(f"Cannot access {name or 'a file'}: {reason}.", code="file_error", path=name, reason=reason),
            as_json,
        )
    return 0


def _fail(error: CharloomError, as_json: bool) -> int:
    """Report an error and return its exit code."""
    if as_json:
        print_json_error(error.to_dict())
    else:
        say_error(str(error))
    return error.exit_code


def _interrupted(signal_number: int, as_json: bool) -> int:
    """Return the exit code after a signal; with ``as_json``, report the signal."""
    if as_json:
        name = signal.Signals(signal_number).name
        print_json_error({"code": "interrupted", "message": f"Stopped by {name}.", "signal": name})
    return 128 + signal_number


def _click_error(error: click.ClickException) -> dict[str, Any]:
    """Describe an error that click found in the command line, such as an unknown option."""
    data: dict[str, Any] = {"code": "invalid_command_line", "message": error.format_message()}
    match error:
        case click.NoSuchOption():
            data |= {"code": "unknown_option", "option": error.option_name}
            data["suggestions"] = list(error.possibilities or ())
        case _UnknownCommand():
            data |= {"code": "unknown_command", "command": error.command, "suggestions": error.suggestions}
        case click.MissingParameter():
            data |= {"code": "missing_argument", "parameter": error.param.name if error.param else None}
        case click.BadParameter():
            data |= {"code": "invalid_option_value", "parameter": error.param.name if error.param else None}
    return data


def _forget_stdout() -> None:
    """Point stdout away, so that Python's flush at exit does not complain about the reader that left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
