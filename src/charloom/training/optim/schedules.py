"""Learning-rate schedules: linear warm-up, then linear, cosine or no decay."""

import math

from charloom.planning.settings import Settings


def learning_rate_at(step: int, steps: int, settings: Settings) -> float:
    """Compute the learning rate of a step.

    Args:
        step: Number of steps before this one.
        steps: Total number of steps of the training.
        settings: ``learning_rate``, ``warmup_steps`` and ``schedule``.

    Source: warm-up and cosine decay as in Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    warmup = settings.warmup_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / (steps - warmup)
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
