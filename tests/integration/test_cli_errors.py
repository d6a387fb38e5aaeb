"""Invalid input: exit code 2, an error with a code and data, no traceback, and no file is changed."""

import os
import sys
from pathlib import Path

import pytest

from support.errors import cli_error

DROPOUTS = [f"--set dropout_{place}=VALUE" for place in ("input", "hidden", "output")]
LONG = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def files(tmp_path):
    """A folder with valid, invalid and unusual files."""
    Path("good.txt").write_text(LONG)
    Path("empty.txt").touch()
    Path("one.txt").write_text("a")
    Path("short.txt").write_text("Fewer characters than a window.")
    Path("music.mp3").write_bytes(b"ID3\x04\0\0\0\0\x0f\xff\xfb\x90\x64" * 50)
    Path("old.txt").write_bytes(("“Déjà vu” – again.\n" * 200).encode("cp1252"))
    Path("photos").mkdir()
    Path("photos/a.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    Path("nothing").mkdir()
    Path("taken").mkdir()
    Path("taken/precious.txt").write_text("keep me")
    Path("bad.toml").write_text("hiden_size = 3\n")
    Path("model.txt").write_text("not a model at all")
    return tmp_path


TRAINING = [  # arguments, code, data
    (["empty.txt"], "empty_corpus", {"name": "empty"}),
    (["one.txt"], "held_out_text_too_short", {"characters": 1, "held_out": 1, "minimum": 2}),
    (["one.txt", "--val-fraction", "0"], "text_shorter_than_window", {"characters": 1, "seq_length": 32}),
    (["short.txt"], "text_shorter_than_window", {"characters": 27, "seq_length": 32}),
    (["music.mp3"], "binary_file", {"path": "music.mp3"}),
    (["old.txt"], "undecodable_text", {"path": "old.txt", "byte": 0x93, "offset": 0, "line": 1, "encoding": "utf-8"}),
    (["old.txt"], "undecodable_text", {"suggested_encoding": "cp1252"}),
    (["photos"], "no_text_files", {"sources": ["photos"]}),
    (["nothing"], "empty_folder", {"path": "nothing"}),
    (["RUN"], "run_folder_as_corpus", {}),
    (["god.txt"], "file_not_found", {"path": "god.txt", "suggestions": ["good.txt"]}),
    (["taken/precios.txt"], "file_not_found", {"suggestions": [str(Path("taken/precious.txt"))]}),
    (["shakspeare"], "file_not_found", {"path": "shakspeare", "suggestions": ["shakespeare"]}),
    (["*.epub"], "no_matching_files", {"pattern": "*.epub"}),
    (["-", "-"], "repeated_stdin", {}),
    ([], "missing_argument", {"parameter": "sources"}),
    (["good.txt", "--encoding", "utf-9"], "unknown_encoding", {"encoding": "utf-9"}),
    (["good.txt", "-o", "taken"], "file_exists", {"path": "taken"}),
    (["good.txt", "-o", "good.txt"], "file_exists", {"path": "good.txt"}),
    (["good.txt", "-o", "good.txt/run"], "unusable_folder", {"path": "good.txt/run", "reason": "Not a directory"}),
    (
        ["good.txt", "--recipe", "tutorial-gur"],
        "unknown_recipe",
        {"name": "tutorial-gur", "suggestions": ["tutorial-gru"]},
    ),
    (["good.txt", "--recipe", "none.toml"], "unreadable_recipe", {"path": "none.toml"}),
    (
        ["good.txt", "--recipe", "bad.toml"],
        "unknown_setting",
        {"name": "hiden_size", "suggestions": ["hidden_size"]},
    ),
    (
        ["good.txt", "--set", "hiden_size=3"],
        "unknown_setting",
        {"name": "hiden_size", "suggestions": ["hidden_size"]},
    ),
    (["good.txt", "--set", "hidden_size"], "invalid_assignment", {"value": "hidden_size"}),
    (
        ["good.txt", "--set", "hidden_size=big"],
        "invalid_setting",
        {"name": "hidden_size", "value": "big", "expected": "int"},
    ),
    (
        ["good.txt", "--set", "hidden_size=0"],
        "invalid_setting",
        {"name": "hidden_size", "value": 0, "minimum": 1, "maximum": 16384},
    ),
    (["good.txt", "--set", "seed=1", "--set", "seed=2"], "duplicate_setting", {"name": "seed"}),
    (
        ["good.txt", "--set", "minutes=1", "--minutes", "2"],
        "duplicate_setting",
        {"name": "minutes", "options": ["--minutes", "--set"]},
    ),
    (
        ["good.txt", "--set", "cell=rnn"],
        "invalid_setting",
        {"name": "cell", "value": "rnn", "accepted": ["gru", "lstm"]},
    ),
    (["good.txt", "--minutes", "0"], "invalid_setting", {"name": "minutes", "value": 0}),
    (["good.txt", "--minutes", "nan"], "invalid_setting", {"name": "minutes", "value": "nan"}),
    (["good.txt", "--epochs", "-1"], "invalid_setting", {"name": "epochs", "value": -1}),
    (["good.txt", "--steps", "ten"], "invalid_option_value", {"parameter": "steps"}),
    (
        ["good.txt", "--steps", "5", "--epochs", "1"],
        "conflicting_options",
        {"options": ["--epochs", "--steps"]},
    ),
    (["good.txt", "--val-fraction", "1"], "invalid_setting", {"name": "val_fraction", "value": 1, "maximum": 0.9}),
    (
        ["good.txt", "--val-fraction", "0.6", "--test-fraction", "0.4"],
        "no_training_text",
        {"val_fraction": 0.6, "test_fraction": 0.4},
    ),
    (["good.txt", "--device", "tpu"], "unknown_device", {"accepted": ["auto", "cpu", "cuda", "mps"]}),
    (["good.txt", "--recipe", "tutorial-gru"], "text_shorter_than_batch", {"windows": 26, "batch_size": 64}),
    (["good.txt", "--seed", "-1"], "invalid_setting", {"name": "seed", "value": -1, "minimum": 0}),
    (["good.txt", "--stepz", "5"], "unknown_option", {"option": "--stepz", "suggestions": ["--steps"]}),
    (["good.txt", "--lr", "5"], "unknown_option", {"suggestions": ["--set learning_rate=VALUE"]}),
    (["good.txt", "--frobnicate", "5"], "unknown_option", {"suggestions": []}),
    (["--resume", "nowhere"], "not_a_run_folder", {"path": "nowhere"}),
    (["--resume", "goood.txt"], "not_a_run_folder", {"path": "goood.txt", "suggestions": []}),
    (["--resume", "RUN@130"], "resume_from_checkpoint", {"checkpoint": "130"}),
    (["--resume", "taken"], "not_a_run_folder", {"path": "taken"}),
    (["--resume", "RUN"], "text_path_unknown", {"corpus": "weaving"}),
    (["--resume", "RUN@last"], "text_path_unknown", {"corpus": "weaving"}),
    (["good.txt", "--dropout", "0"], "unknown_option", {"suggestions": DROPOUTS}),
    (["good.txt", "--set", "plan=x"], "unknown_setting", {"suggestions": []}),
    (["good.txt", "--resume", "RUN"], "different_text", {"trained_on": "weaving", "corpus": "good"}),
    (["--resume", "RUN", "--new-text"], "missing_corpus", {"required_by": ["--new-text"]}),
    (["--resume", "RUN", "--lines"], "missing_corpus", {"required_by": ["--lines"]}),
    (["good.txt", "--new-text"], "missing_option", {"option": "--resume", "required_by": "--new-text"}),
    (["--resume", "RUN", "--set", "seed=1"], "conflicting_options", {"options": ["--resume", "--set"]}),
    (
        ["--resume", "RUN", "-o", "other", "--seed", "2"],
        "conflicting_options",
        {"options": ["--resume", "--output", "--seed"]},
    ),
    (["--resume", "RUN", "--plan"], "conflicting_options", {"options": ["--resume", "--plan"]}),
    (["--resume", "RUN", "--steps", "0"], "invalid_setting", {"name": "steps", "value": 0}),
    (
        ["--resume", "RUN", "--steps", "5", "--minutes", "1"],
        "conflicting_options",
        {"options": ["--minutes", "--steps"]},
    ),
    (["good.txt", "--init", "nowhere"], "model_not_found", {"model": "nowhere"}),
    (["good.txt", "--init", "model.txt"], "not_safetensors", {"path": "model.txt"}),
    (
        ["good.txt", "--init", "RUN", "--set", "hidden_size=17"],
        "model_size_mismatch",
        {"name": "hidden_size", "value": 17, "model_value": 48},
    ),
]

OTHER_COMMANDS = [  # arguments, code, data
    (["trian", "good.txt"], "unknown_command", {"command": "trian", "suggestions": ["train"]}),
    (["frobnicate"], "unknown_command", {"command": "frobnicate", "suggestions": []}),
    (["generate", "--temprature", "1"], "unknown_option", {"suggestions": ["--temperature"]}),
    (["generate", "--max-new-tokens", "1"], "unknown_option", {"suggestions": ["--length"]}),
    (["generate", "shakspeare"], "model_not_found", {"suggestions": ["shakespeare"]}),
    (["report", "shakspeare"], "model_not_found", {"suggestions": ["shakespeare"]}),
    (["generate", "nowhere"], "model_not_found", {"model": "nowhere", "bundled": ["shakespeare"]}),
    (["generate", "model.txt"], "not_safetensors", {"path": "model.txt", "is_text": True}),
    (["generate", "taken"], "no_model_in_folder", {"path": "taken"}),
    (["generate", "RUN@9"], "checkpoint_not_found", {"checkpoint": "9", "available": [104, 130, 150]}),
    (["generate", "RUN", "-p", "Zürich"], "unknown_character", {"count": 2}),
    (
        ["generate", "RUN", "-p", "a", "--prompt-file", "good.txt"],
        "conflicting_options",
        {"options": ["--prompt", "--prompt-file"]},
    ),
    (["generate", "RUN", "--prompt-file", "none.txt"], "file_error", {"path": "none.txt"}),
    (["generate", "RUN", "--prompt-file", "old.txt"], "undecodable_text", {"path": "old.txt", "encoding": "utf-8"}),
    (["generate", "RUN", "-t", "-1"], "invalid_setting", {"name": "temperature", "value": -1}),
    (["generate", "RUN", "-t", "nan"], "invalid_setting", {"name": "temperature", "value": "nan"}),
    (["generate", "RUN", "-n", "-5"], "invalid_setting", {"name": "length", "value": -5, "minimum": 0}),
    (["generate", "RUN", "--samples", "0"], "invalid_setting", {"name": "samples", "value": 0, "minimum": 1}),
    (["generate", "RUN", "--seed", str(2**60)], "invalid_setting", {"name": "seed", "value": 2**60}),
    (["generate", "RUN", "--top-p", "0"], "invalid_setting", {"name": "top_p", "value": 0}),
    (["generate", "RUN", "--top-k", "0"], "invalid_setting", {"name": "top_k", "value": 0, "minimum": 1}),
    (["generate", "RUN", "--stop", ""], "invalid_setting", {"name": "stop", "value": [""]}),
    (["generate", "RUN", "--max-lines", "0"], "invalid_setting", {"name": "max_lines", "value": 0}),
    (["generate", "RUN", "--allow", ""], "no_allowed_characters", {}),
    (["generate", "RUN", "--forbid", "☃"], "unknown_character", {"count": 1}),
    (["generate", "RUN", "-i"], "conflicting_options", {"options": ["--interactive", "--json"]}),
    (["generate", "RUN", "--precision", "int4"], "invalid_option_value", {"parameter": "precision"}),
    (["generate", "RUN", "--unknown", "drop"], "invalid_option_value", {"parameter": "unknown"}),
    (["score", "RUN", "one.txt"], "text_too_short", {"characters": 1, "minimum": 2}),
    (["score", "RUN", "old.txt"], "undecodable_text", {"path": "old.txt", "suggested_encoding": "cp1252"}),
    (["score", "RUN", "good.txt"], "unknown_character", {}),
    (
        ["score", "RUN", "good.txt", "--per-char", "--per-line"],
        "conflicting_options",
        {"options": ["--per-char", "--per-line"]},
    ),
    (["info", "model.txt"], "not_safetensors", {"path": "model.txt"}),
    (["corpus", "empty.txt"], "empty_corpus", {"name": "empty"}),
    (["report", "RUN", "-o", "taken"], "path_is_folder", {"path": "taken"}),
    (["report", "RUN", "-o", "missing/report.html"], "folder_not_found", {"path": "missing"}),
    (["report", "RUN", "-o", "good.txt"], "file_exists", {"path": "good.txt"}),
    (["report", "RUN", "one.txt"], "text_too_short", {"characters": 1, "minimum": 2}),
    (["export", "RUN", "RUN", "--to", "int8", "-o", "x"], "too_many_models", {"format": "int8"}),
    (
        ["export", "RUN", "--to", "int8", "-o", "x", "--title", "T"],
        "missing_option",
        {"option": "--to html", "required_by": "--title"},
    ),
    (["export", "RUN", "--to", "float16", "-o", "good.txt"], "file_exists", {"path": "good.txt"}),
    (["export", "RUN", "--to", "float16", "-o", "no/where"], "folder_not_found", {"path": "no"}),
    (["push", "ada/book", "RUN", "--message", " "], "empty_commit_message", {}),
]


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "code", "data"),
    [(["train", *arguments], *rest) for arguments, *rest in TRAINING] + OTHER_COMMANDS,
    ids=lambda value: str(value)[:60],
)
def test_invalid_input_has_a_code_and_changes_no_file(quick_cli, files, run, arguments, code, data):
    before = files_below(files)
    result = quick_cli(*(argument.replace("RUN", str(run)) for argument in arguments), "--json")
    assert result.out == ""
    cli_error(result, code, **data)
    assert files_below(files) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "god.txt"], ["god.txt", "good.txt"]),
        (["train", "good.txt", "--set", "hidden_size=0"], ["hidden_size", "16384", "got 0"]),
        (["train", "good.txt", "--stepz", "5"], ["--stepz", "--steps"]),
        (["trian"], ["train"]),
        (["generate", "RUN", "-p", "Zürich"], ["'ü' (U+00FC, LATIN SMALL LETTER U WITH DIAERESIS)"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_without_json_an_error_is_one_message(cli, files, run, arguments, words):
    result = cli(*(argument.replace("RUN", str(run)) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert all(word in result.err for word in words), result.err
    assert result.err.count("Error:") == 1 and "Traceback" not in result.err


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(quick_cli, files):
    Path("closed").mkdir(mode=0o500)
    result = quick_cli("train", "good.txt", "-o", "closed/run", "--json")
    cli_error(result, "unusable_folder", path="closed/run", reason="Permission denied")


def test_file_without_permission(cli, files):
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    Path("good.txt").chmod(0)
    result = cli("corpus", "good.txt")
    assert result.code == 2 and "Permission denied" in result.err
