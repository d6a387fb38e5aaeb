"""``charloom tune``: durations, invalid options, and real searches that are killed and resumed."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import charloom
import charloom.cli.commands.tune
from charloom._util import extras
from charloom.errors import MissingExtraError, RunError, SettingsError
from charloom.planning.recipes import RECIPES, load_recipe
from charloom.tuning import storage as tuning_folder
from charloom.tuning.search import plan_search, seconds_to_check
from charloom.tuning.search_space import differences
from charloom.tuning.storage import JOURNAL, new_tuning_folder, open_tuning_folder
from charloom.tuning.trials import TuningTask
from support.errors import check_error, cli_error, raises_code
from support.tuning_stubs import PLAN, make_task
from support.waiting import wait_for

COMMAND = [sys.executable, "-m", "charloom", "tune"]

# --- durations


@pytest.mark.parametrize(("hours", "at_once", "kept"), [(0.5, 1, 300), (0.5, 2, 150), (0.2, 1, 0), (0.21, 1, 300)])
def test_seconds_to_check_are_reserved_if_the_search_is_long_enough(hours, at_once, kept):
    task = make_task(replace(PLAN, minutes=2.5))
    assert seconds_to_check(task, at_once, hours) == kept
    assert seconds_to_check(task, 1, 0.09, has_candidate=True) == 300 and seconds_to_check(task, 1, 0.08, True) == 0


@pytest.mark.slow
def test_search_plans_from_the_recipe(text):
    corpus = charloom.Corpus(text, "weaving")
    recipe = RECIPES["auto"].with_values({"hidden_size": 16, "seed": 3})
    task = plan_search(corpus, recipe, {"hidden_size": 16, "seed": 3}, 0.01, None, "cpu")
    assert task.plan.minutes == pytest.approx(0.6 / 12)
    assert (task.plan.hidden_size, task.plan.seed, task.plan.precision) == (16, 3, "auto")
    assert "hidden_size" not in {axis.name for axis in task.axes} and task.shortens_warmup
    assert TuningTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    with raises_code("tuning_time_too_short", SettingsError, hours=0.01, minutes=1.0):
        plan_search(corpus, recipe, {}, 0.01, 1.0, "cpu")
    with raises_code("no_validation_text", SettingsError):
        plan_search(corpus, recipe.with_values({"val_fraction": 0}), {}, 0.01, 0.1, "cpu")


# --- invalid input


@pytest.mark.parametrize(("options", "code", "data"), [
    (["--hours", "0"], "invalid_setting", {"name": "hours", "value": 0}),
    (["--hours", "-1"], "invalid_setting", {"name": "hours", "value": -1}),
    (["--hours", "nan"], "invalid_setting", {"name": "hours", "value": "nan"}),
    (["--hours", "1", "--minutes", "0"], "invalid_setting", {"name": "minutes", "value": 0}),
    (["--hours", "1", "--workers", "0"], "invalid_setting", {"name": "workers", "value": 0}),
    (["--hours", "1", "--workers", "2", "-"], "conflicting_options", {"options": ["--workers", "-"]}),
    (["--hours", "1", "--set", "steps=5"], "setting_not_tunable", {"name": "steps"}),
    ([], "missing_argument", {"parameter": "hours"}),
])  # fmt: skip
def test_invalid_options_are_rejected(quick_cli, text, options, code, data):
    Path("book.txt").write_text(text)
    cli_error(quick_cli("tune", "book.txt", *options, "--json"), code, **data)
    assert not Path("tuning").exists()


@pytest.mark.parametrize(("options", "code", "suggestion"), [
    (["--hours", "1", "--set", "learning_rat=1"], "unknown_setting", "learning_rate"),
    (["--hours", "1", "--recipe", "autoo"], "unknown_recipe", "auto"),
])  # fmt: skip
def test_misspelled_names_get_a_suggestion(quick_cli, text, options, code, suggestion):
    Path("book.txt").write_text(text)
    done = quick_cli("tune", "book.txt", *options, "--json")
    cli_error(done, code)
    assert suggestion in done.error["suggestions"] and not Path("tuning").exists()


def test_search_that_ends_before_the_corpus_is_read_is_rejected(quick_cli, text):
    Path("book.txt").write_text(text)
    done = quick_cli("tune", "book.txt", "--hours", "0.0000001", "--json")
    cli_error(done, "search_too_short", hours=1e-7)
    assert not Path("tuning").exists()


@pytest.mark.parametrize(("states", "signal_number", "code"), [
    ([], None, 1),
    (["failed"], None, 1),
    (["complete"], None, 0),
    ([], signal.SIGTERM, 128 + signal.SIGTERM),
])  # fmt: skip
def test_a_search_without_a_complete_trial_fails(quick_cli, text, monkeypatch, states, signal_number, code):
    def run_search(search, stop):
        for state in states:
            trial = search.folder.trials.study.ask()
            search.folder.trials.begin(trial)
            search.folder.trials.finish(trial.number, state, 1.5 if state == "complete" else None)
            yield search.folder.trials.trial(trial.number)
        stop.signal_number = signal_number

    monkeypatch.setattr(charloom.cli.commands.tune, "run_search", run_search)
    Path("book.txt").write_text(text)
    done = quick_cli("tune", "book.txt", "--hours", "0.1", "--minutes", "1", "-o", "t", "--json")
    assert done.code == code, done.err
    assert (done.json["recipe"] is not None) == ("complete" in states) and Path("t/tuning.html").exists()
    if code == 1:
        check_error(done.error, "no_complete_trial", failed=len(states))


def test_folders_of_another_search_are_rejected(quick_cli, text, tmp_path):
    Path("book.txt").write_text(text)
    Path("mine").mkdir()
    cli_error(quick_cli("tune", "book.txt", "--json", "--hours", 1, "-o", "mine"), "not_a_search_folder", path="mine")
    new_tuning_folder(tmp_path / "other", make_task())
    done = quick_cli("tune", "book.txt", "--json", "--hours", 1, "-o", "other")
    cli_error(done, "different_search", difference="corpus")
    corpus = charloom.Corpus.read("book.txt")
    task = replace(make_task(seed=1), corpus_sha256=corpus.sha256, format=corpus.format.to_dict())
    new_tuning_folder(tmp_path / "fixed", task)
    for options, difference in (((), "fixed"), (("--seed", 1, "--minutes", 3), "minutes")):
        done = quick_cli("tune", "book.txt", "--json", "--hours", 1, "-o", "fixed", *options)
        cli_error(done, "different_search", difference=difference)


def test_damaged_journal_is_rejected_and_an_incomplete_last_line_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_folder, "_CREATION_SECONDS", 0.0)
    new_tuning_folder(tmp_path / "t", make_task())
    journal = tmp_path / "t" / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    assert open_tuning_folder(tmp_path / "t").task == make_task() and journal.read_bytes() == whole
    for damaged in (b"", b"no journal\n", whole.replace(b'"axes"', b'"axis"'), b"{}\n", whole[: whole.find(b"\n") + 1]):
        journal.write_bytes(damaged)
        with raises_code("damaged_search_folder", RunError):
            open_tuning_folder(tmp_path / "t")
    with raises_code("folder_exists", RunError):
        new_tuning_folder(tmp_path / "t", make_task())


def test_missing_optuna_is_reported(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    with raises_code("missing_extra", MissingExtraError, extra="tune"):
        tuning_folder.require_optuna()


# --- real trainings


@pytest.fixture
def book(tmp_path, text):
    (tmp_path / "book.txt").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_killed_search_is_resumed_by_two_workers(cli, book):
    options = ["book.txt", "-o", "t", "--minutes", "0.05", "--set", "hidden_size=16", "--set", "num_layers=1"]
    killed = subprocess.Popen([*COMMAND, *options, "--hours", "0.1", "-q"], cwd=book)
    wait_for(lambda: (book / "t" / "trials" / "001" / "metrics.jsonl").exists(), 100)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    begun = len(open_tuning_folder(book / "t").trials.trials())
    done = cli("tune", *options, "--hours", "0.025", "--workers", 2, "--json")
    assert done.code == 0, done.err
    trials = open_tuning_folder(book / "t").trials.trials()
    assert trials[begun - 1].reason == "its process died" and not [t for t in trials if t.state == "running"]
    assert len(trials) > begun and done.json["failed"] == 1
    assert "checked" in done.json and done.json["recipe"] == str(Path("t", "recipe.toml"))
    recipe = load_recipe(str(book / "t" / "recipe.toml"))
    assert recipe.settings.minutes == 0.05 and recipe.settings.hidden_size == 16
    changed = differences(recipe.settings, open_tuning_folder(book / "t").task.plan)
    assert {k: v for k, v in changed.items() if k != "warmup_steps"} == done.json["settings"]
    trained = cli("train", "book.txt", "--recipe", "t/recipe.toml", "-o", "run", "--json")
    assert trained.code == 0, trained.err
    assert (book / "t" / "tuning.html").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_signal_ends_the_search_with_a_result(book, workers, number):
    options = ["book.txt", "-o", "t", "--minutes", "0.05", "--hours", "0.2", "--set", "hidden_size=16"]
    running = subprocess.Popen(
        [*COMMAND, *options, "--workers", str(workers)], cwd=book, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (book / "t" / "trials" / "003" / "metrics.jsonl").exists(), 100)
    running.send_signal(number)
    stderr = running.communicate(timeout=100)[1]
    assert running.returncode == 128 + number, stderr
    assert "charloom tune" in stderr and (book / "t" / "tuning.html").exists()
    states = [trial.state for trial in open_tuning_folder(book / "t").trials.trials()]
    assert "running" not in states and states.count("waiting") == workers
