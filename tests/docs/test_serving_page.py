"""docs/guides/serving.md is executed against a server, and the files in deploy/ are checked."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom.cli.main import group
from charloom.serve.schema import CompletionRequest
from charloom.serve.security.limits import Limits
from support.clients import python_with
from support.documents import blocks
from support.paths import ROOT
from support.server import server_process

pytestmark = pytest.mark.alone
PAGE = (ROOT / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")
DEPLOY = ROOT / "deploy"
HEAVY = ("langchain_openai", "lm_eval")  # clients that are not installed by default


@pytest.fixture(scope="module")
def workspace(run, tmp_path_factory):
    """The folder of a reader who follows the guide."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(run, folder / "runs" / "my_book")
    return folder


@pytest.fixture(scope="module")
def port(workspace):
    with server_process("shakespeare", workspace / "runs" / "my_book") as address:
        yield address.rsplit(":")[-1]


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("LLM_USER_PATH", str(workspace / "llm"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    (workspace / "llm").mkdir(exist_ok=True)


def execute(command, code, port):
    code = code.replace(":8000", f":{port}")
    done = subprocess.run([*command, code], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0 and done.stdout, f"{code}\n{done.stderr}"
    return done.stdout


def with_clients(kind):
    """Return all blocks of a kind as test parameters; those that need a heavy client are marked slow."""
    params = []
    for block in blocks(kind, PAGE):
        heavy = next((name for name in HEAVY if name in block), None)
        marks = [pytest.mark.slow, pytest.mark.timeout(900)] if heavy else []
        params.append(pytest.param(block, heavy, id=heavy or block.split("\n")[0][:40], marks=marks))
    return params


@pytest.mark.parametrize("block, client", with_clients("python"))
def test_python_blocks_run(block, client, port):
    python = sys.executable if client is None else python_with(client)
    assert len(execute([python, "-c"], block, port)) > 300


@pytest.mark.parametrize("block, client", with_clients("bash"))
def test_shell_blocks_run(block, client, port, monkeypatch):
    if client is not None:
        monkeypatch.setenv("PATH", str(Path(python_with(client)).parent), prepend=os.pathsep)
        monkeypatch.setenv("HF_HOME", str(Path.cwd() / "hub"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = execute(["bash", "-ec"], block, port)
    if "horse" in block:
        assert json.loads(out)["error"]["code"] == "unknown_character"
    else:
        assert '{"error"' not in out


def test_documented_servers_start(workspace):
    commands = re.findall(r"^\$ charloom serve(.*)$", PAGE, re.M)
    assert commands
    for command in commands:
        with server_process(*re.sub(r"--port \d+", "", command).split()):
            pass


def test_curl_and_generate_return_the_same_text(port):
    (arguments,) = re.findall(r"`charloom (generate .+?)`", PAGE)[:1]
    written = CliRunner().invoke(group, shlex.split(arguments)).stdout
    response = json.loads(execute(["bash", "-ec"], blocks("bash", PAGE)[0], port))
    assert written == f"ROMEO:{response['choices'][0]['text']}\n"


def test_guide_names_every_field_path_and_limit(port):
    fields = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.M))))
    assert set(CompletionRequest.model_fields) - {"suffix"} <= fields
    paths = set(re.findall(r"`(?:GET|POST) (/[\w/.]*\w|/)", PAGE)) | {"/v1/chat/completions", "/v1/models/{id}"}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=60) as response:
        assert set(json.load(response)["paths"]) <= paths
    limits = Limits()
    table = PAGE[PAGE.index("| limit | value |") :].split("\n\n")[0]
    for name in ("max_prompts", "max_prompt_characters", "max_choices", "max_texts", "max_characters",
                 "max_stop_strings", "max_stop_characters", "max_logprobs", "max_next_guesses", "max_active_texts",
                 "max_waiting_texts", "max_request_seconds", "max_body_seconds"):  # fmt: skip
        assert re.search(rf"\b{getattr(limits, name):,g}\b", table), name
    assert limits.max_body_bytes == 1 << 20 and f"{limits.max_unread_characters:,} characters" in PAGE
    assert f"{limits.max_unread_seconds:g} seconds" in PAGE


def serve_options():
    return set(re.findall(r"--[\w-]+", CliRunner().invoke(group, ["serve", "--help"]).output))


def test_systemd_unit_uses_existing_options():
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(DEPLOY / "charloom.service")
    words = shlex.split(parser["Service"]["ExecStart"])
    assert words[:2] == ["/opt/charloom/bin/charloom", "serve"]
    assert {word for word in words if word.startswith("--")} <= serve_options()
    service = parser["Service"]
    for name, value in {"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes"}.items():
        assert service[name] == value
    assert service["ReadOnlyPaths"] == service["WorkingDirectory"] == "/srv/charloom"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_rates_the_unit_as_secure(tmp_path):
    unit = (DEPLOY / "charloom.service").read_text().replace("/opt/charloom/bin/charloom", sys.executable)
    (tmp_path / "charloom.service").write_text(unit)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", tmp_path / "charloom.service"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unknown" not in done.stderr and "Failed to parse" not in done.stderr, done.stderr


def test_container_copies_existing_files():
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    copied = [word for line in lines if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"pyproject.toml", "src", "native"} <= set(copied)
    for word in copied:
        assert (ROOT / word).exists() and f"!{word}" in allowed
    (entry,) = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT"))
    assert entry[:2] == ["charloom", "serve"] and set(entry[2:]) - {"0.0.0.0"} <= serve_options()
    assert sum(line.startswith("USER 65534") for line in lines) == 1


def test_container_health_check_follows_the_server(workspace):
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    (check,) = (line.partition(" CMD ")[2] for line in lines if line.startswith("HEALTHCHECK"))
    _, *code = json.loads(check)
    token = {"CHARLOOM_TOKEN": "a-token-in-the-environment"}
    with server_process("--host", "0.0.0.0", **token) as address:
        for given, healthy in ((token, True), ({"CHARLOOM_TOKEN": "another"}, False)):
            command = [sys.executable, *(word.replace(":8000", f":{address.rsplit(':')[-1]}") for word in code)]
            done = subprocess.run(command, capture_output=True, env={**os.environ, **given}, timeout=30)
            assert (done.returncode == 0) is healthy, done.stderr


def test_only_known_host_names_are_accepted(workspace):
    with server_process("--name", "text.example.org") as address:
        for host, status in (("text.example.org", 200), ("other.example.org", 421)):
            request = urllib.request.Request(f"{address}/healthz", headers={"Host": host})
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    assert response.status == status
            except urllib.error.HTTPError as error:
                with error:
                    assert error.code == status
