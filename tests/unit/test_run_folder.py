import json
import sys
from pathlib import Path

import pytest

from charloom.errors import ModelFileError, RunError
from charloom.model.file.run_folder import (
    BUNDLED,
    check_new_run_folder,
    checkpoint_path,
    checkpoint_steps,
    find_model,
    new_run_folder,
    read_metrics,
    run_evaluations,
    run_of,
    similar_models,
)
from support.errors import raises_code


def test_new_run_folders_are_numbered_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("book", "book-2", "book-3"):
        with new_run_folder(None, "book") as folder:
            assert folder == Path("runs") / name
    path = str(Path("runs", "book"))
    with raises_code("file_exists", RunError, path=path), new_run_folder("runs/book", "book"):
        pass
    assert (Path("runs") / "book").is_dir()
    with raises_code("file_exists", RunError, path=path):
        check_new_run_folder("runs/book")
    check_new_run_folder(None)


@pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX paths")
def test_unusable_run_folder_is_rejected(tmp_path):
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "run")
    with raises_code("unusable_folder", RunError, path=path), new_run_folder(path, "book"):
        pass


def test_run_folder_is_removed_if_the_training_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run_folder(str(tmp_path / "run"), "book") as folder:
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert not folder.exists()


def test_find_model_accepts_file_folder_last_and_step(run):
    steps = checkpoint_steps(run)
    assert find_model(str(run)) == run / "model.safetensors"
    assert find_model(str(run / "model.safetensors")) == run / "model.safetensors"
    assert find_model(f"{run}@last") == checkpoint_path(run, steps[-1])
    assert find_model(f"{run}@{steps[0]}") == checkpoint_path(run, steps[0])


def test_find_model_reports_missing_models(run):
    steps = checkpoint_steps(run)
    for name in ("7777", "best"):
        with raises_code("checkpoint_not_found", RunError, path=str(run), checkpoint=name, available=steps):
            find_model(f"{run}@{name}")
    with raises_code("no_model_in_folder", RunError, path=str(run / "checkpoints")):
        find_model(f"{run}/checkpoints")
    with raises_code("model_not_found", ModelFileError, model=f"{run}x", suggestions=[str(run)]):
        find_model(f"{run}x")


def _make_runs(folder, *names):
    for name in names:
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "model.safetensors").touch()


@pytest.mark.parametrize(
    ("argument", "suggestions"),
    [
        ("shakspeare", ["shakespeare"]),
        ("weavin", ["runs/weaving"]),
        ("weaving", ["runs/weaving"]),
        ("rusn/weaving", ["runs/weaving"]),
        ("rusn/waeving@last", ["runs/weaving@last"]),
        ("notes.safetensor", ["notes.safetensors"]),
        ("nots", ["notes.safetensors"]),
        ("runs/draft", []),
        ("letters", []),
        ("other/weaving", []),
        ("", []),
        ("a" * 5000, []),
        ("a" * 5000 + "/b", []),
        ("we\0aving", ["runs/weaving"]),
    ],
)
def test_models_and_run_folders_near_the_working_directory_are_suggested(argument, suggestions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _make_runs(tmp_path, "weaving", "poems")
    (tmp_path / "runs" / "drafts").mkdir()
    (tmp_path / "notes.safetensors").touch()
    (tmp_path / "letter.txt").touch()
    assert [Path(path).as_posix() for path in similar_models(argument)] == suggestions


def test_find_model_suggests_a_similar_path_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _make_runs(tmp_path, "weaving")
    monkeypatch.setitem(BUNDLED, "other", tmp_path / "other.safetensors")
    expected = {"suggestions": [str(Path("runs", "weaving"))], "bundled": ["shakespeare", "other"]}
    with raises_code("model_not_found", ModelFileError, model="runs/waeving", **expected) as caught:
        find_model("runs/waeving")
    message = str(caught.value)
    assert all(part in message for part in ("runs/waeving", expected["suggestions"][0], "shakespeare, other"))
    with raises_code("model_not_found", ModelFileError, model="none/weaving", suggestions=[]):
        find_model("none/weaving")


def test_evaluations_are_read_for_a_model_and_for_its_checkpoints(run, tmp_path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert read_metrics(run) == lines and len(lines) > 1
    for model in (run / "model.safetensors", checkpoint_path(run, checkpoint_steps(run)[-1])):
        assert run_of(model) == run and run_evaluations(model) == lines
    assert run_of(tmp_path / "model.safetensors") is None and run_evaluations(tmp_path / "m") == []


def test_evaluations_exclude_events_and_damaged_lines_are_rejected(tmp_path):
    lines = ['{"step": 0, "sample": "naïve"}', '{"step": 4, "event": "change"}', '{"step": 8}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 4, 8]
    assert run_evaluations(tmp_path / "m") == [{"step": 0, "sample": "naïve"}, {"step": 8}]
    for damaged in ("[]", '{"step": "4"}', "{}", '{"step": 4'):
        (tmp_path / "metrics.jsonl").write_text(f"{lines[0]}\n{damaged}\n", encoding="utf-8")
        with raises_code("damaged_metrics", RunError, path=str(tmp_path / "metrics.jsonl")):
            read_metrics(tmp_path)


def test_find_model_lists_the_available_checkpoints(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with raises_code("checkpoint_not_found", RunError, path=str(tmp_path), checkpoint="last", available=[]):
        find_model(f"{tmp_path}@last")
    for step in (0, 30, 1_000_000):
        checkpoint_path(tmp_path, step).touch()
    assert checkpoint_path(tmp_path, 30).name == "step-000030.safetensors"
    assert find_model(f"{tmp_path}@last").name == "step-1000000.safetensors"
    with raises_code("checkpoint_not_found", RunError, checkpoint="3", available=[0, 30, 1_000_000]) as caught:
        find_model(f"{tmp_path}@3")
    assert "0, 30, 1000000, last" in str(caught.value)


def test_file_takes_precedence_over_a_bundled_model_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model("shakespeare") == BUNDLED["shakespeare"]
    (tmp_path / "shakespeare").touch()
    assert find_model("shakespeare") == Path("shakespeare")


def test_run_folder_name_may_contain_an_at_sign(tmp_path):
    run = tmp_path / "me@home"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint_path(run, 7).touch()
    assert find_model(f"{run}@7") == find_model(f"{run}@last") == checkpoint_path(run, 7)
