"""``charloom serve``: start the server."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from charloom._util.extras import require_extra
from charloom._util.unused_names import unused_name
from charloom._version import __version__
from charloom.cli.signals import Stopped
from charloom.errors import InputError
from charloom.inference.generation_options import PRECISIONS
from charloom.inference.model import Model
from charloom.model.file.model_file import SUFFIX
from charloom.terminal.messages import quiet_option, say


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="The port there; 0 takes one that is free.",
)
@click.option(
    "--token",
    envvar="CHARLOOM_TOKEN",
    help="What every request must bear as Authorization: Bearer TOKEN; safer in CHARLOOM_TOKEN than on a command line.",
)
@click.option("--name", "names", multiple=True, help="A name of a proxy before it, under which it is asked for, too.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes serve.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Whether to write with int8 (auto: yes) or float32.",
)
@quiet_option
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    workers: int,
    precision: str,
    quiet: bool,
) -> None:
    """Serve models as OpenAI's completions API, and a page to write with them.

    Each MODEL is a model file, a run folder, one with @last or @STEP behind it, or shakespeare, which comes with
    charloom and is served when none is named. Only this machine is answered, unless --host names another address; then
    a token is needed.

    \b
    charloom serve
    charloom serve runs/my_book shakespeare --port 8080
    """
    require_extra("Serving", "serve", "pydantic", "starlette", "uvicorn")
    # these need the extra
    from charloom.serve.app import App
    from charloom.serve.process.server import is_loopback, listen, resolve, serve, url_of
    from charloom.serve.process.workers import run_workers
    from charloom.serve.security.allowed_hosts import allowed_hosts

    address = resolve(host)
    _check_token(token, host, not is_loopback(address))
    loaded = _load(models or ("shakespeare",))
    listening = listen(address, port)
    port = listening.getsockname()[1]
    hosts = allowed_hosts(host, address, port, names)

    def run() -> int:
        app = App(loaded, hosts=hosts, version=__version__, token=token, precision=precision)
        return serve(app, listening)

    _install_signal_handlers()
    say(f"serving {', '.join(loaded)} at {url_of(listening)}", quiet)
    if workers == 1:
        raise Stopped(run())
    raise Stopped(run_workers(workers, run))


def _install_signal_handlers() -> None:
    """Handle signals that arrive before the server handles them itself."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _check_token(token: str | None, host: str, is_public: bool) -> None:
    """Raise ``InputError`` if the token is invalid, or missing for a server that other machines can reach."""
    if token is None:
        if is_public:
            raise InputError(
                f"--host {host} lets other machines in, so a token is needed: give one with --token or CHARLOOM_TOKEN, "
                "which every request must bear. Without --host only this machine is answered, and none is needed."
            )
    elif not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError("--token must be ASCII characters without spaces, one at least. Choose a long one, at random.")


def _load(models: Sequence[str]) -> dict[str, Model]:
    """Load models, by the names under which they are served."""
    loaded: dict[str, Model] = {}
    for argument in models:
        model = Model.load(argument)
        name = Path(argument).name.removesuffix(SUFFIX) or Path(argument).resolve().name
        loaded[unused_name(name, loaded.__contains__)] = model
    return loaded
