"""Resuming a run gives bit-identical results to a run that was never stopped."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import charloom
from charloom.data.corpus import Corpus
from charloom.errors import NonFiniteError, RunError, SaveError, SettingsError
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps
from charloom.planning.recipes import RECIPES, Recipe, load_recipe
from charloom.planning.schedule import Measurements
from charloom.training import run_files, trainer
from charloom.training.checkpoint import checkpoint_bytes, load_checkpoint, remove_old_checkpoints, save_checkpoint
from charloom.training.events import CheckpointRecord, EventRecord, PlanChangeRecord, SampleRecord, StepRecord
from charloom.training.pipeline import evaluate_untrained
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training
from support.errors import codes, raises_code
from support.training_runs import KINDS, Poison, recipe, remains, resume, train


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 10, 26])  # the first step, an evaluation, the end of an epoch
def test_resumed_run_equals_uninterrupted_run(corpus, tmp_path, whole, kind, cut):
    train(corpus, tmp_path / "run", kind=kind, stop_after=cut)
    records = resume(corpus, tmp_path / "run")
    assert remains(tmp_path / "run") == whole(kind)
    assert records[0].step == cut and not records[-1].interrupted


def test_the_newest_checkpoint_may_be_named_to_resume(corpus, tmp_path):
    run = tmp_path / "run"
    train(corpus, run, stop_after=10)
    assert [open_run(f"{run}@{which}").folder for which in ("last", "10")] == [run, run]
    for which in ("7", "11", "first"):
        with raises_code("resume_from_checkpoint", checkpoint=which):
            open_run(f"{run}@{which}")


def test_run_stopped_during_the_last_sample_writes_it_on_resume(corpus, tmp_path, whole, monkeypatch):
    sampling = []
    sample = trainer.Trainer._sample
    monkeypatch.setattr(trainer.Trainer, "_sample", lambda *a: (sampling.append(a[1]), sample(*a))[1])
    records = list(run_training(corpus, recipe(), str(tmp_path / "run"), stop=lambda: 40 in sampling))
    assert records[-1].interrupted and records[-1].steps == 40 and records[-1].val_loss
    monkeypatch.undo()
    resume(corpus, tmp_path / "run")
    assert remains(tmp_path / "run") == whole("gru")


def test_run_stopped_during_an_evaluation_repeats_it_on_resume(corpus, tmp_path, whole, monkeypatch):
    polls = itertools.count()
    records = list(run_training(corpus, recipe(), str(tmp_path / "run"), stop=lambda: next(polls) >= 10))
    assert records[-1].interrupted and records[-1].steps == 10  # polled once per step, then by the evaluation
    assert open_run(str(tmp_path / "run")).training.facts["history"]["evaluation"]["step"] == 0
    resume(corpus, tmp_path / "run")
    assert remains(tmp_path / "run") == whole("gru")


def test_killed_run_resumes_from_its_last_checkpoint(corpus, tmp_path, whole):
    """A killed run has log files that are ahead of the checkpoint, and incomplete files."""
    training = run_training(corpus, recipe(), str(tmp_path / "run"))
    for record in training:
        if isinstance(record, SampleRecord) and record.step == 30:
            break
    assert checkpoint_steps(tmp_path / "run")[-1] == 28
    (tmp_path / "run" / "checkpoints" / ".step-000030.safetensors.x.part").write_bytes(b"half")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "ep')
    resume(corpus, tmp_path / "run")
    assert remains(tmp_path / "run") == whole("gru")
    assert not list((tmp_path / "run").rglob(".*"))


def test_damaged_checkpoint_is_skipped_with_a_notice(corpus, tmp_path, whole):
    train(corpus, tmp_path / "run", stop_after=25)
    newest, before = reversed(checkpoint_steps(tmp_path / "run")[-2:])
    path = checkpoint_path(tmp_path / "run", newest)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    records = resume(corpus, tmp_path / "run")
    skipped = records[0].plan.notices[0]
    assert records[0].step == before and skipped.code == "damaged_checkpoint_skipped"
    assert (skipped.data["step"], skipped.data["path"]) == (newest, str(path))
    assert remains(tmp_path / "run") == whole("gru")


def test_resume_with_additional_length(corpus, tmp_path):
    train(corpus, tmp_path / "run")
    with raises_code("run_finished", RunError, steps=40, early_stopped=False):
        resume(corpus, tmp_path / "run")
    assert resume(corpus, tmp_path / "run", more={"steps": 5})[-1].steps == 45
    epoch = open_run(str(tmp_path / "run")).model.facts["epoch"]
    before = open_run(str(tmp_path / "run")).training.facts["seconds"]
    records = resume(corpus, tmp_path / "run", more={"epochs": 1})
    assert charloom.load(f"{tmp_path / 'run'}@last").facts["epoch"] == pytest.approx(epoch + 1)
    assert records[-1].seconds > before  # the sum over all processes that trained the run
    assert resume(corpus, tmp_path / "run", more={"minutes": 0.01})[-1].steps > records[-1].steps


def test_resume_converts_minutes_to_steps(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "run", keep_checkpoints=1)
    monkeypatch.setattr("charloom.training.resume.measure_step_seconds", lambda _, seconds: {30.0: 30 / 20.2}[seconds])
    plan = next(resume_training(open_run(str(tmp_path / "run")), corpus, {"minutes": 0.5}))
    assert (plan.step, plan.plan.steps) == (40, 60)
    assert plan.plan.time_limit == open_run(str(tmp_path / "run")).training.facts["time_limit"] > 30


def scripted(monkeypatch, **steps):
    """Replace what the clock says: after step s<N> the run changes its plan to ``steps["sN"]`` steps."""

    def decide(budget, step, planned, eval_every):
        return steps.get(f"s{step}")

    def measure(setup):
        return Measurements(evaluate_untrained(setup)[0], step_seconds=0.06)  # 100 steps in 6 s

    monkeypatch.setattr("charloom.training.time_budget.TimeBudget.steps_for", decide)
    monkeypatch.setattr("charloom.training.time_budget.TimeBudget.is_over", lambda budget: False)
    monkeypatch.setattr("charloom.training.run.measure", measure)
    monkeypatch.setattr("charloom.training.resume.measure_step_seconds", lambda *_: 0.06)


TIMED = {"steps": 0, "minutes": 0.1}
CHANGES = {"s15": 60, "s20": 45, "s30": 40}


@pytest.mark.parametrize("cut", [10, 16, 31])
def test_interrupted_run_with_a_time_budget_equals_uninterrupted_run(corpus, tmp_path, monkeypatch, cut):
    scripted(monkeypatch, **CHANGES)
    records = train(corpus, tmp_path / "whole", **TIMED)
    assert [r.steps for r in records if isinstance(r, PlanChangeRecord)] == [60, 45, 40] and records[-1].steps == 40
    train(corpus, tmp_path / "cut", stop_after=cut, **TIMED)
    resume(corpus, tmp_path / "cut")
    assert remains(tmp_path / "cut") == remains(tmp_path / "whole")


def test_a_run_ends_after_an_evaluation_if_there_is_no_time_for_another(corpus, tmp_path, monkeypatch):
    scripted(monkeypatch)
    monkeypatch.setattr("charloom.training.time_budget.TimeBudget.is_over", lambda budget: True)
    records = train(corpus, tmp_path / "run", **TIMED)
    assert [r.step for r in records if isinstance(r, StepRecord)][-1] == 10  # the first evaluation
    assert [(r.step, r.steps) for r in records if isinstance(r, PlanChangeRecord)] == [(10, 10)]
    saved = open_run(str(tmp_path / "run")).training.facts
    assert saved["finished"] and saved["step"] == 10 and not records[-1].interrupted
    with raises_code("run_finished", RunError, steps=10, early_stopped=False):
        resume(corpus, tmp_path / "run")


def test_killed_run_repeats_its_changes_of_plan_whatever_the_clock_says(corpus, tmp_path, monkeypatch):
    scripted(monkeypatch, **CHANGES)
    train(corpus, tmp_path / "whole", **TIMED)
    records = run_training(corpus, recipe(**TIMED), str(tmp_path / "killed"))
    for record in records:
        if isinstance(record, StepRecord) and record.step == 33:
            break
    records.close()
    assert open_run(str(tmp_path / "killed")).training.facts["step"] == 28
    scripted(monkeypatch, s32=99)  # too late: the change after step 30 is repeated first, and the next one is new
    resume(corpus, tmp_path / "killed")
    changes = load_recipe(str(tmp_path / "killed" / "recipe.toml")).settings.plan_changes
    assert changes.split()[1:] == ["15:60", "20:45", "30:40", "32:99"]


def test_a_recipe_repeats_a_run_with_changes_and_an_extension(corpus, tmp_path, monkeypatch):
    scripted(monkeypatch, **CHANGES)
    train(corpus, tmp_path / "run", **TIMED)
    scripted(monkeypatch, s55=65)
    resume(corpus, tmp_path / "run", more={"minutes": 0.05})
    written = load_recipe(str(tmp_path / "run" / "recipe.toml"))
    assert "30:40 40:" in written.settings.plan_changes and written.settings.plan_changes.endswith("55:65")
    monkeypatch.undo()
    repeated = Recipe("auto", "", written.settings, written.fixed)
    list(run_training(corpus, repeated, str(tmp_path / "again")))
    expected, again = remains(tmp_path / "run"), remains(tmp_path / "again")
    for facts in (expected[2], again[2]):
        facts.pop("time_limit", None), facts.pop("max_steps", None)
    assert again == expected
    training = run_training(corpus, repeated, str(tmp_path / "stopped"))
    for record in training:
        if isinstance(record, StepRecord) and record.step == 22:
            break
    training.close()
    resume(corpus, tmp_path / "stopped")
    assert remains(tmp_path / "stopped")[0] == expected[0]


def test_early_stopped_run_resumes_only_with_additional_length(corpus, tmp_path):
    train(corpus, tmp_path / "run", stop_after=20)
    saved = open_run(str(tmp_path / "run"))
    ended = replace(saved, training=replace(saved.training, facts={**saved.training.facts, "finished": True}))
    with raises_code("run_finished", RunError, run=str(tmp_path / "run"), steps=20, early_stopped=True):
        next(resume_training(ended, corpus))
    assert list(resume_training(ended, corpus, {"steps": 3}))[-1].steps == 23


def test_resume_on_a_short_new_text_lowers_batch_size(corpus, tmp_path):
    train(corpus, tmp_path / "run", stop_after=20)
    records = resume(Corpus(corpus.text[:210], "short"), tmp_path / "run", more={"steps": 2}, new_text=True)
    assert 1 <= records[0].plan.settings.batch_size < 8 and records[-1].steps == 22
    assert [n.data["default"] for n in records[0].plan.notices if n.code == "streams_limited"] == [8]


def test_additional_length_survives_another_stop(corpus, tmp_path):
    train(corpus, tmp_path / "run", stop_after=20)
    training = resume_training(open_run(str(tmp_path / "run")), corpus, {"steps": 30})
    next(training)  # killed before its first step
    assert resume(corpus, tmp_path / "run")[-1].steps == 50


def test_different_text_requires_new_text(corpus, tmp_path):
    train(corpus, tmp_path / "run", stop_after=20)
    other = Corpus(corpus.text.replace("loom", "Œuvre") * 2, "other")
    names = {"trained_on": "weaving", "corpus": "other"}
    sizes = {"trained_on_characters": len(corpus), "corpus_characters": len(other)}
    with raises_code("different_text", RunError, **names, **sizes):
        resume(other, tmp_path / "run")
    known = load_model(checkpoint_path(tmp_path / "run", 20)).vocabulary.characters
    records = resume(other, tmp_path / "run", new_text=True)
    extended = records[0].plan.notices[0]
    assert (extended.code, extended.data) == ("vocabulary_extended", {"corpus": "other", "characters": "uŒ"})
    model = charloom.load(f"{tmp_path / 'run'}@last")
    assert model.vocabulary.characters == known + "uŒ" and records[-1].steps == 40
    assert model.score("Œuvre").nats_per_char > 0


def test_vocabulary_order_is_kept_on_a_new_text(tmp_path):
    first = Corpus("abcd" * 300, "first")
    train(first, tmp_path / "run", stop_after=30)
    second = Corpus("bcda" * 300 + "a", "second")
    before = charloom.load(f"{tmp_path / 'run'}@last").score("abcdabcd").nats_per_char
    resume(second, tmp_path / "run", new_text=True)
    model = charloom.load(f"{tmp_path / 'run'}@last")
    assert model.vocabulary.characters == "abcd" and model.score("abcdabcd").nats_per_char < before


def test_new_run_with_initial_model(corpus, tmp_path):
    train(corpus, tmp_path / "a", cell="lstm")
    model = load_model(tmp_path / "a" / "model.safetensors")
    other = Corpus(corpus.text + "ß", "other")
    requested = Recipe("auto", "", RECIPES["auto"].settings).with_values({"steps": 1, "batch_size": 4})
    records = list(run_training(other, requested, str(tmp_path / "b"), init=model))
    assert records[0].architecture == replace(model.architecture, vocabulary_size=len(model.vocabulary) + 1)
    assert records[1].val_loss < records[0].baselines.uniform - 0.2  # it starts with the knowledge of the initial model
    with raises_code("model_size_mismatch", SettingsError, name="hidden_size", value=17, model_value=16):
        next(run_training(other, requested.with_values({"hidden_size": 17}), str(tmp_path / "c"), init=model))


def test_keep_checkpoints_setting(corpus, tmp_path):
    for keep, expected in ((1, [40]), (2, [35, 40]), (0, [7, 14, 21, 28, 35, 40])):
        train(corpus, tmp_path / f"run{keep}", keep_checkpoints=keep)
        assert checkpoint_steps(tmp_path / f"run{keep}") == expected


@pytest.mark.parametrize(("keep", "left"), [(0, [10, 20, 30, 40]), (1, [40]), (3, [20, 30, 40]), (9, [10, 20, 30, 40])])
def test_remove_old_checkpoints(tmp_path, keep, left):
    (tmp_path / "checkpoints").mkdir()
    for step in (0, 10, 20, 30, 40):
        checkpoint_path(tmp_path, step).touch()
    remove_old_checkpoints(tmp_path, keep)
    assert checkpoint_steps(tmp_path) == left


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_checkpoint_bytes_estimates_the_file_size(corpus, tmp_path, optimizer):
    train(corpus, tmp_path / "run", steps=7, hidden_size=300, optimizer=optimizer)
    size = checkpoint_path(tmp_path / "run", 7).stat().st_size
    parameters = load_model(tmp_path / "run" / "model.safetensors").architecture.num_parameters
    assert 12 * parameters < size < checkpoint_bytes(parameters) < size + (1 << 20) and parameters > 250_000


def test_save_now_saves_a_checkpoint(corpus, tmp_path):
    flags = iter([False] * 3 + [True] + [False] * 100)
    records = list(run_training(corpus, recipe(), str(tmp_path / "run"), save_now=lambda: next(flags)))
    assert [r.step for r in records if isinstance(r, CheckpointRecord)][:2] == [4, 7]


def test_periodic_checkpoints(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "_MIN_SECONDS", 0.0)
    monkeypatch.setattr(run_files, "_MAX_SAVE_SHARE", 1e9)
    records = train(corpus, tmp_path / "run", steps=5)
    assert [r.step for r in records if isinstance(r, CheckpointRecord)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nonfinite_steps_change_nothing_and_are_reported(corpus, tmp_path, monkeypatch, where, value):
    Poison(monkeypatch, [12, 13, 20], where, value)
    records = train(corpus, tmp_path / "run", checkpoint_every=1, keep_checkpoints=0)
    assert [r.step for r in records if isinstance(r, StepRecord) and r.loss is None] == [12, 13, 20]
    assert [(r.step, r.event) for r in records if isinstance(r, EventRecord)] == [(s, "skipped") for s in (12, 13, 20)]
    at = {step: load_checkpoint(checkpoint_path(tmp_path / "run", step)) for step in (11, 12, 13, 14)}
    for name, value_before in {**at[11][0].weights, **at[11][1].tensors}.items():
        if not name.startswith("losses"):
            for step in (12, 13):
                np.testing.assert_array_equal({**at[step][0].weights, **at[step][1].tensors}[name], value_before)
    assert any((at[13][0].weights[n] != at[14][0].weights[n]).any() for n in at[13][0].weights)
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    events = [line for line in lines if "event" in line]
    assert events == [{"step": s, "event": "skipped", "loss": None} for s in (12, 13, 20)]
    losses = [r.loss for r in records if isinstance(r, StepRecord) and r.loss is not None]
    assert records[-1].train_loss == pytest.approx(np.mean(losses[-records[0].plan.steps_per_epoch :]))


def test_nonfinite_weights_cause_a_rollback(corpus, tmp_path, monkeypatch):
    poison = Poison(monkeypatch, [17], "weight", float("nan"))
    training, records = run_training(corpus, recipe(), str(tmp_path / "run")), []
    for record in training:
        records.append(record)
        if isinstance(record, EventRecord) and record.event == "rolled back":
            poison.steps = set()
    steps = [r.step for r in records if isinstance(r, StepRecord)]
    assert steps == [*range(1, 20), *range(15, 41)]  # steps 17, 18 and 19 were skipped; 14 is the last checkpoint
    rates = {r.step: r.learning_rate for r in records if isinstance(r, StepRecord)}
    plain = {r.step: r.learning_rate for r in train(corpus, tmp_path / "plain") if isinstance(r, StepRecord)}
    assert all(rates[step] == plain[step] * (0.5 if step > 14 else 1) for step in plain)
    for path in (tmp_path / "run").rglob("*.safetensors"):
        load_checkpoint(path)  # raises an error for values that are not finite


def test_persistent_nonfinite_values_end_the_training(corpus, tmp_path, monkeypatch):
    Poison(monkeypatch, range(25, 100), "loss", float("inf"))
    with raises_code("diverged", NonFiniteError, rollbacks=2, best_step=20) as caught:
        train(corpus, tmp_path / "run")
    assert caught.value.exit_code == 4
    assert charloom.load(tmp_path / "run").facts["step"] == 20
    assert open_run(str(tmp_path / "run")).training.facts["rate_factor"] == 0.25


def test_full_disk_is_retried_and_reported(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "_RETRY_SECONDS", 0.0)
    full = []

    def failing(save):
        def save_or_fail(path, *parts):
            if full:
                raise OSError(28, "No space left on device")
            save(path, *parts)

        return save_or_fail

    for name in ("save_model", "save_checkpoint"):
        monkeypatch.setattr(run_files, name, failing(getattr(run_files, name)))
    training, records = run_training(corpus, recipe(sample_length=0), str(tmp_path / "run")), []
    for record in training:
        records.append(record)
        if isinstance(record, StepRecord):
            full[:] = [1] if record.step in (14, 15) else []
    events = [r for r in records if isinstance(r, EventRecord)]
    assert [r.step for r in events] == [14, 15] and codes(r.message for r in events) == ["save_retry"] * 2
    assert events[0].message.data["reason"] == "No space left on device"
    assert [r.step for r in records if isinstance(r, CheckpointRecord)] == [7, 16, 21, 28, 35, 40]
    with raises_code("save_failed", SaveError, attempts=4, reason="No space left on device"):
        for record in run_training(corpus, recipe(), str(tmp_path / "other")):
            if isinstance(record, StepRecord) and record.step > 14:
                full[:] = [1]
    full.clear()
    assert checkpoint_steps(tmp_path / "other")[-1] == 14 == open_run(str(tmp_path / "other")).model.facts["step"]
    resume(corpus, tmp_path / "other")


def test_low_disk_space_at_the_start_raises(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with raises_code("disk_space_low", RunError, free_bytes=10**6) as caught:
        next(run_training(corpus, recipe(), str(tmp_path / "run")))
    assert 3 * 10**6 < caught.value.data["needed_bytes"] < 4 * 10**6
    assert not (tmp_path / "run").exists()


def test_checkpoint_position_beyond_the_text_raises(corpus, tmp_path):
    train(corpus, tmp_path / "run", steps=14)
    path = checkpoint_path(tmp_path / "run", checkpoint_steps(tmp_path / "run")[-1])
    saved, training = load_checkpoint(path)
    save_checkpoint(path, saved, replace(training, facts={**training.facts, "position": [0, 10**9]}))
    with raises_code("incompatible_run", RunError, path=str(tmp_path / "run")) as caught:
        resume(corpus, tmp_path / "run", more={"steps": 5})
    assert "1000000000" in caught.value.data["reason"]
