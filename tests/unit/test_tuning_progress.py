"""What is seen of a search while it runs, and what it leaves when it ends."""

import io
import re
import sys
import time

import pytest

from charloom.cli.commands.tune import print_summary
from charloom.planning.recipes import load_recipe
from charloom.terminal.training_view import RaisingConsole
from charloom.terminal.tuning_view import TuningView
from charloom.tuning.report import write_result
from charloom.tuning.search import check, search
from charloom.tuning.search_space import start_point
from charloom.tuning.storage import new_tuning_folder
from charloom.tuning.trials import Trial, outcome
from support.tuning_stubs import PLAN, After, FakeTraining, bowl, make_task, never
from support.waiting import wait_for


class Terminal(io.StringIO):
    def isatty(self):
        return True


def view_of(folder, out, minutes=60.0, reserved=0.0, quiet=False):
    console = RaisingConsole(file=out, force_terminal=out.isatty(), width=200, highlight=False, markup=False)
    return TuningView(folder, time.time() + 60 * minutes, reserved, console, quiet)


@pytest.fixture
def folder(tmp_path):
    return new_tuning_folder(tmp_path / "t", make_task())


def run_search(folder, view, trials):
    stop = After(trials)
    with view:
        for trial in search(folder, None, time.time() + 3600, "cpu", stop, FakeTraining()):
            stop.left -= trial.state in ("complete", "pruned", "failed")
            view.show(trial)


def test_every_trial_that_ends_has_a_line(folder):
    out = io.StringIO()
    run_search(folder, view_of(folder, out, reserved=120), 9)
    heading, plan, varied, first, *rest = out.getvalue().splitlines()
    assert "60 minutes of search (the last 2 for verification)" in heading
    assert plan.startswith("plan of auto: GRU, ") and varied.startswith("searching: learning_rate, ")
    assert first == f"trial 0 (the plan): {bowl(PLAN):.4f} (best so far)"
    trials = folder.trials.trials()
    ended = [trial for trial in trials if trial.state in ("complete", "pruned")]
    assert len(ended) == len(rest) + 1
    best = float("inf")
    for trial, line in zip(ended, [first, *rest], strict=True):
        assert line.startswith(f"trial {trial.number} (")
        if trial.state == "pruned":
            assert f"): pruned ({trial.curve[-1][1]:.4f} at " in line and trial.reason in line
        else:
            assert line.endswith(" (best so far)") is (trial.loss < best)
            best = min(best, trial.loss)


def test_a_terminal_shows_what_is_being_tried(folder, monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    point = start_point(folder.task.axes)
    with view_of(folder, out, minutes=10.9) as view:
        for trial, line in (
            (Trial(3, "running", point), "): starting"),
            (Trial(3, "running", point, ((0.25, 1.5),)), "): 1.5000 at 25%"),
            (Trial(0, "running", point, checks=4), "verification of trial 4: starting"),
        ):
            view.show(trial)
            wait_for(lambda line=line: line in out.getvalue())
    assert "too short for verification" in out.getvalue() and re.search(r"10:\d\d left", out.getvalue())


class Broken(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


def test_a_search_whose_time_is_over_does_not_show_negative_minutes(folder):
    out = io.StringIO()
    view_of(folder, out, minutes=-1.0)
    assert "0 minutes of search" in out.getvalue()


def test_nobody_who_asked_for_quiet_or_has_left_is_told(folder):
    quiet = io.StringIO()
    for view in (view_of(folder, quiet, quiet=True), view_of(folder, Broken())):
        view.show(Trial(1, "failed", start_point(folder.task.axes), reason="the disk is full"))
    assert quiet.getvalue() == ""


def test_a_failed_trial_says_why(folder):
    out = io.StringIO()
    view_of(folder, out).show(Trial(1, "failed", start_point(folder.task.axes), reason="the disk is full"))
    assert out.getvalue().splitlines()[-1].endswith("): failed: the disk is full")


def test_a_search_leaves_a_recipe_and_a_page_and_says_what_to_do(folder, capsys):
    run_search(folder, view_of(folder, io.StringIO(), quiet=True), 12)
    best = outcome(folder.trials.trials(), ()).best
    found = write_result(folder, ["my book.txt"], 65.0, interrupted=True)
    assert found["best_trial"] == best.number and found["checked"] is None and not found["beats_plan"]
    assert found["commands"]["go_on"] == f"charloom tune 'my book.txt' -o {folder.path} --hours 0.5"
    for number in (best.number, 0):
        list(check(folder, None, number, "cpu", never, FakeTraining()))
    found = write_result(folder, ["my book.txt"], 65.0, interrupted=False)
    assert found["beats_plan"] and found["checked"] == {
        "plan_val_loss": pytest.approx(bowl(PLAN)), "best_val_loss": pytest.approx(best.loss),
    }  # fmt: skip
    recipe = load_recipe(found["recipe"])
    settings = folder.task.settings(best.point)
    assert {name: getattr(recipe.settings, name) for name in found["settings"]} == found["settings"]
    assert recipe.settings.learning_rate == settings.learning_rate
    assert found["commands"] == {"train": f"charloom train 'my book.txt' --recipe {found['recipe']}"}
    print_summary(found, quiet=False)
    said = capsys.readouterr().err
    assert f"Done after 1:05: {found['complete']} complete trials, {found['pruned']} pruned." in said
    assert found["verdict"] in said and found["page"] in said and found["commands"]["train"] in said


def test_before_anything_has_ended_there_is_no_recipe(folder):
    found = write_result(folder, ["book.txt"], 1.0, interrupted=True)
    assert found["recipe"] is None and list(found["commands"]) == ["go_on"] and found["settings"] == {}
