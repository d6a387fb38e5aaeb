"""``charloom serve``: options, start-up errors and messages."""

import importlib.util
import socket

import pytest

from charloom._util import extras
from charloom.cli.commands import serve
from charloom.errors import InputError
from support.errors import raises_code
from support.server import start_server, wait_for_exit


@pytest.mark.parametrize(("arguments", "message"), [
    (["--port", "65536"], "65535"), (["--port", "-1"], "--port"), (["no-such-model"], "no-such-model"),
    (["--workers", "0"], "--workers"), (["--precision", "int4"], "int4"),
])  # fmt: skip
def test_invalid_options(quick_cli, arguments, message):
    done = quick_cli("serve", *arguments)
    assert done.code == 2 and message in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(("arguments", "code", "data"), [
    (["--host", "0.0.0.0"], "token_required", {"host": "0.0.0.0"}),
    (["--host", "::"], "token_required", {"host": "::"}),
    (["--host", "no.such.host.invalid"], "unknown_host", {"host": "no.such.host.invalid"}),
    (["--host", "0.0.0.0", "--token", ""], "invalid_token", {}), (["--token", "two words"], "invalid_token", {}),
    (["--token", "ü"], "invalid_token", {}),
])  # fmt: skip
def test_invalid_hosts_and_tokens(arguments, code, data):
    with raises_code(code, InputError, **data):
        serve.command.main(arguments, standalone_mode=False)


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with raises_code("port_unavailable", InputError, address="127.0.0.1", port=port):
            serve.command.main(["--port", str(port)], standalone_mode=False)


def test_serve_without_the_extra_explains_how_to_install_it(quick_cli, monkeypatch):
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "starlette" else importlib.util.find_spec(name)
    )
    done = quick_cli("serve")
    assert done.code == 1 and done.err.count("\n") == 1
    assert "starlette" in done.err and "pip install 'charloom[serve]'" in done.err


def test_model_names(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    loaded = serve._load(["run", "shakespeare", "run/model.safetensors", "run", "run@last", f"{run}/"])
    assert list(loaded) == ["run", "shakespeare", "model", "run-2", "run@last", "run-3"]


def test_startup_message_and_token(run):
    process, port = start_server(str(run), "--token", "secret", "--host", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: Bearer secret\r\n\r\n".encode())
        response = b""
        while part := connection.recv(4096):
            response += part
    assert b" 200 " in response and b'"id":"run"' in response
    process.terminate()
    assert wait_for_exit(process) == (143, "")


def test_token_from_the_environment():
    process, port = start_server(CHARLOOM_TOKEN="secret")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert b" 401 " in connection.recv(1000)
    process.terminate()
    assert wait_for_exit(process)[0] == 143
