"""A search for better settings: what it varies, what it gives up, what it writes down, what it comes to."""

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
def made(tmp_path_factory):
    """A search of 16 trials on a text whose name is as bad as can be, and what trained."""
    train, task = FakeTraining(), replace(make_task(), corpus="<b>&{title}")
    return searched(tmp_path_factory.mktemp("made") / "t", 16, train, task), train


# --- what is varied


def test_axes_go_around_the_plan_and_leave_what_is_fixed():
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
def test_no_place_asks_for_a_batch_larger_than_the_text(characters):
    plan = Settings(batch_size=max(1, characters // (4 * 32)))
    axes = axes_around(plan, characters)
    largest = {axis.name: len(axis.values) - 1 if axis.values else axis.high for axis in axes}
    settings = settings_at(plan, axes, largest)
    assert settings.batch_size == plan.batch_size or settings.batch_size * settings.seq_length < characters


def test_a_step_away_is_near_and_new():
    axes, rng = axes_around(Settings(), 10**6), np.random.Generator(np.random.Philox(key=1))
    point, seen = start_point(axes), [start_point(axes)]
    for _ in range(200):
        found = neighbor(point, axes, rng, lambda one: one not in seen)
        changed = [axis for axis in axes if found[axis.name] != point[axis.name]]
        assert 1 <= len(changed) <= 3 and found not in seen
        for axis in changed:
            if axis.values:
                assert abs(found[axis.name] - point[axis.name]) == 1 and found[axis.name] in range(len(axis.values))
            else:
                assert axis.low <= found[axis.name] <= axis.high
        seen.append(found)
        settings_at(Settings(), axes, found)


# --- what is given up


def test_half_must_have_been_better_at_the_same_share():
    others = [[(0.5, 2.0), (1.0, 1.0)], [(0.5, 3.0), (1.0, 2.0)]]  # at 75 %: 1.5 and 2.5, in the middle 2
    assert lags_behind(0.75, 2.01, others) and not lags_behind(0.75, 1.99, others)
    assert not lags_behind(0.2, 9.0, others), "too early"
    assert not lags_behind(1.0, 9.0, others), "it has ended"
    assert not lags_behind(0.75, 9.0, others[:1]), "too few to compare with"


# --- a search


def test_the_plan_comes_first_and_is_beaten(made):
    folder, train = made
    first = train.recipes[0]
    own = {"sample_length", "checkpoint_every", "keep_checkpoints"}
    assert set(differences(first.settings, PLAN)) == own and first.fixed | {"warmup_steps"} == set(PLAN.to_dict())
    trials = folder.trials.trials()
    found = outcome(trials, ())
    assert found.plan == trials[0] and trials[0].loss == pytest.approx(bowl(PLAN))
    complete = [trial for trial in trials if trial.state == "complete"]
    assert all(trial.loss == pytest.approx(bowl(folder.task.settings(trial.point))) for trial in complete)
    assert found.best.loss == min(trial.loss for trial in complete) < bowl(PLAN)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned and all(trial.curve[-1][0] < 1 and trial.reason == "loss above the median" for trial in pruned)
    assert len({tuple(sorted(trial.point.items())) for trial in trials[:6]}) == 6, "nothing is tried twice"
    assert train.continued == 0, "the training continued after its last checkpoint"


def test_only_the_best_trial_keeps_its_model(made):
    folder, _ = made
    best = outcome(folder.trials.trials(), ()).best
    runs = sorted((folder.path / "trials").iterdir())
    assert [run.name for run in runs if (run / "model.safetensors").exists()] == [f"{best.number:03d}"]
    assert all((run / "metrics.jsonl").exists() and not (run / "checkpoints").exists() for run in runs)
    assert list((folder.path / "alive").iterdir()) == []


def test_a_search_goes_on_where_it_was_and_the_same_again_is_the_same(tmp_path):
    searched(tmp_path / "t", 2)
    task = open_tuning_folder(tmp_path / "t").task
    assert task == make_task()
    again = searched(None, 2, folder=open_tuning_folder(tmp_path / "t"))
    at_once = searched(tmp_path / "u", 4)
    assert [t.point for t in again.trials.trials()] == [t.point for t in at_once.trials.trials()]
    journal = (tmp_path / "t" / JOURNAL).read_text()
    assert all(isinstance(json.loads(line), dict) for line in journal.splitlines()), "plain JSON and nothing else"


def test_no_training_begins_that_does_not_fit(tmp_path):
    folder, train = new_tuning_folder(tmp_path / "t", make_task(replace(PLAN, minutes=1.0))), FakeTraining()
    assert list(search(folder, None, time.time() + 59, "cpu", never, train)) == [] and train.recipes == []


def test_what_is_stopped_is_tried_again(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    asked = iter([False, False, True, True, True])  # the search begins, one evaluation is made
    list(search(folder, None, time.time() + 3600, "cpu", lambda: next(asked), FakeTraining()))
    first, second = folder.trials.trials()
    assert (first.state, first.reason) == ("failed", "interrupted")
    assert second.state == "waiting" and second.point == first.point
    folder = searched(None, 1, folder=folder)
    assert outcome(folder.trials.trials(), ()).plan.number == 1


def test_a_training_whose_process_is_gone_is_tried_again_once(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for _ in range(2):
        trial = folder.trials.study.ask()
        trial.set_user_attr("process", [gone.pid, os.uname().nodename])
        assert folder.trials.fail_dead() == [trial.number]
    states = [(trial.state, trial.reason) for trial in folder.trials.trials()]
    assert states == [("failed", "its process died")] * 2, "its settings may be what kills"
    living = folder.trials.study.ask()
    folder.trials.begin(living)
    assert folder.trials.fail_dead() == []


def test_a_training_of_another_machine_is_dead_when_it_is_silent(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    trial = folder.trials.study.ask()
    trial.set_user_attr("process", [1, "elsewhere"])
    with folder.trials.heartbeat(trial.number):
        (heartbeat,) = (folder.path / "alive").iterdir()
        assert folder.trials.fail_dead() == []
        os.utime(heartbeat, (0, time.time() - 121))
        assert folder.trials.fail_dead() == [trial.number]
    assert not folder.trials.finish(trial.number, "complete", 1.0), "it was given up meanwhile"


def test_what_diverges_is_given_up_and_what_fails_is_told(tmp_path):
    def diverges(settings):
        if settings != PLAN and settings.learning_rate != PLAN.learning_rate:
            raise charloom.CharloomError("the disk is full", code="disk_full")
        return bowl(settings)

    with pytest.raises(charloom.CharloomError, match="the disk is full"):
        searched(tmp_path / "t", 50, FakeTraining(diverges))
    failed = open_tuning_folder(tmp_path / "t").trials.trials()[-1]
    assert failed.state == "failed" and "the disk is full" in failed.reason

    def bad(_settings):
        raise NonFiniteError("not finite", code="nonfinite_loss")

    with raises_code("plan_not_trainable", reason="diverged"):
        searched(tmp_path / "u", 2, FakeTraining(bad))


# --- the order of trials and checks


@pytest.mark.parametrize(("reserved", "checked"), [(60.0, True), (0.0, False)])
def test_run_search_tries_first_and_then_checks_the_best_and_the_plan(tmp_path, reserved, checked):
    folder = searched(tmp_path / "t", 8)
    best = outcome(folder.trials.trials(), ()).best
    assert best.number != 0
    until = time.time() + reserved  # no time for another trial, but for the checks
    run = Search(folder, None, "cpu", until, reserved, 1, ("book.txt",))
    seen = list(run_search(run, never, FakeTraining(seed_changes=0.1), warms_up=False))
    assert [trial.number for trial in folder.checks.trials()] == ([0, 1] if checked else [])
    assert [trial.checks for trial in folder.checks.trials()] == ([best.number, 0] if checked else [])
    assert all(trial.checks is not None for trial in seen) and bool(seen) is checked
    assert list(run_search(run, never, FakeTraining(), warms_up=False)) == [], "what was checked is not checked again"


def test_run_search_checks_nothing_once_it_is_stopped(tmp_path):
    folder = searched(tmp_path / "t", 8)
    run = Search(folder, None, "cpu", time.time() + 60, 60.0, 1, ("book.txt",))
    assert list(run_search(run, lambda: True, FakeTraining(), warms_up=False)) == []
    assert folder.checks.trials() == []


@pytest.mark.parametrize("checked", [None, 3])
def test_a_worker_is_told_all_it_needs(tmp_path, checked):
    text_format = charloom.TextFormat(lines=True, column="title", normalize="nfc")
    arguments = worker_arguments(tmp_path, text_format, "cpu", ["-a.txt", "b.txt"], 1.5, checked)
    options = command.make_context(arguments[0], arguments[1:]).params
    assert options["sources"] == ("-a.txt", "b.txt") and options["as_worker"] == 1.5
    assert (options["output"], options["device"], options["checked"]) == (str(tmp_path), "cpu", checked)
    assert {name: options[name] for name in ("lines", "column", "normalize", "boundary")} == {
        "lines": True, "column": "title", "normalize": "nfc", "boundary": "",
    }  # fmt: skip


# --- what it comes to


def test_the_result_is_checked_with_another_seed(made):
    (folder, _), train = made, FakeTraining(seed_changes=0.5)
    best = outcome(folder.trials.trials(), ()).best
    for number in (best.number, 0, 0):  # the last has been done
        list(check(folder, None, number, "cpu", never, train))
    checks = folder.checks.trials()
    assert [(one.checks, one.loss) for one in checks] == [
        (best.number, pytest.approx(best.loss + 0.5)),
        (0, pytest.approx(bowl(PLAN) + 0.5)),
    ]
    found = outcome(folder.trials.trials(), checks)
    assert found.is_checked and found.winner == found.best
    (verdict,) = tuning_verdict(folder.task, found, 16)
    assert verdict.code == "better_settings_found"
    assert verdict.data["best_check_loss"] == best.loss + 0.5 and verdict.data["plan_check_loss"] == bowl(PLAN) + 0.5


def test_the_page_shows_every_trial_and_asks_nobody(made):
    folder, _ = made
    trials = folder.trials.trials()
    found = outcome(trials, ())
    page = tuning_page(folder.task, trials, (), found, ["A & B."])
    assert "default-src 'none'; script-src 'none'" in page and "<script" not in page and "://" not in page
    assert "&lt;b&gt;&amp;{title}: tuning" in page and "<p>A &amp; B.</p>" in page
    rows = page.split("<tbody>")[-1].split("</tbody>")[0].split("<tr ")[1:]
    ended = [trial for trial in trials if trial.state in ("complete", "pruned")]
    assert len(rows) == len(ended) and f"<td>{found.best.number}</td><td>{found.best.loss:.4f}</td>" in rows[0]
    assert page.count("<path class=") == len(ended)
    assert page.count("<circle") == len(ended) * len(folder.task.axes)
    assert all(f">{axis.name}</figcaption>" in page for axis in folder.task.axes)
    waits = Trial(0, "waiting", start_point(folder.task.axes))
    assert "No training has been evaluated yet" in tuning_page(folder.task, [waits], (), outcome([waits], ()), [])
