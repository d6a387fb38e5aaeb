"""Learning-rate schedules, as arithmetic on step numbers."""

import math

from charloom.planning.settings import Settings


def learning_rate_at(step: int, steps: int, settings: Settings) -> float:
    """Return the learning rate of an update.

    Args:
        step: Number of updates before it.
        steps: Number of updates of the whole training.
        settings: ``learning_rate``, ``warmup_steps``, ``schedule``.

    Source: warm-up and cosine as in Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
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
