"""What a search tries next: a change of the best trial so far, and after six what Optuna's sampler proposes."""

import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charloom.tuning.search_space import Axis, Place, near
from charloom.tuning.storage import Ledger
from charloom.tuning.trials import Trial, TuningTask, outcome

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_TPE_FROM = 6  # complete or pruned trials, from which on Optuna's sampler proposes


def next_trial(ledger: Ledger, task: TuningTask) -> "optuna.Trial":
    """Return the trial that has waited longest, or else a new one."""
    trials = ledger.trials()
    tpe = sum(trial.is_judged for trial in trials) >= _TPE_FROM
    waits = any(trial.state == "waiting" for trial in trials)
    if not waits and not tpe:
        ledger.study.enqueue_trial(_near_the_best(trials, task))
    plain = ledger.study.sampler
    if tpe and not waits:
        ledger.study.sampler = _tpe(task.plan.seed + len(trials))
    try:
        return ledger.study.ask(distributions(task.axes))
    finally:
        ledger.study.sampler = plain


def _near_the_best(trials: Sequence[Trial], task: TuningTask) -> Place:
    best = outcome(trials, ()).best or trials[0]
    rng = np.random.Generator(np.random.Philox(key=[task.plan.seed, len(trials)]))
    return near(best.place, task.axes, rng, lambda place: all(place != trial.place for trial in trials))


def _tpe(seed: int) -> "optuna.samplers.TPESampler":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call these two experimental
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)


def distributions(axes: Collection[Axis]) -> "dict[str, BaseDistribution]":
    """Return what Optuna draws each axis from."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        axis.name: IntDistribution(0, len(axis.values) - 1)
        if axis.values
        else FloatDistribution(axis.low, axis.high, log=True)
        for axis in axes
    }
