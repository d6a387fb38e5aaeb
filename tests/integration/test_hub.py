"""Upload to and download from the Hugging Face Hub with huggingface_hub, against a stub server on this machine."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charloom.errors import HubError, InputError
from charloom.interop.hub import client as hub
from charloom.interop.hub.package import build_package
from charloom.model.file.model_file import load_model, save_model
from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps
from charloom.planning.recipes import load_recipe
from support.errors import cli_error, raises_code
from support.hub import FACTS, TOKEN, HubStub, serving
from support.models import tiny_saved
from support.paths import ROOT

# raised by the way huggingface_hub calls its HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def pushed(quick_cli, model, *more):
    done = quick_cli("push", "ada/letters", model, "--samples", 0, *more)
    assert done.code == 0, done.err
    return done


def test_push_and_pull_preserve_every_byte(hub_stub, quick_cli, model):
    done = pushed(quick_cli, model, "--license", "mit", "--message", "The first", "--json")
    repo = hub_stub.repos["ada/letters"]
    assert [message for _, message, _ in repo.commits] == ["The first"] and not repo.private
    assert done.json["commit"] == repo.commits[0][0] and done.json["url"] == f"{hub_stub.hub}/ada/letters"
    assert done.json["files"] == {name: len(data) for name, data in repo.files.items()}
    back = quick_cli("pull", "ada/letters", "--json")
    assert back.code == 0 and back.json["commit"] == repo.commits[0][0]
    assert Path("letters.safetensors").read_bytes() == model.read_bytes()
    assert "charloom generate letters.safetensors" in back.err


def test_upload_contains_only_model_card_and_recipe(hub_stub, quick_cli, run):
    last = checkpoint_path(run, checkpoint_steps(run)[-1])
    pushed(quick_cli, last)
    files = hub_stub.repos["ada/letters"].files
    assert files.keys() == {"model.safetensors", "README.md", "recipe.toml"}
    assert b"training." not in files["model.safetensors"] and b"training." in last.read_bytes()
    recipe = Path("uploaded.toml")
    recipe.write_bytes(files["recipe.toml"])
    assert load_recipe(str(recipe)).settings == load_recipe(str(run / "recipe.toml")).settings
    for data in files.values():
        assert str(run).encode() not in data and b"The loom is warm" not in data


def test_push_to_int8_converts_the_weights(hub_stub, quick_cli, model):
    pushed(quick_cli, model, "--to", "int8")
    assert quick_cli("pull", "ada/letters", "-o", "small.safetensors").code == 0
    original, small = load_model(model), load_model(Path("small.safetensors"))
    assert small.stored_as == "int8" and "int8" in hub_stub.repos["ada/letters"].files["README.md"].decode()
    for name, value in original.weights.items():
        np.testing.assert_allclose(small.weights[name], value, atol=np.abs(value).max() / 254 + 1e-7)


def test_push_to_an_existing_repository_adds_a_commit(hub_stub, quick_cli, model):
    pushed(quick_cli, model)
    save_model(model.with_name("new.safetensors"), tiny_saved("lstm", **FACTS))
    pushed(quick_cli, model.with_name("new.safetensors"))
    first = hub_stub.repos["ada/letters"].commits[0][0]
    assert quick_cli("pull", "ada/letters", "--revision", first, "-o", "old.safetensors").code == 0
    assert Path("old.safetensors").read_bytes() == model.read_bytes()


def test_private_applies_to_new_repositories_only(hub_stub, quick_cli, model):
    pushed(quick_cli, model, "--private")
    assert hub_stub.repos["ada/letters"].private
    hub_stub.repos["ada/letters"].private = False
    cli_error(quick_cli("push", "ada/letters", model, "--private", "--json"), "hub_repository_public")
    assert len(hub_stub.repos["ada/letters"].commits) == 1


def test_token_is_sent_to_the_hub_only(hub_stub, quick_cli, model, monkeypatch):
    done = pushed(quick_cli, model)
    fetched = quick_cli("pull", "ada/letters", "-o", "back.safetensors")
    assert {seen.token for seen in hub_stub.seen if seen.host == "hub"} == {TOKEN}
    assert [seen.token for seen in hub_stub.requests("GET", "store")] == [None]  # redirected to another host
    assert {seen.token for seen in hub_stub.seen if seen.host == "store"} == {None}
    assert TOKEN not in done.err + done.out + fetched.err + fetched.out


def test_dry_run_writes_the_files_without_network(hub_stub, quick_cli, model):
    pushed(quick_cli, model, "--dry-run", "card", "--license", "mit")
    assert not hub_stub.seen
    pushed(quick_cli, model, "--license", "mit")
    assert {path.name: path.read_bytes() for path in Path("card").iterdir()} == hub_stub.repos["ada/letters"].files
    again = quick_cli("push", "ada/letters", model, "--dry-run", "card", "--json")
    cli_error(again, "folder_exists", path="card")


def test_public_model_needs_no_token(quick_cli, hub_stub, model, monkeypatch):
    pushed(quick_cli, model)
    hub_stub.seen.clear()
    monkeypatch.delenv("HF_TOKEN")
    assert quick_cli("pull", "ada/letters", "-o", "got.safetensors").code == 0
    assert {seen.token for seen in hub_stub.seen} == {None}


def test_python_api_raises_charloom_errors(hub_stub, model):
    package = build_package(model, "ada/letters")
    with raises_code("hub_permission_denied", HubError, status=403):
        hub.push("bob/letters", package.files, "no")
    with raises_code("hub_repository_not_found", InputError, repository="ada/none"):
        hub.pull("ada/none")


@pytest.mark.slow
def test_separate_process_makes_only_these_requests(cli, model, tmp_path):
    with serving(HubStub()) as stub:
        environment = {"HF_ENDPOINT": stub.hub, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
        assert cli("push", "ada/letters", model, "--samples", 1, **environment).code == 0
        done = cli("pull", "ada/letters", **environment)
        assert done.code == 0 and Path("letters.safetensors").read_bytes() == model.read_bytes()
        expected = (
            "/api/models/ada/letters",
            "/api/repos/create",
            "/api/validate-yaml",
            "/ada/letters",
            "/verify",
            "/store/",
        )
        assert all(seen.path.startswith(expected) and "xet" not in seen.path for seen in stub.seen)
        assert not any("torch" in seen.agent for seen in stub.seen)


PAGE = (ROOT / "docs" / "guides" / "interop.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("\n## Hugging Face Hub") : PAGE.index("\n## The llm plugin")]


def test_commands_in_the_guide_run(hub_stub, run, quick_cli, monkeypatch):
    commands = re.findall(r"^\$ charloom (.+)$", SECTION, re.M)
    assert len(commands) >= 5
    done = [quick_cli(*shlex.split(command.replace("runs/my_book", str(run)))) for command in commands]
    assert [result.code for result in done] == [0] * len(commands), [result.err for result in done]
    assert {path.name for path in Path("card").iterdir()} == hub_stub.repos["ada/my-book"].files.keys()
    for name in re.findall(r"^\| `(--[\w-]+)", SECTION, re.M):
        assert name in quick_cli("push", "--help").out + quick_cli("pull", "--help").out


@pytest.mark.slow
def test_python_in_the_guide_runs(hub_stub, run):
    hub.push("ada/my-book", build_package(run / "model.safetensors", "ada/my-book").files, "once")
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.M | re.S)
    environment = {**os.environ, "HF_ENDPOINT": hub_stub.hub}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "The " in done.stdout, done.stderr
