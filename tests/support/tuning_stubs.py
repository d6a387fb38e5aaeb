"""Stubs for tuning: training runs that report computed losses immediately."""

import math
import time
from dataclasses import replace
from pathlib import Path

from charloom.model.architecture import Architecture
from charloom.planning.schedule import Plan
from charloom.planning.settings import Settings
from charloom.training.events import CheckpointRecord, EvaluationRecord, FinishRecord, NoveltyRecord, PlanRecord
from charloom.tuning.search import search
from charloom.tuning.search_space import axes_around
from charloom.tuning.storage import new_tuning_folder
from charloom.tuning.trials import TuningTask

PLAN = Settings(minutes=0.001, weight_decay=0.1)
SHARES = (0.25, 0.5, 0.75, 1.0)


def make_task(plan=PLAN, **fixed):
    axes = axes_around(plan, 10**6, fixed)
    return TuningTask("book", "0" * 64, {}, "auto", plan, fixed, axes, True)


def bowl(settings):
    """Return a loss whose minimum, 1, is at twice the plan's learning rate and batch size."""
    rate = math.log(settings.learning_rate / (2 * PLAN.learning_rate))
    batch = math.log2(settings.batch_size / (2 * PLAN.batch_size))
    return 1.0 + 0.1 * rate**2 + 0.05 * batch**2 + 0.02 * (settings.hidden_size != PLAN.hidden_size)


def evaluation(step, loss):
    return EvaluationRecord(step, 0.1, 1.0, loss, 1.0, loss, True, 1.0, 1.0, 0.1, 1.0)


class FakeTraining:
    """Replaces a training run: creates a run folder and yields records with computed losses."""

    def __init__(self, loss=bowl, seed_changes=0.0):
        self.loss, self.seed_changes, self.recipes, self.continued = loss, seed_changes, [], 0

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
        self.continued += 1
        yield NoveltyRecord(1, 0.0, 1, None, None, 1)


def never():
    return False


class After:
    """A stop function that returns True once ``left`` is 0."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        return self.left <= 0


def searched(path, trials, train=None, task=None, folder=None):
    """Search until this many trials have ended."""
    folder = folder or new_tuning_folder(path, task or make_task())
    stop = After(trials)
    for trial in search(folder, None, time.time() + 3600, "cpu", stop, train or FakeTraining()):
        stop.left -= trial.state in ("complete", "pruned", "failed")
    return folder
