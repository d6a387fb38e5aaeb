"""The options of `charloom generate` and `charloom export`, run in subprocesses."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charloom import load
from charloom.cli import interactive
from charloom.errors import InputError, UnknownCharacterError
from charloom.inference.generation import Request
from charloom.inference.generation_options import Sampling
from charloom.inference.session import Session
from support.errors import cli_error, raises_code


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


@pytest.fixture
def dialog(run):
    model = load(run)
    request = Request("The", 20, Sampling(1.0), seed=1)
    return interactive._Dialog(Session(model.engine("int8"), model.vocabulary, request, model.rules))


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


def test_samples_are_separated_on_stdout(cli, run):
    arguments = ["generate", run, "-n", 15, "--seed", 4]
    texts = [row["text"] for row in cli(*arguments, "--samples", 3, "--json").json["samples"]]
    assert cli(*arguments, "--samples", 3).out == "\n---\n".join(texts) + "\n"
    assert cli(*arguments, "--samples", 3, "-o", "-").out == "\n---\n".join(texts) + "\n"
    assert cli(*arguments, "--samples", 3, "--separator", r"\t\u00e9").out == "\té".join(texts) + "\n"
    assert cli(*arguments, "--separator", "%").out == texts[0] + "\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminal")
def test_on_a_terminal_the_titles_separate_samples(run):
    import pty

    def shown(*options):
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "charloom", "generate", str(run), "-n", "9", "--samples", "2", "--seed", "4"]
        subprocess.run([*command, *options], stdout=follower, stderr=follower, check=True)
        os.close(follower)
        text = os.read(leader, 100_000).decode().replace("\r\n", "\n")
        os.close(leader)
        return text

    assert "--- sample 2 of 2" in (text := shown()) and "\n---\n" not in text
    assert "\n---\n" in shown("-q") and "\n***\n" in shown("--separator", r"\n***\n")


def test_samples_are_written_to_a_file(cli, run):
    arguments = ["generate", run, "-n", 15, "--seed", 4, "--samples", 2]
    result = cli(*arguments, "-o", "out.txt")
    assert result.code == 0 and result.out == "" and result.err.count("out.txt: sample") == 2
    assert Path("out.txt").read_text() == cli(*arguments).out
    cli_error(cli(*arguments, "-o", "out.txt", "--json"), "file_exists", path="out.txt")
    assert cli("generate", run, "-n", 5, "--seed", 4, "-o", "out.txt", "--force", "--json").json["files"] == ["out.txt"]
    assert len(Path("out.txt").read_text()) == 6


def test_samples_are_written_to_a_folder(cli, run):
    arguments = ["generate", run, "-n", 15, "--seed", 4]
    result = cli(*arguments, "--samples", 3, "-p", "The", "-o", "texts/", "--json")
    names = [f"texts/00{number}.txt" for number in (1, 2, 3)]
    assert [name.replace(os.sep, "/") for name in result.json["files"]] == names
    rows = result.json["samples"]
    assert [Path(name).read_text() for name in names] == [row["text"] + "\n" for row in rows]
    assert len(list(Path("texts").iterdir())) == 3
    data = {"path": str(Path(names[0])), "count": 3}
    cli_error(cli(*arguments, "--samples", 5, "-o", "texts", "--json"), "file_exists", **data)
    Path(names[0]).unlink()
    assert cli(*arguments, "-o", "texts").code == 0 and len(Path(names[0]).read_text()) == 16
    assert cli(*arguments, "--samples", 2, "-o", "texts", "--force").code == 0
    assert Path(names[1]).read_text() != rows[1]["text"] + "\n"
    assert Path(names[2]).read_text() == rows[2]["text"] + "\n"


@pytest.mark.parametrize(
    ("arguments", "code", "data"),
    [
        (["-o", "no/texts/"], "folder_not_found", {"path": "no"}),
        (["-o", "mine/"], "path_is_file", {"path": "mine"}),
        (["-o", ""], "invalid_setting", {"name": "output"}),
        (["-o", os.devnull, "--force"], "file_exists", {"path": os.devnull}),
        (["--force"], "missing_option", {"required_by": "--force"}),
        (["--separator", "%"], "conflicting_options", {"options": ["--separator", "--json"]}),
        (["--separator", "%", "-o", "texts/"], "conflicting_options", {"options": ["--separator", "--output"]}),
        (["--separator", r"\u12", "-o", "a.txt"], "invalid_escape", {}),
    ],
)
def test_invalid_outputs_are_refused_before_generating(cli, run, arguments, code, data):
    Path("mine").write_text("mine")
    cli_error(cli("generate", run, "-n", 5, *arguments, "--json"), code, **data)
    assert [path.name for path in Path().iterdir()] == ["mine"]


def test_interactive_mode_keeps_texts_in_a_file(cli, run):
    Path("poems.txt").write_text("An old poem")  # without a line feed at its end
    script = "/keep\nThe\n/keep\n/keep poems.txt\n/undo\n/keep\n/quit\n"
    result = cli("generate", run, "-i", "-n", 20, "--seed", 1, "-q", stdin=script.encode())
    text = Path("kept.txt").read_text().removesuffix("\n")
    assert text == load(run).generate("The", 20, seed=1)
    assert Path("poems.txt").read_text() == f"An old poem\n---\n{text}\n---\nThe\n"
    assert result.code == 0 and result.err.count("Error:") == 1  # the text was empty


def test_interactive_mode_skips_unknown_characters(cli, run):
    arguments = ["generate", run, "-i", "-n", 20, "--seed", 1, "--repetition-penalty", 1.1]
    refused = cli(*arguments, stdin="The ☃\n/quit\n".encode())
    assert refused.code == 0 and "SNOWMAN" in refused.err and refused.out == ""
    skipped = cli(*arguments, "--unknown", "skip", "-q", stdin="The ☃\n/text\n/quit\n".encode())
    expected = load(run).generate("The ☃", 20, seed=1, unknown="skip", repetition_penalty=1.1)
    assert skipped.out == f"{expected.removeprefix('The ☃')}\n{expected}\n"
    replaced = cli(*arguments, "--unknown", "replace", "-p", "☃", stdin=b"/quit\n")
    assert replaced.code == 0 and "' '" in replaced.err and replaced.out == "☃"


@pytest.mark.parametrize("name", ["undo", "retry", "text", "help", "quit"])
def test_commands_without_argument_refuse_one(dialog, name):
    with raises_code("unexpected_argument", InputError, command=f"/{name}", argument="2 x"):
        interactive._execute(dialog, f"/{name} 2 x", quiet=True)
    assert dialog.session.text == "The"


def test_unknown_commands_suggest_quit(dialog):
    with raises_code("unknown_command", InputError, suggestions=["/quit"]):
        interactive._execute(dialog, "/quitt", quiet=True)


def test_a_line_with_unknown_characters_gets_advice_for_the_session(dialog):
    with raises_code("unknown_character", UnknownCharacterError) as caught:
        interactive._execute(dialog, "a \u2603", quiet=True)
    assert "--unknown skip" in str(caught.value) and "prompt" not in str(caught.value)
    assert dialog.session.text == "The"


def test_the_end_of_a_long_text_is_announced(cli, run):
    shown = cli("generate", run, "-i", "-n", 300, "--seed", 1, "-q", stdin=b"The\n\n/undo\n/quit\n")
    assert "200 of 303" in shown.err
    short = cli("generate", run, "-i", "-n", 30, "--seed", 1, "-q", stdin=b"The\n\n/undo\n/quit\n")
    assert short.err == ""


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
