import json
import re
import sys
from pathlib import Path

import pytest

from charloom.errors import ModelFileError, RunError
from charloom.model.file.run_folder import (
    BUNDLED,
    check_new_run_folder,
    checkpoint_path,
    checkpoint_steps,
    evaluations_beside,
    find_model,
    new_run_folder,
    read_metrics,
    run_of,
)


def test_runs_are_numbered_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("book", "book-2", "book-3"):
        with new_run_folder(None, "book") as folder:
            assert folder == Path("runs") / name
    with pytest.raises(RunError, match="exists already"), new_run_folder("runs/book", "book"):
        pass
    assert (Path("runs") / "book").is_dir()
    with pytest.raises(RunError, match=rf"^{re.escape(str(Path('runs', 'book')))} exists already"):
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


def test_what_is_meant_is_said_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "weaving").mkdir(parents=True)
    monkeypatch.setitem(BUNDLED, "other", tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError) as told:
        find_model("runs/waeving")
    assert str(told.value) == (
        f"There is no model 'runs/waeving'. Did you mean {Path('runs', 'weaving')}? Accepted are a model file, a run "
        "folder, a run folder with @last or @STEP behind it, or a bundled model (shakespeare, other)."
    )
    with pytest.raises(ModelFileError, match=r"no model 'none/weaving'\. Accepted"):
        find_model("none/weaving")


def test_evaluations_are_found_beside_a_model_and_beside_its_checkpoints(run, tmp_path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert read_metrics(run) == lines and len(lines) > 1
    for model in (run / "model.safetensors", checkpoint_path(run, checkpoint_steps(run)[-1])):
        assert run_of(model) == run and evaluations_beside(model) == lines
    assert run_of(tmp_path / "model.safetensors") is None and evaluations_beside(tmp_path / "m") == []


def test_events_are_no_evaluations_and_a_damaged_line_is_told(tmp_path):
    lines = ['{"step": 0, "sample": "naïve"}', '{"step": 4, "event": "change"}', '{"step": 8}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 4, 8]
    assert evaluations_beside(tmp_path / "m") == [{"step": 0, "sample": "naïve"}, {"step": 8}]
    for damaged in ("[]", '{"step": "4"}', "{}", '{"step": 4'):
        (tmp_path / "metrics.jsonl").write_text(f"{lines[0]}\n{damaged}\n", encoding="utf-8")
        with pytest.raises(RunError, match=r"metrics\.jsonl is damaged .* move that file away"):
            read_metrics(tmp_path)


def test_the_checkpoints_that_there_are_are_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError) as told:
        find_model(f"{tmp_path}@last")
    assert str(told.value) == f"{tmp_path} has no checkpoint 'last'. It has no checkpoints."
    for step in (0, 30, 1_000_000):
        checkpoint_path(tmp_path, step).touch()
    assert checkpoint_path(tmp_path, 30).name == "step-000030.safetensors"
    assert find_model(f"{tmp_path}@last").name == "step-1000000.safetensors"
    with pytest.raises(RunError) as told:
        find_model(f"{tmp_path}@3")
    assert str(told.value) == f"{tmp_path} has no checkpoint '3'. Saved are the steps 0, 30, 1000000, and last."


def test_a_bundled_model_gives_way_to_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model("shakespeare") == BUNDLED["shakespeare"]
    (tmp_path / "shakespeare").touch()
    assert find_model("shakespeare") == Path("shakespeare")


def test_a_run_folder_may_have_an_at_in_its_name(tmp_path):
    run = tmp_path / "me@home"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint_path(run, 7).touch()
    assert find_model(f"{run}@7") == find_model(f"{run}@last") == checkpoint_path(run, 7)
