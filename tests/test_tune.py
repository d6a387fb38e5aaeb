"""A search for better settings: what it varies, what it writes down, who may join, what it says in the end."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.errors import MissingExtraError, RunError, SettingsError
from charloom.model.architecture import Architecture
from charloom.plan.planner import Plan
from charloom.plan.recipes import RECIPES, load_recipe
from charloom.plan.search_space import axes_around, differences, near, settings_at, start
from charloom.plan.settings import Settings
from charloom.report.tuning_charts import ticks
from charloom.report.tuning_page import tuning_page
from charloom.report.tuning_verdict import tuning_verdict
from charloom.training import tuning_folder
from charloom.training.records import CheckpointRecord, EvaluationRecord, FinishRecord, NoveltyRecord, PlanRecord
from charloom.training.tuning import check, lags_behind, search
from charloom.training.tuning_folder import JOURNAL, new_tuning_folder, open_tuning_folder
from charloom.training.tuning_plan import plan_search, seconds_to_check
from charloom.training.tuning_records import Outcome, Trial, TuningTask, outcome

PLAN = Settings(minutes=0.001, weight_decay=0.1)
SHARES = (0.25, 0.5, 0.75, 1.0)
COMMAND = [sys.executable, "-m", "charloom", "tune"]


def make_task(plan=PLAN, **fixed):
    axes = axes_around(plan, 10**6, fixed)
    return TuningTask("book", "0" * 64, {}, "auto", plan, fixed, axes, True)


def bowl(settings):
    """A loss with its lowest point away from the plan: 1 where learning rate and batch are twice the plan's."""
    rate = math.log(settings.learning_rate / (2 * PLAN.learning_rate))
    batch = math.log2(settings.batch_size / (2 * PLAN.batch_size))
    return 1.0 + 0.1 * rate**2 + 0.05 * batch**2 + 0.02 * (settings.hidden_size != PLAN.hidden_size)


def evaluation(step, loss):
    return EvaluationRecord(step, 0.1, 1.0, loss, 1.0, loss, True, 1.0, 1.0, 0.1, 1.0)


class FakeTraining:
    """Puts a run folder and its records in the place of a training, which costs nothing."""

    def __init__(self, loss=bowl, seed_changes=0.0):
        self.loss, self.seed_changes, self.recipes, self.went_on = loss, seed_changes, [], 0

    def __call__(self, corpus, recipe, folder, device, stop):
        self.recipes.append(recipe)
        settings, end = recipe.settings, self.loss(recipe.settings) + self.seed_changes * recipe.settings.seed
        (Path(folder) / "checkpoints").mkdir(parents=True)
        (Path(folder) / "model.safetensors").write_bytes(b"model")
        (Path(folder) / "metrics.jsonl").touch()
        architecture = Architecture(7, settings.cell, settings.embedding_size, settings.hidden_size)
        plan = Plan(replace(settings, minutes=0.0, steps=100, warmup_steps=10), 100, 10)
        yield PlanRecord(folder, plan, architecture, device, None, 1000, 100)
        yield evaluation(0, 4.0)
        for share in SHARES:
            if stop():
                yield FinishRecord(folder, 1, 1.0, 1.0, 1.0, 1.0, 1, 1.0, 1.0, interrupted=True)
                return
            yield evaluation(round(100 * share), end + (1 - share) * 2)
        yield CheckpointRecord(100, "somewhere")
        self.went_on += 1
        yield NoveltyRecord(1, 0.0, 1, None, None, 1)


def never():
    return False


class After:
    """Asks for the end once so many trials have begun to be told of."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        return self.left <= 0


def searched(path, trials, train=None, task=None, folder=None):
    """Search until so many trials have ended."""
    folder = folder or new_tuning_folder(path, task or make_task())
    stop = After(trials)
    for trial in search(folder, None, time.time() + 3600, "cpu", stop, train or FakeTraining()):
        stop.left -= trial.state in ("complete", "pruned", "failed")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A search of 16 trials on a text whose name is as bad as can be, and what trained."""
    train, task = FakeTraining(), replace(make_task(), corpus="<b>&{title}")
    return searched(tmp_path_factory.mktemp("made") / "t", 16, train, task), train


# --- what is varied


def test_axes_go_around_the_plan_and_leave_what_is_fixed():
    plan = Settings()
    axes = {axis.name: axis for axis in axes_around(plan, 10**6)}
    assert settings_at(plan, axes.values(), start(axes.values())) == plan
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
    place, seen = start(axes), [start(axes)]
    for _ in range(200):
        found = near(place, axes, rng, lambda one: one not in seen)
        changed = [axis for axis in axes if found[axis.name] != place[axis.name]]
        assert 1 <= len(changed) <= 3 and found not in seen
        for axis in changed:
            if axis.values:
                assert abs(found[axis.name] - place[axis.name]) == 1 and found[axis.name] in range(len(axis.values))
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
    assert all(trial.loss == pytest.approx(bowl(folder.task.settings(trial.place))) for trial in complete)
    assert found.best.loss == min(trial.loss for trial in complete) < bowl(PLAN)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned and all(trial.curve[-1][0] < 1 and "others were better" in trial.reason for trial in pruned)
    assert len({tuple(sorted(trial.place.items())) for trial in trials[:6]}) == 6, "nothing is tried twice"
    assert train.went_on == 0, "nobody waits for what follows the last checkpoint"


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
    assert [t.place for t in again.trials.trials()] == [t.place for t in at_once.trials.trials()]
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
    assert (first.state, first.reason) == ("failed", "it was stopped")
    assert second.state == "waiting" and second.place == first.place
    folder = searched(None, 1, folder=folder)
    assert outcome(folder.trials.trials(), ()).plan.number == 1


def test_a_training_whose_process_is_gone_is_tried_again_once(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for _ in range(2):
        trial = folder.trials.study.ask()
        trial.set_user_attr("process", [gone.pid, os.uname().nodename])
        assert folder.trials.give_up_dead() == [trial.number]
    states = [(trial.state, trial.reason) for trial in folder.trials.trials()]
    assert states == [("failed", "its process was killed")] * 2, "its settings may be what kills"
    living = folder.trials.study.ask()
    folder.trials.begin(living)
    assert folder.trials.give_up_dead() == []


def test_a_training_of_another_machine_is_dead_when_it_is_silent(tmp_path):
    folder = new_tuning_folder(tmp_path / "t", make_task())
    trial = folder.trials.study.ask()
    trial.set_user_attr("process", [1, "elsewhere"])
    with folder.trials.alive(trial.number):
        (sign,) = (folder.path / "alive").iterdir()
        assert folder.trials.give_up_dead() == []
        os.utime(sign, (0, time.time() - 121))
        assert folder.trials.give_up_dead() == [trial.number]
    assert not folder.trials.tell(trial.number, "complete", 1.0), "it was given up meanwhile"


def test_what_diverges_is_given_up_and_what_fails_is_told(tmp_path):
    def diverges(settings):
        if settings != PLAN and settings.learning_rate != PLAN.learning_rate:
            raise charloom.CharloomError("the disk is full")
        return bowl(settings)

    with pytest.raises(charloom.CharloomError, match="the disk is full"):
        searched(tmp_path / "t", 50, FakeTraining(diverges))
    failed = open_tuning_folder(tmp_path / "t").trials.trials()[-1]
    assert failed.state == "failed" and "the disk is full" in failed.reason

    from charloom.errors import NonFiniteError

    def bad(_settings):
        raise NonFiniteError("not finite")

    with pytest.raises(charloom.CharloomError, match="auto's plan itself could not be trained: it diverged"):
        searched(tmp_path / "u", 2, FakeTraining(bad))


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
    (said,) = tuning_verdict(folder.task, found, 16)
    assert f"reaches {best.loss + 0.5:.4f} nats, auto's plan {bowl(PLAN) + 0.5:.4f} nats" in said


def trial(number, loss, checks=None, state="complete"):
    return Trial(number, state, {"learning_rate": number}, ((1.0, loss or 9.0),), loss, checks=checks)


@pytest.mark.parametrize(("best", "plan_check", "best_check", "wins", "says"), [
    (1.0, 2.0, 1.5, True, "it is better by 0.5000"),
    (1.0, 1.5, 2.0, False, "Keep auto"),
    (1.0, 1.5, 1.5, False, "Keep auto"),
    (1.0, 1.5, None, False, "no finite loss"),
    (3.0, None, None, False, "It could not beat auto's plan: that reaches 2.0000 nats, and of 1 others none less"),
])  # fmt: skip
def test_the_verdict(best, plan_check, best_check, wins, says):
    state = "complete" if best_check else "pruned"
    checks = [trial(0, plan_check, 0), trial(1, best_check, 1, state)] if plan_check else []
    found = outcome([trial(0, 2.0), trial(1, best)], checks)
    assert (found.winner.number == 1) is wins
    assert says in tuning_verdict(make_task(), found, 2)[0]


@pytest.mark.parametrize(("steps", "is_even"), [(1000, True), (790, False), (810, True), (1260, False)])
def test_the_verdict_warns_of_a_machine_that_was_busy(steps, is_even):
    facts = [replace(trial(0, 2.0), facts={"steps": 1000}), replace(trial(1, 1.0), facts={"steps": 500})]
    checks = [replace(trial(0, 2.0, 0), facts={"steps": steps}), replace(trial(1, 1.0, 1), facts={"steps": 500})]
    said = tuning_verdict(make_task(), outcome(facts, checks), 2)
    assert (len(said) == 1) is is_even and (is_even or f"made {steps:,} steps of trial 0" in said[1])


def test_the_verdict_of_what_is_not_known():
    assert "more --hours" in tuning_verdict(make_task(), Outcome(None, None), 0)[0]
    assert "has not ended" in tuning_verdict(make_task(), Outcome(None, trial(1, 1.0)), 1)[0]
    assert "Nothing but auto's plan" in tuning_verdict(make_task(), outcome([trial(0, 2.0)], []), 1)[0]
    assert "not been checked" in tuning_verdict(make_task(), outcome([trial(0, 2.0), trial(1, 1.0)], []), 2)[0]


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
    waits = Trial(0, "waiting", start(folder.task.axes))
    assert "No training has been evaluated yet" in tuning_page(folder.task, [waits], (), outcome([waits], ()), [])


def test_ticks_are_round_and_inside():
    assert ticks(1.21, 1.49) == [1.25, 1.3, 1.35, 1.4, 1.45] or ticks(1.21, 1.49) == [1.3, 1.4]
    for low, high in ((0.0001, 0.0002), (3.0, 700.0), (-1.0, 1.0)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 11 and all(low <= tick <= high for tick in found)


# --- how long


@pytest.mark.parametrize(("hours", "at_once", "kept"), [(0.5, 1, 300), (0.5, 2, 150), (0.2, 1, 0), (0.21, 1, 300)])
def test_the_time_for_the_check_is_kept_if_there_is_any(hours, at_once, kept):
    task = make_task(replace(PLAN, minutes=2.5))
    assert seconds_to_check(task, at_once, hours) == kept
    assert seconds_to_check(task, 1, 0.09, has_found=True) == 300 and seconds_to_check(task, 1, 0.08, True) == 0


@pytest.mark.slow
def test_a_search_begins_with_autos_own_plan(text):
    corpus = charloom.Corpus(text, "weaving")
    recipe = RECIPES["auto"].with_values({"hidden_size": 16, "seed": 3})
    task = plan_search(corpus, recipe, {"hidden_size": 16, "seed": 3}, 0.01, None, "cpu")
    assert task.plan.minutes == pytest.approx(0.6 / 12)
    assert (task.plan.hidden_size, task.plan.seed, task.plan.precision) == (16, 3, "auto")
    assert "hidden_size" not in {axis.name for axis in task.axes} and task.shortens_warmup
    assert TuningTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    with pytest.raises(SettingsError, match="less than two trainings"):
        plan_search(corpus, recipe, {}, 0.01, 1.0, "cpu")
    with pytest.raises(SettingsError, match="val_fraction must be above 0"):
        plan_search(corpus, recipe.with_values({"val_fraction": 0}), {}, 0.01, 0.1, "cpu")


# --- what is refused


@pytest.mark.parametrize(("options", "says"), [
    (["--hours", "0"], "--hours must be above 0"),
    (["--hours", "-1"], "--hours must be above 0"),
    (["--hours", "nan"], "--hours must be above 0"),
    (["--hours", "1", "--minutes", "0"], "--minutes must be above 0"),
    (["--hours", "1", "--workers", "0"], "--workers must be from 1"),
    (["--hours", "1", "--set", "learning_rat=1"], "Did you mean learning_rate?"),
    (["--hours", "1", "--set", "steps=5"], "--minutes M says how long"),
    (["--hours", "1", "--recipe", "autoo"], "auto"),
    ([], "Missing option '--hours'"),
])  # fmt: skip
def test_bad_options_are_refused(quick_cli, text, options, says):
    Path("book.txt").write_text(text)
    done = quick_cli("tune", "book.txt", *options)
    assert done.code == 2 and says in done.err and not Path("tuning").exists()


def test_folders_of_something_else_are_refused(quick_cli, text, tmp_path):
    Path("book.txt").write_text(text)
    Path("mine").mkdir()
    done = quick_cli("tune", "book.txt", "--hours", 1, "-o", "mine")
    assert done.code == 2 and f"has no {JOURNAL}" in done.err
    new_tuning_folder(tmp_path / "other", make_task())
    done = quick_cli("tune", "book.txt", "--hours", 1, "-o", "other")
    assert done.code == 2 and "is on another text" in done.err
    corpus = charloom.Corpus.read("book.txt")
    task = replace(make_task(seed=1), corpus_sha256=corpus.sha256, format=corpus.format.to_dict())
    new_tuning_folder(tmp_path / "fixed", task)
    for options, says in (
        ((), "other settings fixed: seed=1"),
        (("--seed", 1, "--minutes", 3), "other minutes: 0.001"),
    ):
        done = quick_cli("tune", "book.txt", "--hours", 1, "-o", "fixed", *options)
        assert done.code == 2 and says in done.err


def test_a_damaged_journal_is_refused_and_a_torn_one_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_folder, "_MAKING_SECONDS", 0.0)
    new_tuning_folder(tmp_path / "t", make_task())
    journal = tmp_path / "t" / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    assert open_tuning_folder(tmp_path / "t").task == make_task() and journal.read_bytes() == whole
    for damaged in (b"", b"no journal\n", whole.replace(b'"axes"', b'"axis"'), b"{}\n", whole[: whole.find(b"\n") + 1]):
        journal.write_bytes(damaged)
        with pytest.raises(RunError, match=r"is damaged, or of another version"):
            open_tuning_folder(tmp_path / "t")
    with pytest.raises(RunError, match="exists already"):
        new_tuning_folder(tmp_path / "t", make_task())


def test_without_optuna_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tuning_folder, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'charloom\[tune\]'"):
        tuning_folder.require_optuna()


# --- real trainings


@pytest.fixture
def book(tmp_path, text):
    (tmp_path / "book.txt").write_text(text)
    return tmp_path


def waits_for(found, seconds=100):
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_and_gone_on_with_by_two_workers_to_a_recipe(cli, book):
    options = ["book.txt", "-o", "t", "--minutes", "0.05", "--set", "hidden_size=16", "--set", "num_layers=1"]
    killed = subprocess.Popen([*COMMAND, *options, "--hours", "0.1", "-q"], cwd=book)
    waits_for(lambda: (book / "t" / "trials" / "001" / "metrics.jsonl").exists())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    begun = len(open_tuning_folder(book / "t").trials.trials())
    done = cli("tune", *options, "--hours", "0.025", "--workers", 2, "--json")
    assert done.code == 0, done.err
    trials = open_tuning_folder(book / "t").trials.trials()
    assert trials[begun - 1].reason == "its process was killed" and not [t for t in trials if t.state == "running"]
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
def test_a_signal_ends_it_with_what_was_learned(book, workers, number):
    options = ["book.txt", "-o", "t", "--minutes", "0.05", "--hours", "0.2", "--set", "hidden_size=16"]
    running = subprocess.Popen(
        [*COMMAND, *options, "--workers", str(workers)], cwd=book, stderr=subprocess.PIPE, text=True
    )
    waits_for(lambda: (book / "t" / "trials" / "003" / "metrics.jsonl").exists())
    running.send_signal(number)
    said = running.communicate(timeout=100)[1]
    assert running.returncode == 128 + number, said
    assert "Stopped after" in said and "To go on" in said and (book / "t" / "tuning.html").exists()
    states = [trial.state for trial in open_tuning_folder(book / "t").trials.trials()]
    assert "running" not in states and states.count("waiting") == workers
