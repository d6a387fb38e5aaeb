"""Learning-rate schedules: linear warm-up, then linear, cosine or no decay."""

import math

from charloom.planning.plan_changes import schedule_position
from charloom.planning.settings import Settings


def learning_rate_at(step: int, steps: int, settings: Settings) -> float:
    """Compute the learning rate of a step.

    Args:
        step: Number of steps before this one.
        steps: Total number of steps of the training.
        settings: ``learning_rate``, ``warmup_steps``, ``schedule`` and ``plan_changes``.

    Source: warm-up and cosine decay as in Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    position = schedule_position(step, steps, settings.warmup_steps, settings.plan_changes)
    peak, done = position.factor * settings.learning_rate, position.done
    if position.warmup_step < position.warmup_steps:
        return peak * position.warmup_step / position.warmup_steps
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "linear":
        return peak * (1 - done)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
