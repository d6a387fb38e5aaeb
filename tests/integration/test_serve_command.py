"""``charloom serve``: what it says, and what it refuses to begin."""

import importlib.util
import socket

import pytest

from charloom._util import extras
from charloom.cli.commands import serve
from support.server import ended, started


@pytest.mark.parametrize(("arguments", "said"), [
    (["--host", "0.0.0.0"], "token"), (["--host", "::"], "token"),
    (["--host", "no.such.host.invalid"], "--host"),
    (["--host", "0.0.0.0", "--token", ""], "--token"), (["--token", "two words"], "--token"),
    (["--token", "ü"], "--token"),
    (["--port", "65536"], "65535"), (["--port", "-1"], "--port"), (["no-such-model"], "no-such-model"),
    (["--workers", "0"], "--workers"), (["--precision", "int4"], "int4"),
])  # fmt: skip
def test_what_is_refused(quick_cli, arguments, said):
    done = quick_cli("serve", *arguments)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_a_port_that_is_taken(quick_cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = quick_cli("serve", "--port", taken.getsockname()[1])
    assert done.code == 2 and "--port" in done.err


def test_without_the_extra_it_says_how_to_get_it(quick_cli, monkeypatch):
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "starlette" else importlib.util.find_spec(name)
    )
    done = quick_cli("serve")
    assert done.code == 1 and done.err.count("\n") == 1
    assert "starlette, which is not installed" in done.err
    assert "pip install 'charloom[serve]'" in done.err


def test_names_of_models(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    loaded = serve._load(["run", "shakespeare", "run/model.safetensors", "run", "run@last", f"{run}/"])
    assert list(loaded) == ["run", "shakespeare", "model", "run-2", "run@last", "run-3"]


def test_it_says_where_and_what_it_serves(run):
    process, port = started(str(run), "--token", "secret", "--host", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: Bearer secret\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert b" 200 " in answer and b'"id":"run"' in answer
    process.terminate()
    assert ended(process) == (143, "")


def test_the_token_may_be_in_the_environment():
    process, port = started(CHARLOOM_TOKEN="secret")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert b" 401 " in connection.recv(1000)
    process.terminate()
    assert ended(process)[0] == 143
