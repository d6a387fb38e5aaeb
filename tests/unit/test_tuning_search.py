"""Hyperparameter search: search space, pruning, journal, interrupted trials, verification and report."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import charloom
from charloom.cli.commands.tune import command
from charloom.errors import NonFiniteError
from charloom.planning.settings import Settings
from charloom.tuning.report import tuning_page, tuning_verdict
from charloom.tuning.search import Search, check, lags_behind, run_search, search
from charloom.tuning.search_space import axes_around, differences, neighbor, settings_at, start_point
from charloom.tuning.storage import JOURNAL, new_tuning_folder, open_tuning_folder
from charloom.tuning.trials import Trial, outcome
from charloom.tuning.workers import worker_arguments
from support.errors import raises_code
from support.tuning_stubs import PLAN, FakeTraining, bowl, make_task, never, searched


@pytest.fixture(scope="module")
def finished_search(tmp_path_factory):
    """A search of 16 trials and its stub of training. The corpus has a name that HTML must escape."""
    train, task = FakeTraining(), replace(make_task(), corpus="<b>&{title}")
    return searched(tmp_path_factory.mktemp("made") / "t", 16, train, task), train


# --- search space


def test_axes_surround_the_plan_and_exclude_fixed_settings():
    plan = Settings()
    axes = {axis.name: axis for axis in axes_around(plan, 10**6)}
    assert settings_at(plan, axes.values(), start_point(axes.values())) == plan
    assert axes["hidden_size"].values == (256, 384, 512, 768)
    assert axes["batch_size"].values == (16, 32, 64) and axes["num_layers"].values == (1, 2)
    assert axes["learning_rate"].low == pytest.approx(0.002) and axes["learning_rate"].high == pytest.approx(0.018)
    left = {axis.name for axis in axes_around(plan, 10**6, {"hidden_size", "dropout_output", "learning_rate"})}
    assert {"hidden_size", "learning_rate", "dropout_output"}.isdisjoint(left) and "dropout_hidden" in left
    assert "muon_ratio" not in {axis.name for axis in axes_around(replace(plan, optimizer="adamw"), 10**6)}


@pytest.mark.parametrize("characters", [300, 2000, 10**6])
def test_no_point_has_a_batch_larger_than_the_text(characters):
    plan = Settings(batch_size=max(1, characters // (4 * 32)))
    axes = axes_around(plan, characters)
    largest = {axis.name: len(axis.values) - 1 if axis.values else axis.high for axis in axes}
    settings = settings_at(plan, axes, largest)
    assert settings.batch_size == plan.batch_size or settings.batch_size * settings.seq_length < characters


def test_neighbor_is_new_and_differs_by_single_steps():
    axes, rng = axes_around(Settings(), 10**6), np.random.Generator(np.random.Philox(key=1))
    point, seen = start_point(axes), [start_point(axes)]
    for _ in range(200):
        neighboring = neighbor(point, axes, rng, lambda candidate: candidate not in seen)
        changed = [axis for axis in axes if neighboring[axis.name] != point[axis.name]]
        assert 1 <= len(changed) <= 3 and neighboring not in seen
        for axis in changed:
            if axis.values:
                assert abs(neighboring[axis.name] - point[axis.name]) == 1 and neighboring[axis.name] in range(
                    len(axis.values)
                )
            else:
                assert axis.low <= neighboring[axis.name] <= axis.high
        seen.append(neighboring)
        settings_at(Settings(), axes, neighboring)


# --- pruning


def test_pruning_compares_with_the_median_at_the_same_share():
    curves = [[(0.5, 2.0), (1.0, 1.0)], [(0.5, 3.0), (1.0, 2.0)]]  # at 75%: 1.5 and 2.5, median 2
    assert lags_behind(0.75, 2.01, curves) and not lags_behind(0.75, 1.99, curves)
    assert not lags_behind(0.2, 9.0, curves), "too early"
    assert not lags_behind(1.0, 9.0, curves), "the training is complete"
    assert not lags_behind(0.75, 9.0, curves[:1]), "too few curves to compare with"


# --- search


def test_first_trial_is_the_plan_and_a_later_trial_is_better(finished_search):
    folder, train = finished_search
    first = train.recipes[0]
    search_settings = {"sample_length", "checkpoint_every", "keep_checkpoints"}
    assert set(differences(first.settings, PLAN)) == search_settings and first.fixed | {"warmup_steps"} == set(
        PLAN.to_dict()
    )
    trials = folder.trials.trials()
    result = outcome(trials, ())
    assert result.plan == trials[0] and trials[0].loss == pytest.approx(bowl(PLAN))
    complete = [trial for trial in trials if trial.state == "complete"]
    assert all(trial.loss == pytest.approx(bowl(folder.task.settings(trial.point))) for trial in complete)
    assert result.best.loss == min(trial.loss for trial in complete) < bowl(PLAN)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned and all(trial.curve[-1][0] < 1 and trial.reason == "loss above the median" for trial in pruned)
    assert len({tuple(sorted(trial.point.items())) for trial in trials[:6]}) == 6, "no point is tried twice"
    assert train.continued == 0, "the training continued after its last checkpoint"


def test_only_the_best_trial_keeps_its_model(finished_search):
    folder, _ = finished_search
    best = outcome(folder.trials.trials(), ()).best
    runs = sorted((folder.path / "trials").iterdir())
    assert [run.name for run in runs if (run / "model.safetensors").exists()] == [f"{best.number:03d}"]
    assert all((run / "metrics.jsonl").exists() and not (run / "checkpoints").exists() for run in runs)
    assert list((folder.path / "alive").iterdir()) == []


def test_resumed_search_equals_an_uninterrupted_search(tmp_path):
    searched(tmp_path / "t", 2)
    task = open_tuning_folder(tmp_path / "t").task
    assert task == make_task()
    resumed = searched(None, 2, folder=open_tuning_folder(tmp_path / "t"))
    uninterrupted = searched(tmp_path / "u", 4)
    assert [t.point for t in resumed.trials.trials()] == [t.point for t in uninterrupted.trials.trials()]
    journal = (tmp_path / "t" / JOURNAL).read_text()
    assert all(isinstance(json.loads(line), dict) for line in journal.splitlines()), "every line is a JSON object"


def test_no_training_starts_without_enough_time(tmp_path):
    folder, train = new_tuning_folder(tmp_path / "t", make_task(replace(PLAN, minutes=1.0))), FakeTraining()
    assert list(search(folder, None, time.time() + 59, "cpu", never, train)) == [] and train.recipes == []


def test_interrupted_trial_is_repeated(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    stops = iter([False, False, True, True, True])  # stops after one evaluation
    list(search(folder, None, time.time() + 3600, "cpu", lambda: next(stops), FakeTraining()))
    first, second = folder.trials.trials()
    assert (first.state, first.reason) == ("failed", "interrupted")
    assert second.state == "waiting" and second.point == first.point
    folder = searched(None, 1, folder=folder)
    assert outcome(folder.trials.trials(), ()).plan.number == 1


def test_trial_of_a_dead_process_is_repeated_once(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for _ in range(2):
        trial = folder.trials.study.ask()
        trial.set_user_attr("process", [dead.pid, os.uname().nodename])
        assert folder.trials.fail_dead() == [trial.number]
    states = [(trial.state, trial.reason) for trial in folder.trials.trials()]
    assert states == [("failed", "its process died")] * 2, (
        "not repeated again: the settings themselves may crash the process"
    )
    living = folder.trials.study.ask()
    folder.trials.begin(living)
    assert folder.trials.fail_dead() == []


def test_trial_on_another_machine_fails_without_a_heartbeat(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    trial = folder.trials.study.ask()
    trial.set_user_attr("process", [1, "elsewhere"])
    with folder.trials.heartbeat(trial.number):
        (heartbeat,) = (folder.path / "alive").iterdir()
        assert folder.trials.fail_dead() == []
        os.utime(heartbeat, (0, time.time() - 121))
        assert folder.trials.fail_dead() == [trial.number]
    assert not folder.trials.finish(trial.number, "complete", 1.0), "the trial has already failed"


def test_errors_end_the_search(tmp_path):
    def fails_after_the_plan(settings):
        if settings != PLAN and settings.learning_rate != PLAN.learning_rate:
            raise charloom.CharloomError("the disk is full", code="disk_full")
        return bowl(settings)

    with raises_code("disk_full"):
        searched(tmp_path / "t", 50, FakeTraining(fails_after_the_plan))
    failed = open_tuning_folder(tmp_path / "t").trials.trials()[-1]
    assert failed.state == "failed" and "the disk is full" in failed.reason

    def diverges(_settings):
        raise NonFiniteError("not finite", code="nonfinite_loss")

    with raises_code("plan_not_trainable", reason="diverged"):
        searched(tmp_path / "u", 2, FakeTraining(diverges))


# --- order of trials and checks


@pytest.mark.parametrize(("reserved", "checked"), [(60.0, True), (0.0, False)])
def test_run_search_ends_with_checks_of_the_best_trial_and_the_plan(tmp_path, reserved, checked):
    folder = searched(tmp_path / "t", 8)
    best = outcome(folder.trials.trials(), ()).best
    assert best.number != 0
    until = time.time() + reserved  # enough time for the checks, but not for another trial
    run = Search(folder, None, "cpu", until, reserved, 1, ("book.txt",))
    seen = list(run_search(run, never, FakeTraining(seed_changes=0.1), warms_up=False))
    assert [trial.number for trial in folder.checks.trials()] == ([0, 1] if checked else [])
    assert [trial.checks for trial in folder.checks.trials()] == ([best.number, 0] if checked else [])
    assert all(trial.checks is not None for trial in seen) and bool(seen) is checked
    assert list(run_search(run, never, FakeTraining(), warms_up=False)) == [], "no check is repeated"


def test_stopped_search_runs_no_checks(tmp_path):
    folder = searched(tmp_path / "t", 8)
    run = Search(folder, None, "cpu", time.time() + 60, 60.0, 1, ("book.txt",))
    assert list(run_search(run, lambda: True, FakeTraining(), warms_up=False)) == []
    assert folder.checks.trials() == []


@pytest.mark.parametrize("checked", [None, 3])
def test_worker_arguments_are_complete(tmp_path, checked):
    text_format = charloom.TextFormat(lines=True, column="title", normalize="nfc")
    arguments = worker_arguments(tmp_path, text_format, "cpu", ["-a.txt", "b.txt"], 1.5, checked)
    options = command.make_context(arguments[0], arguments[1:]).params
    assert options["sources"] == ("-a.txt", "b.txt") and options["as_worker"] == 1.5
    assert (options["output"], options["device"], options["checked"]) == (str(tmp_path), "cpu", checked)
    assert {name: options[name] for name in ("lines", "column", "normalize", "boundary")} == {
        "lines": True, "column": "title", "normalize": "nfc", "boundary": "",
    }  # fmt: skip


# --- result


def test_result_is_checked_with_another_seed(finished_search):
    (folder, _), train = finished_search, FakeTraining(seed_changes=0.5)
    best = outcome(folder.trials.trials(), ()).best
    for number in (best.number, 0, 0):  # the last check is already complete
        list(check(folder, None, number, "cpu", never, train))
    checks = folder.checks.trials()
    assert [(trial.checks, trial.loss) for trial in checks] == [
        (best.number, pytest.approx(best.loss + 0.5)),
        (0, pytest.approx(bowl(PLAN) + 0.5)),
    ]
    result = outcome(folder.trials.trials(), checks)
    assert result.is_checked and result.winner == result.best
    (verdict,) = tuning_verdict(folder.task, result, 16)
    assert verdict.code == "better_settings_found"
    assert verdict.data["best_check_loss"] == best.loss + 0.5 and verdict.data["plan_check_loss"] == bowl(PLAN) + 0.5


def test_page_shows_every_trial_and_loads_nothing(finished_search):
    folder, _ = finished_search
    trials = folder.trials.trials()
    result = outcome(trials, ())
    page = tuning_page(folder.task, trials, (), result, ["A & B."])
    assert "default-src 'none'; script-src 'none'" in page and "<script" not in page and "://" not in page
    assert "&lt;b&gt;&amp;{title}" in page and "<p>A &amp; B.</p>" in page
    rows = page.split("<tbody>")[-1].split("</tbody>")[0].split("<tr ")[1:]
    ended = [trial for trial in trials if trial.state in ("complete", "pruned")]
    assert len(rows) == len(ended) and f"<td>{result.best.number}</td><td>{result.best.loss:.4f}</td>" in rows[0]
    assert page.count("<path class=") == len(ended)
    assert page.count("<circle") == len(ended) * len(folder.task.axes)
    assert all(f">{axis.name}</figcaption>" in page for axis in folder.task.axes)
    waiting = Trial(0, "waiting", start_point(folder.task.axes))
    empty = tuning_page(folder.task, [waiting], (), outcome([waiting], ()), [])
    assert '<p class="note">' in empty and "<path class=" not in empty
