"""The options of `charloom generate` and `charloom export`, run in subprocesses."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charloom import load
from support.errors import cli_error


def test_sampling_filters_and_stop_conditions(cli, run):
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


def test_both_engines_and_an_int8_export_generate_the_same_text(cli, run):
    arguments = ["-p", "We", "-n", 200, "--seed", 3, "-q"]
    native = cli("generate", run, *arguments).out
    assert cli("generate", run, *arguments, CHARLOOM_ENGINE="numpy").out == native
    exported = cli("export", run, "--to", "int8", "-o", "small.safetensors", "--json")
    assert exported.json["file_bytes"] == Path("small.safetensors").stat().st_size
    assert exported.json["file_bytes"] < 0.4 * (Path(run) / "model.safetensors").stat().st_size
    assert "int8" in exported.err
    assert cli("generate", "small.safetensors", *arguments).out == native
    assert cli("info", "small.safetensors", "--json").json["stored_as"] == "int8"


def test_export_rejects_existing_files_and_missing_folders(cli, run):
    Path("there").write_text("mine")
    for target, code, path in (("there", "file_exists", "there"), ("no/where", "folder_not_found", "no")):
        cli_error(cli("export", run, "--to", "float16", "-o", target, "--json"), code, path=path)
    assert Path("there").read_text() == "mine"


def test_unknown_characters_are_reported_and_skipped_or_replaced(cli, run):
    refused = cli("generate", run, "-p", "The ☃")
    assert refused.code == 2 and "SNOWMAN" in refused.err and refused.out == ""
    skipped = cli("generate", run, "-p", "The ☃", "-n", 20, "--seed", 1, "--unknown", "skip")
    assert skipped.out.startswith("The ☃") and "SNOWMAN" in skipped.err and "skipped" in skipped.err
    assert skipped.out[5:] == cli("generate", run, "-p", "The ", "-n", 20, "--seed", 1).out[4:]
    assert "' '" in cli("generate", run, "-p", "☃", "-n", 2, "--seed", 1, "--unknown", "replace").err


def test_progress_bar_when_stdout_is_a_file(run, tmp_path):
    pty = pytest.importorskip("pty")  # not available on Windows
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
    assert "--- 2" in result.err and "Saved t.txt" in result.err and "/undo" in result.err.splitlines()[-1]
    text = Path("t.txt").read_text()
    assert text == load(run).generate("Who", 20, 0) + result.out.split("Who")[-1].removesuffix("\n")[20:]
    assert text in result.out


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shell")
@pytest.mark.parametrize(("arguments", "redirection", "stream"), [
    (["-n", "9"], ">&-", "output"), (["-n", "9", "--samples", "2"], ">&-", "output"), (["-i"], ">&-", "output"),
    (["-i"], "<&-", "input"), (["--prompt-file", "-"], "<&-", "input"),
])  # fmt: skip
def test_a_closed_standard_stream_is_reported_without_a_traceback(run, arguments, redirection, stream):
    command = shlex.join([sys.executable, "-m", "charloom", "generate", str(run), "--seed", "1", *arguments])
    done = subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "Error: " in done.stderr and f"tandard {stream}" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shell")
def test_with_json_a_closed_stdout_is_an_error_before_the_work_starts(run):
    command = shlex.join([sys.executable, "-m", "charloom", "train", "no-such-corpus", "--json"])
    done = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and json.loads(done.stderr)["error"]["code"] == "stdout_closed"


def test_doctor_reports_the_engine(cli):
    assert json.loads(cli("doctor", "--json", CHARLOOM_ENGINE="numpy").out)["engine"].startswith("numpy")
