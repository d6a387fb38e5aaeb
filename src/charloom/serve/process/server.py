"""Run the ASGI application with uvicorn: socket, connections, shutdown."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charloom.errors import CharloomError, InputError
from charloom.serve.app import App
from charloom.serve.security.allowed_hosts import bracket_ipv6
from charloom.serve.security.limits import Limits

_BACKLOG = 1024
_SEND_BUFFER = 16 << 10  # bytes per connection, in the kernel and again in asyncio: a slow client must block its stream


def resolve(host: str) -> str:
    """Resolve a host to a numeric address, preferring IPv4.

    Raises:
        InputError: If the host cannot be resolved.
    """
    try:
        results = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InputError(
            f"Cannot resolve --host {host!r}. Pass an address of this machine, such as 127.0.0.1.",
            code="unknown_host",
            host=host,
        ) from None
    addresses = sorted((family != socket.AF_INET, str(address[0])) for family, *_, address in results)
    return addresses[0][1]


def is_loopback(address: str) -> bool:
    """Return whether an address can only be reached from this machine."""
    ip = ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def listen(address: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        address: Numeric address.
        port: Port number; 0 selects a free port.

    Raises:
        InputError: If the port is not available.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"Cannot listen on {address}, port {port}: {reason}. Choose another --port; 0 selects a free one.",
            code="port_unavailable",
            address=address,
            port=port,
            reason=reason,
        ) from None
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the URL at which a browser on this machine can reach a listening socket."""
    address, port = listening.getsockname()[:2]
    if ip_address(address).is_unspecified:
        address = "::1" if ":" in address else "127.0.0.1"
    return f"http://{bracket_ipv6(address)}:{port}/"


def serve(app: App, listening: socket.socket) -> int:
    """Serve requests until a signal arrives, and return the number of the signal.

    Raises:
        CharloomError: If the server cannot start.
    """
    server = Server(app)
    server.run([listening])
    if server.signal_number is None:
        raise CharloomError("The server failed to start. See the error above.", code="server_start_failed")
    return server.signal_number


class Server(uvicorn.Server):
    """A uvicorn server that runs an application until a signal arrives, and then shuts down within 3 seconds.

    Args:
        app: The application.

    Attributes:
        signal_number: The signal that stopped the server, or None.
    """

    def __init__(self, app: App) -> None:
        config = uvicorn.Config(
            app,
            http=_protocol(app.limits),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=app.limits.max_idle_seconds,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.signal_number: int | None = None
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down: end the streams, so that their clients receive an error event, then close all connections."""
        # 1. fail the requests in progress, and give their clients time to read the error
        self._app.close()
        deadline = asyncio.get_running_loop().time() + self._app.limits.max_closing_seconds
        while self._busy_connections() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        # 2. disconnect clients that do not read; uvicorn would cancel their handlers, and log a traceback for each
        for connection in self._busy_connections():
            connection.transport.abort()
        # 3. close the idle connections
        await super().shutdown(sockets)

    def _busy_connections(self) -> list[H11Protocol]:
        """Return the connections whose response is not finished, or not yet sent completely."""
        return [
            connection
            for connection in self.server_state.connections
            if isinstance(connection, H11Protocol)
            and (
                (connection.cycle is not None and not connection.cycle.response_complete)
                or connection.transport.get_write_buffer_size()
            )
        ]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down on a signal, and store its number. uvicorn's own method would raise the signal again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        previous = {n: signal.signal(n, self._handle) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: Any) -> None:
        self.force_exit = self.should_exit  # a second signal shuts down at once
        self.should_exit = True
        self.signal_number = self.signal_number or number


def _protocol(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol class, extended by a timeout for request headers and small send buffers."""

    class Protocol(H11Protocol):
        _head_timeout: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send small events immediately
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            transport.set_write_buffer_limits(high=_SEND_BUFFER)
            super().connection_made(transport)
            self._update_head_timeout()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._update_head_timeout()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_head_timeout()
            super().connection_lost(exc)

        def _update_head_timeout(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._cancel_head_timeout()
            elif self._head_timeout is None:
                self._head_timeout = self.loop.call_later(limits.max_header_seconds, self._abort_if_idle)

        def _abort_if_idle(self) -> None:
            if self.conn.their_state is h11.IDLE:
                self.transport.abort()

        def _cancel_head_timeout(self) -> None:
            if self._head_timeout is not None:
                self._head_timeout.cancel()
                self._head_timeout = None

    return Protocol
