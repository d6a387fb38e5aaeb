"""The progress view of a hyperparameter search, and the files and commands that it ends with."""

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


def numbers(text):
    return set(re.findall(r"\d+(?:\.\d+)?", text))


def test_every_finished_trial_has_a_line(folder):
    out = io.StringIO()
    run_search(folder, view_of(folder, out, reserved=120), 9)
    heading, plan, varied, *lines = out.getvalue().splitlines()
    assert {"60", "2"} <= numbers(heading.removeprefix(str(folder.path)))  # minutes: the search, its verification
    assert "auto" in plan and PLAN.in_words in plan
    assert all(axis.name in varied for axis in folder.task.axes)
    trials = [trial for trial in folder.trials.trials() if trial.state in ("complete", "pruned")]
    losses = [bowl(PLAN), *(trial.loss for trial in trials[1:])]
    assert len(trials) == len(lines) and f"{losses[0]:.4f}" in lines[0]
    best = float("inf")
    markers = {True: set(), False: set()}  # texts after the loss, by whether the trial is the best so far
    for trial, loss, line in zip(trials, losses, lines, strict=True):
        assert numbers(line.partition("(")[0]) == {str(trial.number)}
        if trial.state == "pruned":
            assert f"{trial.curve[-1][1]:.4f}" in line and trial.reason in line
        else:
            markers[loss < best].add(line.rpartition(f"{loss:.4f}")[2])
            best = min(best, loss)
    assert len(markers[True]) == 1 and markers[False] == {""}


def test_terminal_shows_running_trials(folder, monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    point = start_point(folder.task.axes)
    with view_of(folder, out, minutes=10.9) as view:
        for trial, pattern in (
            (Trial(3, "running", point), r"\b3 \("),
            (Trial(3, "running", point, ((0.25, 1.5),)), r"\b3 \(.*\b1\.5000\b.*\b25%"),
            (Trial(0, "running", point, checks=4), r"\b4: "),
        ):
            view.show(trial)
            wait_for(lambda pattern=pattern: re.search(pattern, out.getvalue()))
    assert re.search(r"\b10:\d\d\b", out.getvalue())  # the remaining time


class Broken(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


def test_remaining_minutes_are_never_negative(folder):
    out = io.StringIO()
    view_of(folder, out, minutes=-1.0)
    heading = out.getvalue().splitlines()[0].removeprefix(str(folder.path))
    assert "0" in numbers(heading) and "-" not in heading


def test_quiet_view_prints_nothing_and_a_closed_pipe_is_ignored(folder):
    quiet = io.StringIO()
    for view in (view_of(folder, quiet, quiet=True), view_of(folder, Broken())):
        view.show(Trial(1, "failed", start_point(folder.task.axes), reason="the disk is full"))
    assert quiet.getvalue() == ""


def test_line_of_a_failed_trial_contains_the_reason(folder):
    out = io.StringIO()
    view_of(folder, out).show(Trial(1, "failed", start_point(folder.task.axes), reason="the disk is full"))
    assert "the disk is full" in out.getvalue().splitlines()[-1]


def test_search_writes_a_recipe_a_page_and_the_next_commands(folder, capsys):
    run_search(folder, view_of(folder, io.StringIO(), quiet=True), 12)
    best = outcome(folder.trials.trials(), ()).best
    result = write_result(folder, ["my book.txt"], 65.0, interrupted=True)
    assert result["best_trial"] == best.number and result["checked"] is None and not result["beats_plan"]
    assert result["commands"]["go_on"] == f"charloom tune 'my book.txt' -o {folder.path} --hours 0.5"
    for number in (best.number, 0):
        list(check(folder, None, number, "cpu", never, FakeTraining()))
    result = write_result(folder, ["my book.txt"], 65.0, interrupted=False)
    assert result["beats_plan"] and result["checked"] == {
        "plan_val_loss": pytest.approx(bowl(PLAN)), "best_val_loss": pytest.approx(best.loss),
    }  # fmt: skip
    recipe = load_recipe(result["recipe"])
    settings = folder.task.settings(best.point)
    assert {name: getattr(recipe.settings, name) for name in result["settings"]} == result["settings"]
    assert recipe.settings.learning_rate == settings.learning_rate
    assert result["commands"] == {"train": f"charloom train 'my book.txt' --recipe {result['recipe']}"}
    print_summary(result, quiet=False)
    output = capsys.readouterr().err
    assert "1:05" in output and {str(result["complete"]), str(result["pruned"])} <= numbers(output.splitlines()[0])
    assert result["verdict"] in output and result["page"] in output and result["commands"]["train"] in output


def test_no_recipe_without_a_finished_trial(folder):
    result = write_result(folder, ["book.txt"], 1.0, interrupted=True)
    assert result["recipe"] is None and list(result["commands"]) == ["go_on"] and result["settings"] == {}
