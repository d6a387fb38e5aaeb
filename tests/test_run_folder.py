import sys
from pathlib import Path

import pytest

from charloom.errors import ModelFileError, RunError
from charloom.model.run_folder import (
    check_new_run_folder,
    checkpoint_path,
    checkpoint_steps,
    find_model,
    new_run_folder,
)


def test_runs_are_numbered_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("book", "book-2", "book-3"):
        with new_run_folder(None, "book") as folder:
            assert folder == Path("runs") / name
    with pytest.raises(RunError, match="exists already"), new_run_folder("runs/book", "book"):
        pass
    assert (Path("runs") / "book").is_dir()
    with pytest.raises(RunError, match="exists already"):
        check_new_run_folder("runs/book")
    check_new_run_folder(None)


@pytest.mark.skipif(sys.platform == "win32", reason="made of POSIX paths")
def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"), new_run_folder(str(tmp_path / "file" / "run"), "book"):
        pass


def test_a_folder_in_which_nothing_was_saved_is_removed_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run_folder(str(tmp_path / "run"), "book") as folder:
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert not folder.exists()


def test_models_are_found_by_file_folder_last_and_step(run):
    steps = checkpoint_steps(run)
    assert find_model(str(run)) == run / "model.safetensors"
    assert find_model(str(run / "model.safetensors")) == run / "model.safetensors"
    assert find_model(f"{run}@last") == checkpoint_path(run, steps[-1])
    assert find_model(f"{run}@{steps[0]}") == checkpoint_path(run, steps[0])


@pytest.mark.parametrize(("suffix", "error", "message"), [
    ("@7777", RunError, "Saved are the steps"), ("@best", RunError, "Saved are the steps"),
    ("/checkpoints", RunError, "holds no model.safetensors"), ("x", ModelFileError, "Did you mean"),
])  # fmt: skip
def test_what_is_not_there_is_explained(run, suffix, error, message):
    with pytest.raises(error, match=message):
        find_model(f"{run}{suffix}")
