"""Changes of the number of steps during a training run, and the learning-rate schedule that follows them.

A run with a time budget adjusts its number of steps to the speed of the machine, and ``--resume`` can extend a run.
Each such decision is stored in the setting ``plan_changes``, so that the learning rate depends on the settings and the
step only: a resumed run and a run that repeats the recipe use the same rates, whatever the clock says.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from charloom.errors import SettingsError

_CHANGE = re.compile(r"(\d{1,15}):(\d{1,15})(?:@(0(?:\.\d{1,4})?|1))?")
_MAX_CHANGES = 500  # 500 entries of at most 40 characters fit into a model file
_EXAMPLE = "0:700 120:650"


class PlanChange(NamedTuple):
    """One change of the number of steps.

    Attributes:
        step: Number of steps that were made before the change; 0 for the first plan.
        steps: Total number of steps from then on.
        restart: None if the run adjusts its plan to the clock. For a run that was extended: the learning rate from
            which the schedule starts again, as a share of the peak, in (0, 1]; 0 if the schedule continues where it is.
    """

    step: int
    steps: int
    restart: float | None = None

    @property
    def extends(self) -> bool:
        """Whether the run was extended after this step, by ``--resume`` with more time, epochs or steps."""
        return self.restart is not None


@lru_cache(maxsize=64)
def parse_changes(text: str) -> tuple[PlanChange, ...]:
    """Parse the setting ``plan_changes``, such as "0:700 120:650 650:1300@0.5".

    Raises:
        SettingsError: If it is invalid.
    """
    changes = []
    for item in text.split():
        match = _CHANGE.fullmatch(item)
        if match is None:
            raise _error(text, f"{item!r} is not STEP:STEPS or STEP:STEPS@RATE")
        changes.append(PlanChange(int(match[1]), int(match[2]), None if match[3] is None else float(match[3])))
    if len(changes) > _MAX_CHANGES:
        raise _error(text, f"it has {len(changes)} entries, and at most {_MAX_CHANGES} are allowed")
    if changes and (changes[0].step or changes[0].extends):
        raise _error(text, "the first entry must be the first plan, 0:STEPS")
    for before, after in pairwise(changes):
        if not before.step <= after.step <= before.steps:
            raise _error(text, f"step {after.step} is not between step {before.step} and step {before.steps}")
    for change in changes:
        if change.steps < max(1, change.step) or (change.extends and change.steps == change.step):
            raise _error(text, f"{change.steps} steps are too few at step {change.step}")
    return tuple(changes)


def format_changes(changes: Iterable[PlanChange]) -> str:
    """Return the value of the setting ``plan_changes``."""
    return " ".join(f"{c.step}:{c.steps}" + ("" if c.restart is None else f"@{c.restart:.4g}") for c in changes)


class SchedulePosition(NamedTuple):
    """Where a step stands in the learning-rate schedule.

    Attributes:
        factor: Share of the peak learning rate at which the current schedule started, in (0, 1].
        warmup_step: Number of the step in the warm-up, counted from 1; equal to ``warmup_steps`` after the warm-up.
        warmup_steps: Steps of the warm-up, at least 1.
        done: Share of the decay that is done, in [0, 1).
    """

    factor: float
    warmup_step: int
    warmup_steps: int
    done: float


def schedule_position(step: int, steps: int, warmup_steps: int, plan_changes: str = "") -> SchedulePosition:
    """Return the position of a step in a schedule that follows all changes of the plan.

    After a change, the rest of the decay is spread over the new number of remaining steps, so that the learning rate
    never jumps and always ends at its final value. A restart begins another warm-up and another decay.

    Args:
        step: Number of steps before this one.
        steps: Total number of steps.
        warmup_steps: Steps of the first warm-up; the warm-up of a restart is at most a tenth of its steps.
        plan_changes: See ``parse_changes``.
    """
    factor, done, total = 1.0, 0.0, steps
    warmup_from, start = 0, warmup_steps  # first step of the warm-up, and first step of the current part of the decay
    for change in parse_changes(plan_changes):
        if change.step > step:
            break
        if change.restart:
            factor, done, warmup_from = change.restart, 0.0, change.step
            start = change.step + min(warmup_steps, (change.steps - change.step) // 10)
        elif change.step > start:
            done += (1 - done) * (change.step - start) / (total - start) if total > start else 0.0
            start = change.step
        total = change.steps
    if step < start:
        return SchedulePosition(factor, step + 1 - warmup_from, start - warmup_from, 0.0)
    return SchedulePosition(factor, 1, 1, done + (1 - done) * (step - start) / (total - start))


def _error(text: str, reason: str) -> SettingsError:
    return SettingsError(
        f"plan_changes {text!r} is invalid: {reason}. Expected STEP:STEPS entries, such as {_EXAMPLE!r}; charloom "
        "writes this setting itself.",
        code="invalid_setting",
        name="plan_changes",
        value=text,
    )
