"""The search: its starting point, the order of trials, and the final checks.

``plan_search`` converts a corpus and a recipe to a task. ``run_search`` runs trials until the time is used, in this
process or in several, then checks the result with another seed. ``search`` and ``check`` do the work of one process,
either this one or a worker that ``charloom.tuning.workers`` started.
"""

import math
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from charloom._util.memory import is_out_of_memory
from charloom.data.corpus import Corpus
from charloom.errors import CharloomError, NonFiniteError, RunError, SettingsError
from charloom.planning.recipes import PLANNED, Recipe
from charloom.planning.settings import Settings
from charloom.training.events import (
    CheckpointRecord,
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    PlanChangeRecord,
    PlanRecord,
    Record,
)
from charloom.training.pipeline import TrainingRequest, measure, prepare
from charloom.training.run import run_training
from charloom.tuning.search_space import Axis, Point, axes_around, neighbor
from charloom.tuning.storage import TrialStore, TuningFolder, report_loss
from charloom.tuning.trials import State, Trial, TuningTask, outcome
from charloom.tuning.workers import run_processes, worker_arguments

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_DEFAULT_TRAININGS = 12  # training runs that fit into the time by default: ten to search, two to check
_NO_CHECKPOINTS = 10**12  # steps between checkpoints; those at the end and every minute remain
_TPE_FROM = 6  # complete or pruned trials before Optuna's TPE sampler is used instead of neighbors of the best trial
_PRUNE_FROM = 0.3  # minimum share of a training run before a trial can be pruned
_MIN_COMPLETE = 2  # minimum number of complete trials before a trial can be pruned


class Train(Protocol):
    """A training function: ``run_training``, or a stub in tests."""

    def __call__(
        self, corpus: Corpus, recipe: Recipe, folder: str | None, device: str, stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Train and yield the records of the training."""
        ...


@dataclass(frozen=True)
class Search:
    """A search and the resources of this call.

    Attributes:
        folder: Folder of the search.
        corpus: The training text.
        device: See ``charloom.training.backends.base.DEVICES``.
        until: End of the search as a ``time.time`` timestamp.
        reserved: Seconds before ``until`` that are reserved for checking the result; 0 for no check.
        workers: Number of worker processes; 1 to search in this process.
        sources: Paths of the corpus for the workers.
    """

    folder: TuningFolder
    corpus: Corpus
    device: str
    until: float
    reserved: float
    workers: int
    sources: tuple[str, ...]


# --- The starting point


def plan_search(
    corpus: Corpus, recipe: Recipe, chosen: Mapping[str, Any], hours: float, minutes: float | None, device: str
) -> TuningTask:
    """Return the task of a new search.

    Args:
        corpus: The training text.
        recipe: Recipe at which the search starts, including ``chosen``.
        chosen: Settings chosen by the user, which are not varied.
        hours: Time for the whole search.
        minutes: Time of each training; None for the recipe's own time, but at most a twelfth of ``hours``.
        device: See ``charloom.training.backends.base.DEVICES``.

    Raises:
        InputError: If the corpus or the settings are invalid, or the time is too short for two training runs.
    """
    if minutes is None:
        minutes = min(_recipe_minutes(corpus, recipe, device), hours * 60 / _DEFAULT_TRAININGS)
    if hours * 60 < 2 * minutes:
        min_hours = math.ceil(2000 * minutes / 60) / 1000  # rounded up, so that the suggested value is accepted
        raise SettingsError(
            f"--hours {hours:g} is too short for two training runs of {minutes:g} minutes, the minimum for a "
            f"comparison. Pass --hours {min_hours:g} or more, or decrease --minutes.",
            code="tuning_time_too_short",
            hours=hours,
            minutes=minutes,
            minimum_hours=min_hours,
        )
    setup = prepare(TrainingRequest(corpus, recipe.with_values({"minutes": minutes}), device))
    if not setup.settings.val_fraction:
        raise SettingsError(
            "Tuning compares losses on held-out text, so val_fraction must be greater than 0.",
            code="no_validation_text",
            setting="val_fraction",
        )
    plan = setup.settings.with_values({"minutes": minutes, "precision": recipe.settings.precision})
    axes = axes_around(plan, len(setup.training), chosen)
    if not axes:
        raise SettingsError(
            "All tunable settings are fixed with --set. Remove at least one of them.", code="nothing_to_tune"
        )
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


def _recipe_minutes(corpus: Corpus, recipe: Recipe, device: str) -> float:
    """Return the default minutes of a recipe's training; infinity if its length is given in steps or epochs."""
    if not recipe.settings.minutes:
        return math.inf
    if "minutes" in recipe.fixed or recipe.name not in PLANNED:
        return recipe.settings.minutes
    return prepare(TrainingRequest(corpus, recipe, device)).settings.minutes


def check_same_search(
    folder: TuningFolder, corpus: Corpus, recipe: Recipe, chosen: Mapping[str, Any], minutes: float | None
) -> None:
    """Raise ``RunError`` if the search in a folder differs from the requested one; see ``plan_search``."""
    task, difference, reason = folder.task, "", ""
    if (task.corpus_sha256, task.format) != (corpus.sha256, corpus.format.to_dict()):
        reason = "corpus"
        difference = f"a different text or text format: {task.corpus}, SHA-256 {task.corpus_sha256[:12]} ..."
    elif task.fixed != chosen:
        fixed = " ".join(f"{name}={value}" for name, value in task.fixed.items()) or "none"
        reason, difference = "fixed", f"different fixed settings: {fixed}"
    elif task.recipe != recipe.name:
        reason, difference = "recipe", f"a different recipe: {task.recipe}"
    elif minutes is not None and minutes != task.plan.minutes:
        reason, difference = "minutes", f"a different time per training: {task.plan.minutes:g} minutes"
    if difference:
        raise RunError(
            f"The search in {folder.path} uses {difference}. Its trials are not comparable with the requested search. "
            "Choose another folder with -o, or omit -o.",
            code="different_search",
            path=str(folder.path),
            difference=reason,
        )


def seconds_to_check(task: TuningTask, workers: int, hours: float, has_candidate: bool = False) -> float:
    """Return the seconds to reserve for checking the result; 0 if the time is too short for a check.

    Args:
        task: Task of the search.
        workers: Number of training runs at the same time.
        hours: Time for the whole search.
        has_candidate: Whether there is already a result to check.
    """
    training = task.plan.minutes * 60
    needed = training * (1 if workers > 1 else 2)
    return needed if hours * 3600 >= needed + (0 if has_candidate else needed + training) else 0.0


def has_candidate(folder: TuningFolder) -> bool:
    """Return whether a trial of the search was better than the plan, so that there is a result to check."""
    result = outcome(folder.trials.trials(), ())
    return result.plan is not None and result.best != result.plan


# --- The order of trials and checks


def run_search(
    search_run: Search, stop: Callable[[], bool], train: Train = run_training, warms_up: bool = True
) -> Iterator[Trial]:
    """Run trials until only the reserved time is left, then check the best trial and the plan with another seed.

    Args:
        search_run: The search.
        stop: Called frequently. Once it returns True, the search ends; interrupted trials are repeated when the search
            is resumed.
        train: Training function of this process. Workers always use ``run_training``.
        warms_up: Whether to warm up this process before its first trial; see ``warm_up``.

    Yields:
        A trial whenever it starts, is evaluated or ends.

    Raises:
        CharloomError: If the plan itself cannot be trained, or all workers failed.
    """
    s, folder = search_run, search_run.folder
    until = s.until - s.reserved
    if s.workers == 1:
        if warms_up:
            warm_up(folder.task, s.corpus, s.device)
        yield from search(folder, s.corpus, until, s.device, stop, train)
    else:
        arguments = [worker_arguments(folder.path, s.corpus.format, s.device, s.sources, until)] * s.workers
        yield from run_processes(folder.trials, arguments, s.workers, stop)
    if not s.reserved:
        return
    result = outcome(folder.trials.trials(), folder.checks.trials())
    if result.plan is None or result.best is None or result.is_checked or stop():
        return
    numbers = [trial.number for trial in (result.best, result.plan)]
    if s.workers > 1:
        arguments = [worker_arguments(folder.path, s.corpus.format, s.device, s.sources, s.until, n) for n in numbers]
        yield from run_processes(folder.checks, arguments, s.workers, stop)
        return
    for number in numbers:
        if not stop():
            yield from check(folder, s.corpus, number, s.device, stop, train)


def warm_up(task: TuningTask, corpus: Corpus, device: str) -> None:
    """Load libraries and allocate memory, which would otherwise slow down the first training of the process.

    Measured with training runs of 6 seconds: without it, the first training, which is the plan's, loses 3 seconds.
    """
    measure(prepare(TrainingRequest(corpus, trial_recipe(task, task.plan), device)))


def search(
    folder: TuningFolder,
    corpus: Corpus,
    until: float,
    device: str,
    stop: Callable[[], bool],
    train: Train = run_training,
) -> Iterator[Trial]:
    """Run trials until the remaining time is too short for another one.

    Several processes can do this in the same folder at the same time.

    Args:
        folder: Folder of the search.
        corpus: The training text.
        until: End of the search as a ``time.time`` timestamp.
        device: See ``charloom.training.backends.base.DEVICES``.
        stop: Called frequently. Once it returns True, the search ends; the interrupted trial is repeated later.
        train: Training function.

    Yields:
        A trial whenever it starts, is evaluated or ends.

    Raises:
        CharloomError: If the plan itself cannot be trained, so that there is no baseline.
    """
    store, task = folder.trials, folder.task
    while not stop() and time.time() + task.plan.minutes * 60 <= until:
        for number in store.fail_dead():
            yield store.trial(number)
        _check_plan(store.trials(), task)
        trial = next_trial(store, task)
        store.begin(trial)
        point = store.trial(trial.number).point
        is_plan = point == store.trial(0).point
        recipe = trial_recipe(task, task.settings(point))
        yield from _run_trial(store, trial, corpus, recipe, device, stop, train, may_prune=not is_plan)
        store.keep_best_model()


def _check_plan(trials: Sequence[Trial], task: TuningTask) -> None:
    of_plan = [trial for trial in trials if trial.point == trials[0].point]
    if all(trial.state in ("pruned", "failed") for trial in of_plan):
        raise CharloomError(
            f"The {task.recipe} plan could not be trained ({of_plan[-1].reason}), so the search has no baseline. "
            "Start a new search with other settings, such as --set hidden_size=... or --set learning_rate=...",
            code="plan_not_trainable",
            reason=of_plan[-1].reason,
        )


def check(
    folder: TuningFolder,
    corpus: Corpus,
    number: int,
    device: str,
    stop: Callable[[], bool],
    train: Train = run_training,
) -> Iterator[Trial]:
    """Train a trial's settings again with another seed, unless this was already done.

    Args:
        folder: Folder of the search.
        corpus: The training text.
        number: Number of the trial.
        device: See ``charloom.training.backends.base.DEVICES``.
        stop: Called frequently. Once it returns True, the training ends.
        train: Training function.

    Yields:
        The check whenever it starts, is evaluated or ends.
    """
    store, task = folder.checks, folder.task
    store.fail_dead()
    if any(done.checks == number and done.is_judged for done in store.trials()):
        return
    trial = store.study.ask()
    trial.set_user_attr("checks", number)
    store.begin(trial)
    settings = task.settings(folder.trials.trial(number).point)
    settings = settings.with_values({"seed": settings.seed + 1})
    yield from _run_trial(store, trial, corpus, trial_recipe(task, settings), device, stop, train, may_prune=False)


def trial_recipe(task: TuningTask, settings: Settings) -> Recipe:
    """Return the recipe of a trial, with all settings fixed."""
    settings = settings.with_values({"sample_length": 0, "checkpoint_every": _NO_CHECKPOINTS, "keep_checkpoints": 1})
    fixed = frozenset(settings.to_dict()) - ({"warmup_steps"} if task.shortens_warmup else frozenset())
    return Recipe(task.recipe, "of a search", settings, fixed)


# --- The next trial


def next_trial(store: TrialStore, task: TuningTask) -> "optuna.Trial":
    """Return the next waiting trial or, if there is none, a neighbor of the best trial or a proposal of TPE."""
    trials = store.trials()
    uses_tpe = sum(trial.is_judged for trial in trials) >= _TPE_FROM
    is_waiting = any(trial.state == "waiting" for trial in trials)
    if not is_waiting and not uses_tpe:
        store.study.enqueue_trial(_neighbor_of_best(trials, task))
    unused = store.study.sampler
    if uses_tpe and not is_waiting:
        store.study.sampler = _tpe(task.plan.seed + len(trials))
    try:
        return store.study.ask(distributions(task.axes))
    finally:
        store.study.sampler = unused


def _neighbor_of_best(trials: Sequence[Trial], task: TuningTask) -> Point:
    best = outcome(trials, ()).best or trials[0]
    rng = np.random.Generator(np.random.Philox(key=[task.plan.seed, len(trials)]))
    return neighbor(best.point, task.axes, rng, lambda point: all(point != trial.point for trial in trials))


def _tpe(seed: int) -> "optuna.samplers.TPESampler":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call these two experimental
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)


def distributions(axes: Collection[Axis]) -> "dict[str, BaseDistribution]":
    """Return Optuna's distribution of each axis, by its name."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        axis.name: IntDistribution(0, len(axis.values) - 1)
        if axis.values
        else FloatDistribution(axis.low, axis.high, log=True)
        for axis in axes
    }


# --- One training


def _run_trial(
    store: TrialStore,
    trial: "optuna.Trial",
    corpus: Corpus,
    recipe: Recipe,
    device: str,
    stop: Callable[[], bool],
    train: Train,
    may_prune: bool,
) -> Iterator[Trial]:
    """Run one training and record its final state, whatever happens."""
    number, began = trial.number, time.monotonic()
    complete = [done.curve for done in store.trials() if done.state == "complete"] if may_prune else []
    with store.heartbeat(number):
        try:
            yield store.trial(number)
            run = str(store.run_folder(number))
            yield from _evaluations(store, trial, train(corpus, recipe, run, device, stop), complete)
        except _Pruned as pruned:
            _finish(store, trial, "pruned", began, str(pruned))
        except Exception as error:
            _finish(store, trial, "failed", began, f"failed: {error}")
            raise
        except BaseException as stopped:
            _finish(store, trial, "failed", began, "interrupted")
            if store.trial(number).checks is None:
                store.retry(number)
            if not isinstance(stopped, _Stopped):
                raise
        else:
            _finish(store, trial, "complete", began)
    yield store.trial(number)


class _Pruned(Exception):
    """Ends a training run that is not worth continuing; the message is the reason."""


class _Stopped(BaseException):
    """A training run was interrupted from outside, for example by a signal."""


def _evaluations(
    store: TrialStore,
    trial: "optuna.Trial",
    records: Iterator[Record],
    complete: Sequence[Sequence[tuple[float, float]]],
) -> Iterator[Trial]:
    """Record the evaluations of a trial, and stop after its last checkpoint.

    A trial does not need what a training run does after that, such as the memorization check.

    Args:
        store: The store that records the losses.
        trial: Optuna's object for the trial.
        records: The records that the training run yields.
        complete: Loss curves of the complete trials; see ``Trial.curve``.

    Yields:
        The trial as charloom's ``Trial``, after each evaluation.

    Raises:
        _Pruned: If the loss is above the median of the complete trials, if it diverged, or if memory ran out.
        _Stopped: If the training was interrupted.
    """
    steps, share, lowest, has_ended = 0, 0.0, math.inf, False
    try:
        for record in records:
            if isinstance(record, PlanRecord):
                steps = record.plan.steps
                facts = {"steps": steps, "parameters": record.architecture.num_parameters}
                facts["warmup_steps"] = record.plan.settings.warmup_steps
                trial.set_user_attr("facts", facts)
            elif isinstance(record, PlanChangeRecord):
                steps = record.steps
                trial.set_user_attr("facts", facts | {"steps": steps})
            elif isinstance(record, EvaluationRecord) and record.step and record.val_loss is not None:
                lowest, share = min(lowest, record.val_loss), max(share, record.step / steps)
                report_loss(trial, share, lowest)
                yield store.trial(trial.number)
                if lags_behind(share, lowest, complete):
                    raise _Pruned("loss above the median")
                has_ended = record.step == steps
            elif isinstance(record, EventRecord) and record.event == "ended":
                has_ended = True
            elif isinstance(record, FinishRecord) and record.interrupted:
                raise _Stopped
            elif isinstance(record, CheckpointRecord) and has_ended:
                break  # the steps after the last checkpoint are only useful for a model that is kept
    except NonFiniteError:
        raise _Pruned("diverged") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _Pruned("out of memory") from None
    finally:
        getattr(records, "close", lambda: None)()
    if not math.isfinite(lowest):
        raise _Pruned("diverged")


def _finish(store: TrialStore, trial: "optuna.Trial", state: State, began: float, reason: str = "") -> None:
    ended = store.trial(trial.number)
    if ended.state == "running":
        trial.set_user_attr("facts", {**ended.facts, "seconds": time.monotonic() - began})
        if reason:
            trial.set_user_attr("reason", reason)
    store.finish(trial.number, state, min(loss for _, loss in ended.curve) if state == "complete" else None)


def lags_behind(share: float, loss: float, complete: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Return whether a training run's loss is above the median of the complete training runs at the same share.

    Args:
        share: Completed share of the training, 0 to 1.
        loss: Lowest held-out loss so far, in nats per character.
        complete: Curves of the complete training runs, which are interpolated linearly; see ``Trial.curve``.
    """
    if share < _PRUNE_FROM or share >= 1 or len(complete) < _MIN_COMPLETE:
        return False
    losses = [float(np.interp(share, [at for at, _ in curve], [value for _, value in curve])) for curve in complete]
    return loss > float(np.median(losses))
