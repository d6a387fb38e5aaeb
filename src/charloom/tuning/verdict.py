"""What a search for better settings came to, in plain words."""

from collections.abc import Mapping

from charloom.tuning.search_space import differences
from charloom.tuning.trials import Outcome, Trial, TuningTask

_EVEN = 1.25  # times as many steps in the same time is still the same machine
_BY_CHANCE = "The best of several is best partly by chance"


def tuning_verdict(task: TuningTask, found: Outcome, trials: int) -> list[str]:
    """Return sentences for the user about a search.

    Args:
        task: What was searched.
        found: What came of it.
        trials: How many were complete or given up, the plan's among them.
    """
    name, plan, best = task.recipe, found.plan, found.best
    if trials == 0:
        return [f"No training of {task.plan.minutes:.3g} minutes has ended. Give it more --hours, or fewer --minutes."]
    if plan is None or best is None:
        return [f"The training of {name}'s own plan has not ended, so that there is nothing to compare with yet."]
    if best == plan:
        if trials < 2:
            return [f"Nothing but {name}'s plan has been tried: it reaches {_nats(plan)}. Give it more --hours."]
        return [f"It could not beat {name}'s plan: that reaches {_nats(plan)}, and of {trials - 1} others none less."]
    if found.plan_check is None or found.best_check is None:
        return [
            f"Trial {best.number} reaches {_nats(best)}, {name}'s plan {_nats(plan)}. {_BY_CHANCE}, and this one "
            "has not been checked with another seed: there was no time for it."
        ]
    uneven = _uneven(best, found.best_check) or _uneven(plan, found.plan_check)
    if found.winner is best:
        return [
            f"The tuned recipe reaches {_nats(found.best_check)}, {name}'s plan {_nats(found.plan_check)}: "
            f"it is better{_by(found.plan_check, found.best_check)}. These are trainings of their own with another "
            f"seed; in the search they had {_nats(best)} and {_nats(plan)}.",
            *uneven,
        ]
    return [
        f"It could not beat {name}'s plan: trial {best.number} had {_nats(best)} and the plan {_nats(plan)}, but "
        f"trained once more, with another seed, it reaches {_nats(found.best_check)} and the plan "
        f"{_nats(found.plan_check)}. {_BY_CHANCE}. Keep {name}.",
        *uneven,
    ]


def changes(task: TuningTask, trial: Trial) -> str:
    """Return in which settings a trial is not the plan."""
    return listed(differences(task.settings(trial.place), task.plan)) or "the plan"


def listed(values: Mapping[str, object]) -> str:
    """Return settings and their values, one after the other."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def shown(value: object) -> str:
    """Return a setting's value as it is said: of a number with a fraction three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _uneven(trial: Trial, check: Trial) -> list[str]:
    """Return a warning where the machine made many more or fewer steps of the same settings than before."""
    steps, again = trial.facts.get("steps"), check.facts.get("steps")
    if not steps or not again or max(steps, again) <= _EVEN * min(steps, again):
        return []
    return [
        f"But this machine made {again:,} steps of trial {trial.number} in the check, and {steps:,} in the same time "
        "before: it was busy with other work, and such losses say little. Search again when it is not."
    ]


def _nats(trial: Trial) -> str:
    return "no finite loss" if trial.loss is None else f"{trial.loss:.4f} nats"


def _by(plan: Trial, best: Trial) -> str:
    return "" if plan.loss is None or best.loss is None else f" by {plan.loss - best.loss:.4f}"
