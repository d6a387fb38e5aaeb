"""A local server for the live page of a training run (``train --live``)."""

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from charloom.report.build import replace_non_finite
from charloom.report.live_data import LiveReport
from charloom.training.events import Record
from charloom.web.report_page import report_page

HOST = "127.0.0.1"
_DATA = "/data.json"
_SECONDS = 2  # polling interval of the page
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}


class LivePage:
    """The live page of a training run.

    Args:
        port: Port number; 0 selects a free port.

    Attributes:
        address: URL of the page.
    """

    def __init__(self, port: int = 0) -> None:
        self._report = LiveReport()
        self._lock = threading.Lock()
        self._requested = threading.Event()
        self._last_request = -math.inf
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://{HOST}:{self._server.server_address[1]}/"

    def take(self, record: Record) -> None:
        """Update the page with a record of the training."""
        with self._lock:
            self._report.take(record)

    def data(self) -> bytes:
        """Return the current data of the page as JSON."""
        with self._lock:
            data = replace_non_finite(self._report.data())
            self._last_request = time.monotonic()
            self._requested.set()
        return json.dumps(data, allow_nan=False).encode("ascii")

    @contextmanager
    def serve(self) -> Iterator["LivePage"]:
        """Serve the page while the context is active."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._wait_for_last_request()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _wait_for_last_request(self) -> None:
        """Wait until an open page, if there is one, has fetched the final data."""
        self._requested.clear()
        if time.monotonic() - self._last_request < 2 * _SECONDS:
            self._requested.wait(_SECONDS + 1)


def _handler(live: LivePage) -> type[BaseHTTPRequestHandler]:
    page = report_page({"live": {"address": _DATA, "seconds": _SECONDS}}, live=True).encode("utf-8")

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a request to arrive
        server_version, sys_version = "charloom", ""

        def do_GET(self) -> None:
            if not self._is_local():
                self._respond(403, "text/plain", b"This page is only available on this machine.\n")
            elif self.path == "/":
                self._respond(200, "text/html; charset=utf-8", page)
            elif self.path == _DATA:
                self._respond(200, "application/json", live.data())
            else:
                self._respond(404, "text/plain", b"Not found. The page is at /.\n")

        def _is_local(self) -> bool:
            """Return whether the Host header is a local name. Any other name may be a DNS rebinding attack."""
            host, _, port = self.headers.get("Host", "").partition(":")
            return host in (HOST, "localhost") and port == live.address.rsplit(":", 1)[1].strip("/")

        def _respond(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: stderr shows the progress of the training."""

    return Handler
