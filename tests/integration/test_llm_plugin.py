"""The plugin for llm: charloom models on llm's command line and in its Python API."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import llm
import llm_charloom
import pytest

import charloom
from charloom.model.file.run_folder import BUNDLED
from support.documents import blocks
from support.models import after
from support.paths import ROOT

PLUGIN = ROOT / "plugins" / "llm-charloom"


@pytest.fixture(autouse=True)
def llm_folder(tmp_path, monkeypatch):
    """Makes llm keep its database and settings in a temporary folder."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.delenv(llm_charloom.MODELS, raising=False)
    monkeypatch.chdir(tmp_path)


def call(*arguments):
    done = subprocess.run([sys.executable, "-m", "llm", *map(str, arguments)], capture_output=True, timeout=250)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_command_generates_charlooms_text_and_logs_the_seed():
    code, out, err = call("-m", "charloom/shakespeare", "ROMEO:", "-o", "length", 60, "-o", "seed", 1)
    assert code == 0, err
    assert out == after("ROMEO:", charloom.load("shakespeare").generate("ROMEO:", 60, seed=1)) + "\n"
    (logged,) = json.loads(call("logs", "--json")[1])
    assert (logged["prompt"], logged["response"] + "\n") == ("ROMEO:", out)
    assert logged["response_json"] == {"seed": 1, "finish_reason": "length"}
    assert (logged["input_tokens"], logged["output_tokens"]) == (6, 60)


def test_models_and_options_of_the_readme_exist(run, monkeypatch):
    monkeypatch.setenv(llm_charloom.MODELS, str(run))
    code, out, err = call("models", "-q", "charloom")
    assert code == 0, err
    assert "charloom/shakespeare" in out and f"charloom/{run.name}" in out
    readme = (PLUGIN / "README.md").read_text()
    for option in llm_charloom.Charloom.Options.model_fields:
        assert f"| `{option}` |" in readme
    assert any("llm -m charloom/shakespeare" in block for block in blocks("console", readme))


def test_text_is_streamed():
    answer = llm.get_model("charloom/shakespeare").prompt("ROMEO:", length=1000, seed=1)
    pieces = list(answer)
    assert len(pieces) > 3 and 0 < len(pieces[0]) <= 16
    assert "".join(pieces) == after("ROMEO:", charloom.load("shakespeare").generate("ROMEO:", 1000, seed=1))


def test_options_are_passed_to_charloom(run, monkeypatch):
    monkeypatch.setenv(llm_charloom.MODELS, str(run))
    options = {"length": 300, "temperature": 1.1, "top_p": 0.7, "seed": 5}
    expected = charloom.load(run).generate("The ", **options, stop="\n")
    answer = model_named("run").prompt("The ", **options, stop="\n")
    assert answer.text() == after("The ", expected)
    assert answer.response_json == {"seed": 5, "finish_reason": "stop"}
    assert model_named("run").prompt("The ", length=0).text() == ""


def test_conversation_continues_its_text(run, monkeypatch):
    monkeypatch.setenv(llm_charloom.MODELS, str(run))
    conversation = model_named("run").conversation()
    first = conversation.prompt("The loom", length=20, seed=1).text()
    second = conversation.prompt("Who", length=20, seed=2)
    so_far = f"The loom{first}\nWho"
    assert second.text() == after(so_far, charloom.load(run).generate(so_far, 20, seed=2))


def model_named(name):
    sources = llm_charloom.find_sources(llm_charloom.os.environ[llm_charloom.MODELS])
    return llm_charloom.Charloom(name, sources[name])


def test_models_are_named_after_folders_and_files(monkeypatch):
    monkeypatch.setattr(llm_charloom.os, "pathsep", ":")
    listed = "runs/my_book:other/my_book::runs/my_book@last:poems.safetensors:/models/shakespeare/"
    assert llm_charloom.find_sources(listed) == {
        "shakespeare": "shakespeare",
        "my_book": "runs/my_book",
        "my_book-2": "other/my_book",
        "my_book@last": "runs/my_book@last",
        "poems": "poems.safetensors",
        "shakespeare-2": "/models/shakespeare/",
    }
    assert llm_charloom.find_sources("") == {name: name for name in BUNDLED}


@pytest.mark.parametrize("prompt, options, name", [
    ("", {"length": -1}, "length"),
    ("", {"temperature": -1}, "temperature"),
    ("", {"top_p": 0}, "top_p"),
    ("", {"seed": -1}, "seed"),
    ("", {"stop": ""}, "stop"),
    ("ROMEO \N{SNOWMAN}", {}, "SNOWMAN"),
    ("", {"system": "You are a poet."}, "system prompt"),
])  # fmt: skip
def test_invalid_options_are_reported_by_name(prompt, options, name):
    with pytest.raises(llm.ModelError, match=name):
        llm.get_model("charloom/shakespeare").prompt(prompt, **options).text()


def test_errors_are_one_message_on_the_command_line(monkeypatch):
    code, out, err = call("-m", "charloom/shakespeare", "ROMEO \N{SNOWMAN}")
    assert (code, out) == (1, "") and "SNOWMAN" in err and "Traceback" not in err
    monkeypatch.setenv(llm_charloom.MODELS, "nowhere/my_book")
    code, out, err = call("-m", "charloom/my_book", "Once")
    assert (code, out) == (1, "") and "nowhere/my_book" in err and "Traceback" not in err


def test_package_version_and_entry_point():
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    assert project["version"] == charloom.__version__
    assert entry_points(group="llm")["charloom"].value == "llm_charloom"
    assert set(llm_charloom.BUNDLED) == set(BUNDLED)
