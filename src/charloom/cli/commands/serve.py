"""``charloom serve``: start an OpenAI-compatible server."""

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
from charloom.terminal.messages import print_message, quiet_option


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Port to listen on. 0 selects a free port.",
)
@click.option(
    "--token",
    envvar="CHARLOOM_TOKEN",
    help="Bearer token that every request must send. Prefer the environment variable CHARLOOM_TOKEN: other users can "
    "see command lines.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    help="Additional host name to accept, such as that of a reverse proxy. Repeatable.",
)
@click.option(
    "--allow-origin",
    "origins",
    metavar="URL",
    multiple=True,
    help="Site whose pages may call the server from a browser, such as http://localhost:5173. Repeatable.",
)
@click.option(
    "--log",
    is_flag=True,
    help="Write one line per request to stderr: time, method, path, status, tokens and seconds; no texts.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of worker processes.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of text generation. auto is int8.",
)
@quiet_option
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    origins: tuple[str, ...],
    log: bool,
    workers: int,
    precision: str,
    quiet: bool,
) -> None:
    """Start an OpenAI-compatible server with a web playground.

    Each MODEL is a model file, a run folder, RUN@last, RUN@STEP, or the bundled model shakespeare, which is the
    default. The server only accepts connections from this machine. To accept others, pass --host and --token.

    \b
    charloom serve
    charloom serve runs/my_book shakespeare --port 8080
    """
    require_extra("Serving", "serve", "pydantic", "starlette", "uvicorn")
    # these modules import the packages of the extra
    from charloom.serve.app import App
    from charloom.serve.process.server import is_loopback, listen, resolve, serve, url_of
    from charloom.serve.process.workers import run_workers
    from charloom.serve.security.allowed_hosts import allowed_hosts
    from charloom.serve.security.allowed_origins import parse_origin

    address = resolve(host)
    _check_token(token, host, not is_loopback(address))
    allowed = [parse_origin(url) for url in origins]
    loaded = _load(models or ("shakespeare",))
    listening = listen(address, port)
    port = listening.getsockname()[1]
    hosts = allowed_hosts(host, address, port, names)

    def run() -> int:
        app = App(loaded, hosts=hosts, version=__version__, token=token, precision=precision, origins=allowed, log=log)
        return serve(app, listening)

    _install_signal_handlers()
    print_message(f"Serving {', '.join(loaded)} at {url_of(listening)} (press Ctrl-C to stop)", quiet)
    if workers == 1:
        raise Stopped(run())
    raise Stopped(run_workers(workers, run))


def _install_signal_handlers() -> None:
    """Handle signals until the server has installed its own handlers."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _check_token(token: str | None, host: str, is_public: bool) -> None:
    """Check the token that clients of the server must send.

    Args:
        token: Value of ``--token`` or ``CHARLOOM_TOKEN``; None if neither is set.
        host: Value of ``--host``.
        is_public: Whether other machines can reach this host.

    Raises:
        InputError: If the token is empty or contains other than printable ASCII characters without spaces, or if it is
            missing although the host is public.
    """
    if token is None:
        if is_public:
            raise InputError(
                f"--host {host} accepts connections from other machines, which requires a token. Set CHARLOOM_TOKEN or "
                "pass --token, or omit --host to serve this machine only.",
                code="token_required",
                host=host,
            )
    elif not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            "--token must consist of printable ASCII characters without spaces, and must not be empty. "
            "Use a long random token.",
            code="invalid_token",
        )


def _load(models: Sequence[str]) -> dict[str, Model]:
    """Load models; return them by the name that requests use: the file or folder name, made unique with -2, -3 ..."""
    loaded: dict[str, Model] = {}
    for argument in models:
        model = Model.load(argument)
        name = Path(argument).name.removesuffix(SUFFIX) or Path(argument).resolve().name
        loaded[unused_name(name, loaded.__contains__)] = model
    return loaded
