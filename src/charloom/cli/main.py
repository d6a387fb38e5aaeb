"""The command ``charloom``: finds subcommands, and turns errors into exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from charloom._util.memory import is_out_of_memory
from charloom._util.suggest import did_you_mean
from charloom._version import __version__
from charloom.cli.signals import Stopped
from charloom.errors import CharloomError
from charloom.terminal.messages import say_error

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


class _Commands(click.Group):
    """Imports a command when it runs, and suggests the nearest one for an unknown name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"There is no command {args[0]!r}.{hint} Known are {', '.join(COMMANDS)}.")
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

    0 done; 2 the input was wrong; 4 the numbers of a training did not stay finite; 128 + n stopped by
    signal n; 1 anything else.
    """
    try:
        group.main(None if arguments is None else list(arguments), prog_name="charloom", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CharloomError as error:
        say_error(str(error))
        return error.exit_code
    except Stopped as stopped:
        return 128 + stopped.signal_number
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a defect of ours, whose traceback is wanted
        say_error(
            "Memory does not suffice. Close other programs, or train with --set of a lower hidden_size or batch_size."
        )
        return 1
    except OSError as error:
        say_error(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
        return 1
    return 0


def _forget_stdout() -> None:
    """Point stdout away, so that Python's flush at exit does not complain about the reader that left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
