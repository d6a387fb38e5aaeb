"""Run the real server in tests: in a thread (``serve_models``) or a process (``server_process``, ``start_server``)."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette", reason="needs charloom[serve]")
pytest.importorskip("uvicorn", reason="needs charloom[serve]")

from charloom.serve.app import App
from charloom.serve.process.server import Server, listen
from charloom.serve.security.allowed_hosts import allowed_hosts
from support.ports import free_port
from support.waiting import wait_for


class Response:
    """A complete HTTP response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def events(self):
        """The JSON values of the events of a stream, and whether it ends with ``data: [DONE]``."""
        lines = self.body.decode("utf-8").split("\n\n")
        assert lines[-1] == "" and all(line.startswith("data: ") for line in lines[:-1])
        data = [line[6:] for line in lines[:-1]]
        return [json.loads(event) for event in data if event != "[DONE]"], bool(data) and data[-1] == "[DONE]"


class Served:
    """A running server, and a client for it."""

    def __init__(self, app, server, port):
        self.app, self.server, self.port = app, server, port
        self.host = f"127.0.0.1:{port}"
        self._local = threading.local()

    def request(self, method, path, body=None, headers=None, *, keep=True):
        """Send a request and return the response. A body that is not bytes is encoded as JSON."""
        headers = dict(headers or {})
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = self.connection(keep)
        try:
            return self._send(connection, method, path, body, headers)
        except (http.client.HTTPException, ConnectionError):
            connection.close()  # the server closes idle connections
            return self._send(connection, method, path, body, headers)
        finally:
            if not keep:
                connection.close()

    def _send(self, connection, method, path, body, headers):
        try:
            connection.request(method, path, body, headers)
            return Response(connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def connection(self, keep=False):
        if not keep:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if getattr(self._local, "connection", None) is None:
            self._local.connection = self.connection()
        return self._local.connection

    def close(self):
        if getattr(self._local, "connection", None) is not None:
            self._local.connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, **body):
        return self.request("POST", path, body)

    def complete(self, prompt, **body):
        return self.post("/v1/completions", prompt=prompt, **body)

    @property
    def stats(self):
        return next(iter(self.app.models)).scheduler.stats

    @property
    def tasks(self):
        return len(self.server.server_state.tasks)


@contextmanager
def serve_models(models, host="127.0.0.1", names=(), **options) -> Iterator[Served]:
    """Serve models in a thread while the context is active."""
    listening = listen(host, 0)
    port = listening.getsockname()[1]
    app = App(models, hosts=allowed_hosts(host, host, port, names), version="0", **options)
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    served = Served(app, server, port)
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        assert server.started
        yield served
    finally:
        served.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def server_process(*arguments, **environment):
    """Run ``charloom serve`` while the context is active; yield its URL without a trailing slash."""
    port = free_port()
    command = [sys.executable, "-m", "charloom", "serve", *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until_ready(process, address), process.stderr.read()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_until_ready(process, address):
    """Wait until the server responds, with any status. Return False if it exits before."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
        except urllib.error.HTTPError as refused:
            refused.close()
        except OSError:
            time.sleep(0.05)
            continue
        return True
    return False


def start_server(*arguments, **environment):
    """Start ``charloom serve``; return the process and the port that it prints."""
    command = [sys.executable, "-m", "charloom", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    line = process.stderr.readline()
    match = re.search(r"http://(\S+):(\d+)/", line)
    assert match, line + process.stderr.read()
    return process, int(match[2])


def wait_for_exit(process):
    """Wait for a process; return its exit code and the rest of its stderr."""
    code = process.wait(20)
    rest = process.stderr.read()
    process.stderr.close()
    return code, rest
