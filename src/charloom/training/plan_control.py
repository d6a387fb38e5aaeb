"""Decide when the number of steps changes: to repeat a recorded change, or to keep the time budget."""

import time
from collections import deque
from collections.abc import Iterable

from charloom.planning.plan_changes import PlanChange
from charloom.planning.schedule import Plan
from charloom.training.distributed.process_group import ProcessGroup
from charloom.training.events import StepRecord
from charloom.training.time_budget import TimeBudget

_CHECKS = 200  # how often a run of several processes compares its plan with the clock


class PlanControl:
    """Proposes the changes of a plan; all processes get the same ones.

    As long as there are recorded changes to repeat, the clock is ignored.

    Args:
        process_group: Processes that train together.

    Attributes:
        changes_ahead: Recorded changes that will be repeated, in order.
    """

    def __init__(self, process_group: ProcessGroup) -> None:
        self.changes_ahead: deque[PlanChange] = deque()
        self._process_group = process_group
        self._budget: TimeBudget | None = None
        self._step_ended: float | None = None  # time at which the last step ended
        self._has_paused = False  # whether anything but a step happened since then

    def repeat(self, changes: Iterable[PlanChange]) -> None:
        """Repeat recorded changes at their steps."""
        self.changes_ahead = deque(changes)

    def start(self, plan: Plan, used: float, began: float) -> None:
        """Watch the time limit of a plan, if it has one.

        Args:
            plan: The plan.
            used: Seconds of the training before this process.
            began: Start of this process' part of the training, as a value of ``time.perf_counter``.
        """
        if plan.time_limit is not None:
            measured = plan.step_seconds, plan.evaluation_seconds
            self._budget = TimeBudget(plan.time_limit, used, began, plan.max_steps, *measured)

    def pause(self) -> None:
        """Tell that an evaluation or a checkpoint follows, so that its time does not count as that of a step."""
        self._has_paused = True

    def after_step(self, step: StepRecord, plan: Plan, evaluated: bool) -> PlanChange | None:
        """Return the change of the plan after a step, if there is one.

        Args:
            step: The step.
            plan: The current plan.
            evaluated: Whether the model was evaluated before this step, which shows how long that takes.
        """
        self._measure(step, evaluated)
        if self.changes_ahead:
            change = self.changes_ahead[0]
            return self.changes_ahead.popleft() if change.step == step.step and not change.extends else None
        if self._budget is None:
            return None
        # several processes exchange the result, which costs more than a look at the clock
        every = 1 if self._process_group.size == 1 else max(1, plan.steps // _CHECKS)
        if not evaluated and step.step % every:
            return None
        steps = self._budget.steps_for(step.step, plan.steps, plan.settings.eval_every)
        steps = self._process_group.broadcast(steps)
        return None if steps is None else PlanChange(step.step, steps)

    def after_evaluation(self, step: int) -> PlanChange | None:
        """Return the change that ends the run, if there is no time for another step with another evaluation."""
        if self._budget is None or self.changes_ahead or not self._process_group.broadcast(self._budget.is_over()):
            return None
        return PlanChange(step, step)

    def extension(self, step: int) -> PlanChange | None:
        """Return the recorded extension of the run after this step, if there is one."""
        if self.changes_ahead and self.changes_ahead[0].extends and self.changes_ahead[0].step == step:
            return self.changes_ahead.popleft()
        return None

    def _measure(self, step: StepRecord, evaluated: bool) -> None:
        """Add the duration of a step, and that of an evaluation before it, to the time budget."""
        now, ended, has_paused = time.perf_counter(), self._step_ended, self._has_paused
        self._step_ended, self._has_paused = now, False
        if self._budget is None or ended is None:
            return
        between = max(0.0, now - ended - step.seconds)
        if evaluated:
            self._budget.add_pause(between)
        self._budget.add_step(step.seconds if has_paused else step.seconds + between)
