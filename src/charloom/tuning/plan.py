"""What a search begins with: how long its trainings take, what is fixed, what is varied."""

import math
from collections.abc import Mapping
from typing import Any

from charloom.data.corpus import Corpus
from charloom.errors import SettingsError
from charloom.planning.recipes import PLANNED, Recipe
from charloom.planning.settings import Settings
from charloom.training.stages import first_evaluation, measure_step_seconds, prepare
from charloom.tuning.search_space import axes_around
from charloom.tuning.trials import TuningTask

_TRAININGS = 12  # in the time there is, where nothing else says how long one takes: ten to search, two to check
_NEVER_BY_STEPS = 10**12  # a checkpoint at the end and one a minute is enough


def plan_search(
    corpus: Corpus, recipe: Recipe, chosen: Mapping[str, Any], hours: float, minutes: float | None, device: str
) -> TuningTask:
    """Return what a new search searches.

    Args:
        corpus: What to learn from.
        recipe: Where the search starts, ``chosen`` in it.
        chosen: Settings that stay as they are.
        hours: For the whole search.
        minutes: Of each training; None: as long as the recipe takes, but so that about ten fit.
        device: Where.

    Raises:
        InputError: If the corpus or the settings cannot be used, or there is no time for two trainings.
    """
    if minutes is None:
        minutes = min(_own_minutes(corpus, recipe, device), hours * 60 / _TRAININGS)
    if hours * 60 < 2 * minutes:
        least = math.ceil(2000 * minutes / 60) / 1000  # rounded up: what is advised must be accepted
        raise SettingsError(
            f"--hours {hours:g} is less than two trainings of {minutes:g} minutes: there would be nothing to compare. "
            f"Give --hours {least:g} or more, or fewer --minutes."
        )
    ready = prepare(corpus, recipe.with_values({"minutes": minutes}), device)
    if not ready.settings.val_fraction:
        raise SettingsError("Tuning compares losses on held-out text: val_fraction must be above 0.")
    plan = ready.settings.with_values({"minutes": minutes, "precision": recipe.settings.precision})
    axes = axes_around(plan, len(ready.training), chosen)
    if not axes:
        raise SettingsError("Every setting that could be varied is fixed with --set. Leave one of them free.")
    return TuningTask(
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        format=corpus.format.to_dict(),
        recipe=recipe.name,
        plan=plan,
        fixed=dict(chosen),
        axes=axes,
        shortens_warmup="warmup_steps" not in recipe.fixed,
    )


def _own_minutes(corpus: Corpus, recipe: Recipe, device: str) -> float:
    """Return how long a training of a recipe takes if nobody says; of one that counts steps, as long as there is."""
    if not recipe.settings.minutes:
        return math.inf
    if "minutes" in recipe.fixed or recipe.name not in PLANNED:
        return recipe.settings.minutes
    return prepare(corpus, recipe, device).settings.minutes


def seconds_to_check(task: TuningTask, at_once: int, hours: float, has_found: bool = False) -> float:
    """Return the seconds to keep for checking the result; 0 if there is too little time for that.

    Args:
        task: What is searched.
        at_once: How many trainings run side by side.
        hours: There are in all.
        has_found: Whether there is something to check already; otherwise it has to be found first.
    """
    a_training = task.plan.minutes * 60
    needed = a_training * (1 if at_once > 1 else 2)
    return needed if hours * 3600 >= needed + (0 if has_found else needed + a_training) else 0.0


def warm_up(task: TuningTask, corpus: Corpus, device: str) -> None:
    """Do once what the first training of a process is slowed down by: libraries are loaded, memory is taken.

    Measured with trainings of 6 seconds: the first then has three seconds less than the others, and it is the plan's.
    """
    ready = prepare(corpus, trial_recipe(task, task.plan), device)
    first_evaluation(ready)
    measure_step_seconds(ready, task.plan.minutes * 60)


def trial_recipe(task: TuningTask, settings: Settings) -> Recipe:
    """Return the recipe of a training: nothing of it is planned any more."""
    settings = settings.with_values({"sample_length": 0, "checkpoint_every": _NEVER_BY_STEPS, "keep_checkpoints": 1})
    fixed = frozenset(settings.to_dict()) - ({"warmup_steps"} if task.shortens_warmup else frozenset())
    return Recipe(task.recipe, "of a search", settings, fixed)
