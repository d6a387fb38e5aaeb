"""The request log of ``charloom serve --log``: one line per request, without texts."""

import re
import socket

import pytest

from charloom.inference.model import Model
from support.models import tiny_saved
from support.server import serve_models
from support.waiting import wait_for

LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (\S+) (\S+) (\d{3}|-) "
    r"prompt_tokens=(\d+) completion_tokens=(\d+) seconds=(\d+\.\d{3})( aborted)?"
)


@pytest.fixture
def lines(monkeypatch):
    """The lines of the log so far."""
    written = []
    monkeypatch.setattr("charloom.serve.request_log.print_line", written.append)
    return written


@pytest.fixture
def server(lines):
    with serve_models({"tiny": Model(tiny_saved())}, log=True) as running:
        yield running


def fields(line):
    match = LINE.fullmatch(line)
    assert match, line
    return (*match.groups()[1:6], match[8] is not None)


def next_line(lines):
    wait_for(lambda: lines)
    return fields(lines.pop(0))


def test_each_request_has_a_line(server, lines):
    server.complete("abc", max_tokens=5)
    assert next_line(lines) == ("POST", "/v1/completions", "200", "3", "5", False)
    assert server.complete("abc", max_tokens=7, stream=True).status == 200
    assert next_line(lines) == ("POST", "/v1/completions", "200", "3", "7", False)
    server.post("/score", text="abca")
    assert next_line(lines) == ("POST", "/score", "200", "4", "0", False)
    server.get("/nothing")
    assert next_line(lines) == ("GET", "/nothing", "404", "0", "0", False)
    server.request("GET", "/healthz", headers={"Host": "evil.example"})
    assert next_line(lines) == ("GET", "/healthz", "421", "0", "0", False)
    server.request("POST", "/score", b"{", {"Content-Type": "text/plain"})
    assert next_line(lines) == ("POST", "/score", "415", "0", "0", False)
    assert not lines


def test_texts_and_control_characters_are_not_logged(server, lines):
    server.get("/generate?start_text=abc")
    assert next_line(lines)[1] == "/generate"
    server.get("/a%0Ab%1B%5B31m%20200")
    assert next_line(lines)[1:3] == ("/a%0Ab%1B%5B31m%20200", "404")


def test_an_aborted_stream_has_a_line(server, lines):
    body = b'{"prompt": "abc", "max_tokens": 100000, "stream": true}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 200 " in connection.recv(1000)
    _, _, status, read, generated, is_aborted = next_line(lines)
    assert (status, read, is_aborted) == ("200", "3", True) and 0 <= int(generated) < 100_000


def test_nothing_is_logged_by_default(lines):
    with serve_models({"tiny": Model(tiny_saved())}) as quiet:
        quiet.get("/healthz")
    assert not lines


def test_a_closed_log_does_not_fail_requests(monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError

    with serve_models({"tiny": Model(tiny_saved())}, log=True) as running:
        monkeypatch.setattr("sys.stderr", Closed())
        assert running.get("/healthz").status == 200
        assert running.get("/healthz").status == 200
