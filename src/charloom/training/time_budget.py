"""Keep a training run within its time: adjust the number of steps to the recent speed of the machine."""

import math
import time
from collections import deque
from collections.abc import Callable

_WINDOW_SHARE, _MIN_WINDOW = 0.1, 1.0  # the recent past: share of the remaining time, and minimum in seconds
_MIN_RECENT = 4  # steps; includes the expensive and the cheap steps of Muon
_TOLERANCE = 0.01  # share of the budget by which the expected end may miss the budget
_TOLERANCE_LEFT = 0.05  # the same, as a share of the remaining time: far from the end, small errors may cancel
_MIN_TOLERANCE = 0.2  # seconds
_MAX_WAIT = 0.25  # share of the remaining time, or of the remaining steps, after which the plan may be shortened again
_MAX_CUT = 2.0  # factor by which one change may shorten the rest, except close to the end
_SMOOTHING = 0.5  # weight of the newest pause
_MAX_SLOWER_PAUSE = 2.0  # factor by which a pause is expected to become slower or faster together with the steps


class TimeBudget:
    """Watches the time of a training run and proposes the number of steps with which it ends on time.

    A pause between steps is an evaluation with its sample and files. When the machine becomes slower, so do pauses, but
    less than steps, in which threads wait for each other much more often.

    Args:
        seconds: The budget: wall time of the whole run, including the time before it was resumed.
        used: Seconds of it that were used before ``began``.
        began: Start of this process' part of the run, as a value of ``clock``.
        max_steps: Maximum number of steps; None for no limit.
        step_seconds: Measured duration of a step; 0 if unknown.
        pause_seconds: Measured duration of an evaluation; 0 if unknown.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        seconds: float,
        used: float = 0.0,
        began: float = 0.0,
        max_steps: int | None = None,
        step_seconds: float = 0.0,
        pause_seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds = seconds
        self.max_steps = max_steps
        self._ends_at = began + seconds - used
        self._clock = clock
        self._recent: deque[float] = deque()
        self._recent_seconds = 0.0
        self._pause_seconds, self._pause_step_seconds = pause_seconds, step_seconds  # a pause, and a step at that time
        self._changed_at, self._free_from = -math.inf, 0  # time of the last change; step from which another may follow

    def add_step(self, seconds: float) -> None:
        """Add the duration of a step."""
        self._recent.append(seconds)
        self._recent_seconds += seconds
        window = self._window
        while len(self._recent) > _MIN_RECENT and self._recent_seconds - self._recent[0] >= window:
            self._recent_seconds -= self._recent.popleft()

    def add_pause(self, seconds: float) -> None:
        """Add the duration of an evaluation with everything that belongs to it."""
        self._changed_at = -math.inf  # the pause tells something new about the speed
        self._pause_seconds += _SMOOTHING * (seconds - self._pause_seconds)
        if self._recent:
            self._pause_step_seconds = self._step_seconds

    def is_over(self) -> bool:
        """Return whether to end right after an evaluation: one more step and evaluation would take too long."""
        return bool(self._recent) and self._ends_at - self._clock() < (self._step_seconds + self._pause) / 2

    def steps_for(self, step: int, planned: int, eval_every: int) -> int | None:
        """Return the total number of steps with which the run ends on time, or None if the plan is good enough.

        Args:
            step: Number of steps so far, at least 1.
            planned: Current total number of steps.
            eval_every: Steps between evaluations.
        """
        now, window = self._clock(), self._window
        if len(self._recent) < _MIN_RECENT and self._recent_seconds < window:
            return None
        left = self._ends_at - now
        step_seconds, pause = self._step_seconds, self._pause
        seconds_per_step = step_seconds + pause / eval_every
        steps_left = max(0, int((left - pause) / seconds_per_step))
        rest = planned - step
        # A longer plan is used at once, so that the learning rate does not fall too early. A shorter one is approached
        # gradually, because the machine may be slow only for a moment.
        if steps_left < rest:
            if now - self._changed_at < min(window, _MAX_WAIT * left) and step < self._free_from:
                return None
            if left > 2 * window:
                steps_left = max(int(rest / _MAX_CUT), steps_left)
        steps = step + steps_left
        if self.max_steps is not None:
            steps = max(step, min(steps, self.max_steps))
        miss = abs(steps - planned) * seconds_per_step
        tolerance = max(_MIN_TOLERANCE, _TOLERANCE * self.seconds, _TOLERANCE_LEFT * left)
        if miss <= tolerance:
            return None
        self._changed_at, self._free_from = now, step + max(1, int(_MAX_WAIT * (steps - step)))
        return steps

    @property
    def _window(self) -> float:
        """Seconds of the recent past."""
        return max(_MIN_WINDOW, _WINDOW_SHARE * (self._ends_at - self._clock()))

    @property
    def _pause(self) -> float:
        """Expected seconds of the next pause."""
        if not self._pause_step_seconds:
            return self._pause_seconds
        slower = self._step_seconds / self._pause_step_seconds
        return self._pause_seconds * min(max(slower, 1 / _MAX_SLOWER_PAUSE), _MAX_SLOWER_PAUSE)

    @property
    def _step_seconds(self) -> float:
        return self._recent_seconds / len(self._recent)
