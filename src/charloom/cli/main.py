"""The command ``charloom``: its subcommands, and what becomes of errors."""

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

COMMANDS = (
    "train", "generate", "score", "report", "corpus", "info", "tune", "serve", "export", "import", "push", "pull",
    "doctor",
)  # fmt: skip
"""In the order in which they are used, not of the alphabet; each is a module of that name, but for ``_MODULES``."""

_MODULES = {"import": "import_"}  # a word that no module of Python can be called


class _Commands(click.Group):
    """A group that imports a command when it is asked for, and names the nearest when it does not know it."""

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
        command: click.Command = import_module(f"charloom.cli.commands.{_MODULES.get(cmd_name, cmd_name)}").command
        return command


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
