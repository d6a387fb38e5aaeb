"""`charloom generate` and `charloom export`, run as separate processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charloom import load
from support.errors import cli_error


def test_sampling_filters_stop_sequences_and_max_lines(cli, run):
    whole = cli("generate", run, "-p", "The ", "-n", 300, "--seed", 5).out
    lines = cli("generate", run, "-p", "The ", "-n", 300, "--seed", 5, "--max-lines", 2).out
    assert lines == "\n".join(whole.split("\n")[:2]) + "\n"
    stopped = cli("generate", run, "-p", "The ", "-n", 300, "--seed", 5, "--stop", "\\n", "--json").json["samples"][0]
    assert stopped == {"text": whole.split("\n")[0], "seed": 5, "finish_reason": "stop"}
    vowels = cli("generate", run, "-n", 80, "--seed", 5, "--forbid", "aeiou", "-q").out
    assert not set(vowels) & set("aeiou")
    only = cli("generate", run, "-n", 40, "--seed", 5, "--allow", "he ", "-q").out.removesuffix("\n")
    assert len(only) == 40 and set(only) <= set("he ")
    arguments = ["--top-k", 3, "--top-p", 0.9, "--min-p", 0.05, "--repetition-penalty", 1.2]
    expected = load(run).generate("The ", 50, 0.8, 5, top_k=3, top_p=0.9, min_p=0.05, repetition_penalty=1.2)
    assert cli("generate", run, "-p", "The ", "-n", 50, "--seed", 5, *arguments).out == expected + "\n"


def test_the_text_is_the_same_in_both_engines_and_from_the_exported_file(cli, run):
    arguments = ["-p", "We", "-n", 200, "--seed", 3, "-q"]
    native = cli("generate", run, *arguments).out
    assert cli("generate", run, *arguments, CHARLOOM_ENGINE="numpy").out == native
    exported = cli("export", run, "--to", "int8", "-o", "small.safetensors", "--json")
    assert exported.json["file_bytes"] == Path("small.safetensors").stat().st_size
    assert exported.json["file_bytes"] < 0.4 * (Path(run) / "model.safetensors").stat().st_size
    assert "int8" in exported.err
    assert cli("generate", "small.safetensors", *arguments).out == native
    assert cli("info", "small.safetensors", "--json").json["stored_as"] == "int8"


def test_export_does_not_overwrite_files_or_create_folders(cli, run):
    Path("there").write_text("mine")
    for target, code, path in (("there", "file_exists", "there"), ("no/where", "folder_not_found", "no")):
        cli_error(cli("export", run, "--to", "float16", "-o", target, "--json"), code, path=path)
    assert Path("there").read_text() == "mine"


def test_unknown_characters_can_be_skipped_or_replaced(cli, run):
    rejected = cli("generate", run, "-p", "The ☃", "--json")
    cli_error(rejected, "unknown_character", count=1)
    assert rejected.error["characters"][0]["name"] == "SNOWMAN" and rejected.out == ""
    skipped = cli("generate", run, "-p", "The ☃", "-n", 20, "--seed", 1, "--unknown", "skip")
    assert skipped.out.startswith("The ☃") and "SNOWMAN" in skipped.err and "skipped" in skipped.err
    assert skipped.out[5:] == cli("generate", run, "-p", "The ", "-n", 20, "--seed", 1).out[4:]
    assert "replaced by ' '" in cli("generate", run, "-p", "☃", "-n", 2, "--seed", 1, "--unknown", "replace").err


def test_a_terminal_shows_a_progress_bar_when_stdout_is_a_file(run, tmp_path):
    pty = pytest.importorskip("pty")  # Windows has none
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "charloom", "generate", str(run), "-n", "2000", "--seed", "1"]
    with (tmp_path / "out").open("wb") as file:
        subprocess.run(command, stdout=file, stderr=follower, env={**os.environ, "TERM": "xterm"}, check=True)
    os.close(follower)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "Generating" in shown and "2000/2000" in shown and "/s" in shown
    assert (tmp_path / "out").read_text() == load(run).generate("", 2000, seed=1) + "\n"


def test_interactive_mode(cli, run):
    script = (
        "The loom\n/retry\n/undo\n/undo\n/temperature 0\nWho\n/choices 2\n/pick 2\n/text\n/save t.txt\n/udno\n/quit\n"
    )
    result = cli("generate", run, "-i", "-n", 20, "--seed", 1, stdin=script.encode())
    assert result.code == 0
    assert "--- 2" in result.err and "Saved t.txt" in result.err and "Did you mean /undo?" in result.err
    text = Path("t.txt").read_text()
    assert text == load(run).generate("Who", 20, 0) + result.out.split("Who")[-1].removesuffix("\n")[20:]
    assert text in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "data"),
    [
        (["--top-p", 0], "invalid_setting", {"name": "top_p", "value": 0}),
        (["--top-k", 0], "invalid_setting", {"name": "top_k", "value": 0, "minimum": 1}),
        (["--stop", ""], "invalid_setting", {"name": "stop", "value": [""]}),
        (["--max-lines", 0], "invalid_setting", {"name": "max_lines", "value": 0, "minimum": 1}),
        (["--allow", ""], "no_allowed_characters", {}),
    ],
)
def test_invalid_options_are_rejected(cli, run, arguments, code, data):
    result = cli("generate", run, *arguments, "--json")
    assert result.out == ""
    cli_error(result, code, **data)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--forbid", "☃"], "unknown_character"),
        (["-i"], "conflicting_options"),
        (["--precision", "int4"], "invalid_option_value"),
        (["--unknown", "drop"], "invalid_option_value"),
    ],
)
def test_conflicting_options_and_unknown_characters_are_rejected(cli, run, arguments, code):
    result = cli("generate", run, *arguments, "--json")
    assert result.out == ""
    cli_error(result, code)


def test_doctor_reports_the_engine(cli):
    assert json.loads(cli("doctor", "--json", CHARLOOM_ENGINE="numpy").out)["engine"].startswith("numpy")
