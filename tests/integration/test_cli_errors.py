"""Invalid input: exit code 2, an error with a code and data, no traceback, and no file is changed."""

import os
import sys
from pathlib import Path

import pytest

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


TRAINING = [
    (["empty.txt"], "is empty"),
    (["one.txt"], "too few to judge by"),
    (["one.txt", "--val-fraction", "0"], "1 characters, fewer than one window"),
    (["short.txt"], "fewer than one window"),
    (["music.mp3"], "probably not a text file"),
    (["old.txt"], "byte 0x93 at offset 0 (line 1)"),
    (["old.txt"], "--encoding cp1252"),
    (["photos"], "every file there is binary"),
    (["nothing"], "holds no files"),
    (["god.txt"], "Did you mean good.txt?"),
    (["shakspeare"], "Did you mean shakespeare?"),
    (["*.epub"], "No file matches"),
    (["-", "-"], "named twice"),
    ([], "Missing argument"),
    (["good.txt", "--encoding", "utf-9"], "Unknown encoding"),
    (["good.txt", "-o", "taken"], "exists already"),
    (["good.txt", "-o", "good.txt"], "exists already"),
    (["good.txt", "-o", "good.txt/run"], "cannot be made"),
    (["good.txt", "--recipe", "tutorial-gur"], "Did you mean tutorial-gru?"),
    (["good.txt", "--recipe", "none.toml"], "cannot be read"),
    (["good.txt", "--recipe", "bad.toml"], "Did you mean hidden_size?"),
    (["good.txt", "--set", "hiden_size=3"], "Did you mean hidden_size?"),
    (["good.txt", "--set", "hidden_size"], "KEY=VALUE"),
    (["good.txt", "--set", "hidden_size=big"], "must be a whole number; got 'big'"),
    (["good.txt", "--set", "hidden_size=0"], "from 1 to 16384; got 0"),
    (["good.txt", "--set", "seed=1", "--set", "seed=2"], "given twice"),
    (["good.txt", "--set", "minutes=1", "--minutes", "2"], "given twice"),
    (["good.txt", "--set", "cell=rnn"], "one of gru, lstm"),
    (["good.txt", "--minutes", "0"], "--minutes must be above 0"),
    (["good.txt", "--minutes", "nan"], "must be above 0"),
    (["good.txt", "--epochs", "-1"], "--epochs must be above 0"),
    (["good.txt", "--steps", "ten"], "not a valid integer"),
    (["good.txt", "--steps", "5", "--epochs", "1"], "Give one of"),
    (["good.txt", "--val-fraction", "1"], "val_fraction must be"),
    (["good.txt", "--val-fraction", "0.6", "--test-fraction", "0.4"], "nothing to train on"),
    (["good.txt", "--device", "tpu"], "one of auto, cpu, cuda, mps"),
    (["good.txt", "--recipe", "tutorial-gru"], "fewer than batch_size 64"),
    (["good.txt", "--seed", "-1"], "seed must be"),
    (["good.txt", "--stepz", "5"], "No such option"),
    ([], "Missing argument 'CORPUS...'"),
    (["--resume", "nowhere"], "nowhere is no run folder"),
    (["--resume", "taken"], "taken is no run folder"),
    (["--resume", "RUN"], "does not say where its text (weaving) lies"),
    (["good.txt", "--resume", "RUN"], "trained on another text: weaving"),
    (["--resume", "RUN", "--new-text"], "--new-text needs the text"),
    (["good.txt", "--new-text"], "--new-text goes with --resume RUN"),
    (["--resume", "RUN", "--set", "seed=1"], "--set cannot be given with --resume"),
    (["--resume", "RUN", "-o", "other", "--seed", "2"], "--output, --seed cannot be given with --resume"),
    (["--resume", "RUN", "--plan"], "--plan cannot be given with --resume"),
    (["--resume", "RUN", "--steps", "0"], "--steps must be above 0"),
    (["--resume", "RUN", "--steps", "5", "--minutes", "1"], "Give one of"),
    (["good.txt", "--init", "nowhere"], "There is no model 'nowhere'"),
    (["good.txt", "--init", "model.txt"], "not a safetensors file"),
    (["good.txt", "--init", "RUN", "--set", "hidden_size=17"], "hidden_size is 48 in the model"),
]

OTHERS = [
    (["trian", "good.txt"], "Did you mean train?"),
    (["frobnicate"], "Known are train"),
    (["generate", "nowhere"], "There is no model 'nowhere'"),
    (["generate", "model.txt"], "not a safetensors file"),
    (["generate", "taken"], "holds no model.safetensors"),
    (["generate", "RUN@9"], "Saved are the steps"),
    (["generate", "RUN", "-p", "Zürich"], "'ü' (U+00FC, LATIN SMALL LETTER U WITH DIAERESIS)"),
    (["generate", "RUN", "-p", "a", "--prompt-file", "good.txt"], "not with both"),
    (["generate", "RUN", "--prompt-file", "none.txt"], "cannot be read"),
    (["generate", "RUN", "--prompt-file", "old.txt"], "is not UTF-8"),
    (["generate", "RUN", "-t", "-1"], "temperature must be"),
    (["generate", "RUN", "-t", "nan"], "temperature must be"),
    (["generate", "RUN", "-n", "-5"], "length must be 0 or more"),
    (["generate", "RUN", "--samples", "0"], "samples must be a whole number from 1"),
    (["generate", "RUN", "--seed", str(2**60)], "seed must be"),
    (["score", "RUN", "one.txt"], "at least 2 characters"),
    (["score", "RUN", "old.txt"], "is not UTF-8"),
    (["score", "RUN", "good.txt"], "never seen"),
    (["score", "RUN", "good.txt", "--per-char", "--per-line"], "not both"),
    (["info", "model.txt"], "not a safetensors file"),
    (["corpus", "empty.txt"], "is empty"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["train", *a], m) for a, m in TRAINING] + OTHERS, ids=lambda v: str(v)[:60]
)
def test_bad_input_is_explained_with_exit_code_2(cli, files, run, arguments, message):
    before = {p: p.read_bytes() for p in files.rglob("*") if p.is_file()}
    arguments = [a.replace("RUN", str(run)) for a in arguments]
    result = cli(*arguments)
    assert (result.code, result.out) == (2, ""), result.err
    assert message in result.err
    assert "Traceback" not in result.err and result.err.count("Error:") == 1
    assert {p: p.read_bytes() for p in files.rglob("*") if p.is_file()} == before  # nothing lost, nothing left


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_explained(cli, files):
    Path("closed").mkdir(mode=0o500)
    result = cli("train", "good.txt", "-o", "closed/run")
    assert result.code == 2 and "Permission denied" in result.err


def test_a_file_without_permission_is_explained(cli, files):
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    Path("good.txt").chmod(0)
    result = cli("corpus", "good.txt")
    assert result.code == 2 and "Permission denied" in result.err
