"""The ``charloom`` command: dispatches subcommands and converts errors to exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from charloom._util.memory import is_out_of_memory
from charloom._util.suggest import ask_about, did_you_mean, suggestions
from charloom._version import __version__
from charloom.cli.signals import Stopped
from charloom.errors import CharloomError
from charloom.terminal.messages import print_error, print_json_error, require_stdout

COMMANDS = {
    "train": "Train a model on a text corpus.",
    "generate": "Generate text with a trained model.",
    "score": "Measure how well a model predicts a text, in bits per character.",
    "report": "Create an HTML report on what a model has learned.",
    "corpus": "Inspect a text corpus before training.",
    "info": "Show a model's layers, parameters, vocabulary, losses and provenance.",
    "tune": "Search for better training settings for a corpus.",
    "serve": "Start an OpenAI-compatible server with a web playground.",
    "export": "Export a model to another format.",
    "import": "Convert a Keras model to a charloom model.",
    "push": "Upload a model and its model card to the Hugging Face Hub.",
    "pull": "Download a model from the Hugging Face Hub.",
    "doctor": "Show installed versions, devices and the engine, and suggest improvements.",
}
"""The summary of each command in ``charloom --help``, in display order.

Each command is a module of ``charloom.cli.commands``, imported only when the command runs.
"""

_MODULES = {"import": "import_"}  # "import" is a Python keyword and cannot be a module name


class _UnknownCommand(click.UsageError):
    """The first argument is not a command."""

    def __init__(self, command: str, ctx: click.Context) -> None:
        hint = did_you_mean(command, COMMANDS)
        super().__init__(f"Unknown command {command!r}.{hint} Available commands: {', '.join(COMMANDS)}.", ctx)
        self.command, self.suggestions = command, suggestions(command, COMMANDS)


class _UnknownOption(click.NoSuchOption):
    """An option that the command does not have, with the option or setting that was probably meant."""

    def __init__(self, error: click.NoSuchOption) -> None:
        from charloom.inference.generation_options import OTHER_NAMES as GENERATION_NAMES
        from charloom.planning.settings import OTHER_NAMES, setting_fields, similar_settings  # start-up time

        command = error.ctx.command if error.ctx is not None else None
        options = [name for parameter in command.params for name in parameter.opts] if command is not None else []
        known = {name.lstrip("-").replace("-", "_"): name for name in options if name.startswith("--")}
        if "--set" in options:
            settings = (item.name for item in setting_fields())
            known = {name: f"--set {name}=VALUE" for name in settings} | known
        name = error.option_name.lstrip("-")
        self.suggestions = [known[meant] for meant in similar_settings(name, known, OTHER_NAMES | GENERATION_NAMES)]
        hint = ask_about(self.suggestions)
        super().__init__(error.option_name, f"No such option: {error.option_name}.{hint}", ctx=error.ctx)


class _Commands(click.Group):
    """A command group that imports each command on demand and suggests corrections for unknown names."""

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
    """Train character-level language models on your own text and generate text with them.

    \b
    charloom train my_book.txt --minutes 3
    charloom generate runs/my_book -p "Once "
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Exit codes: 0 for success; 2 for invalid input; 4 if the loss or the weights became NaN or infinite; 128 + n if
    signal n stopped the command; 1 for any other error. With ``--json``, a failed command writes a JSON object that
    describes the error as the last line of stderr.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in arguments
    try:
        if as_json:
            require_stdout()  # before a long computation whose result could not be printed
        group.main(list(arguments), prog_name="charloom", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            error = _UnknownOption(error)
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
            raise  # a bug in charloom: show the traceback
        return _fail(
            CharloomError(
                "Out of memory. Close other programs, or reduce hidden_size or batch_size with --set.",
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
    """Print an error to stderr and return its exit code."""
    if as_json:
        print_json_error(error.to_dict())
    else:
        print_error(str(error))
    return error.exit_code


def _interrupted(signal_number: int, as_json: bool) -> int:
    """Return the exit code for a signal. With ``as_json``, also print the signal to stderr as a JSON error."""
    if as_json:
        name = signal.Signals(signal_number).name
        print_json_error({"code": "interrupted", "message": f"Stopped by {name}.", "signal": name})
    return 128 + signal_number


def _click_error(error: click.ClickException) -> dict[str, Any]:
    """Convert a click error, such as an unknown option, to a JSON error."""
    data: dict[str, Any] = {"code": "invalid_command_line", "message": error.format_message()}
    match error:
        case _UnknownOption():
            data |= {"code": "unknown_option", "option": error.option_name, "suggestions": error.suggestions}
        case _UnknownCommand():
            data |= {"code": "unknown_command", "command": error.command, "suggestions": error.suggestions}
        case click.MissingParameter():
            data |= {"code": "missing_argument", "parameter": error.param.name if error.param else None}
        case click.BadParameter():
            data |= {"code": "invalid_option_value", "parameter": error.param.name if error.param else None}
    return data


def _forget_stdout() -> None:
    """Redirect stdout to the null device. Otherwise Python's flush at exit would fail on the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
