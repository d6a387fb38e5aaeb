"""Show the progress of a hyperparameter search: one line per finished trial, and a live status on a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Self

from rich.status import Status

from charloom.terminal.messages import format_duration, is_terminal
from charloom.terminal.training_view import RaisingConsole
from charloom.tuning.report import changes
from charloom.tuning.storage import TuningFolder
from charloom.tuning.trials import Trial

_FINISHED = ("complete", "pruned", "failed")


class TuningView:
    """Shows the trials of a search. A context manager.

    Args:
        folder: Folder of the search.
        until: End of the search, in seconds since the epoch.
        reserved: Seconds at the end that are reserved for verifying the result.
        console: Console to print to.
        quiet: Whether to print nothing.
    """

    def __init__(
        self, folder: TuningFolder, until: float, reserved: float, console: RaisingConsole, quiet: bool
    ) -> None:
        self._task = folder.task
        self._until = until
        self._console = console
        self._quiet = quiet
        self._running: dict[tuple[bool, int], Trial] = {}
        losses = [(trial.loss, trial.number) for trial in folder.trials.trials() if trial.loss is not None]
        self._best = min(losses, default=None)
        is_live = console.is_terminal and is_terminal(sys.stderr) and not console.is_dumb_terminal and not quiet
        self._status = Status("", console=console) if is_live else None
        self._print(_heading(folder, until, reserved))

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, trial: Trial) -> None:
        """Show the state of a trial."""
        key = (trial.checks is not None, trial.number)
        if trial.state in _FINISHED:
            self._running.pop(key, None)
            if trial.loss is not None and trial.checks is None:
                self._best = min(self._best or (trial.loss, trial.number), (trial.loss, trial.number))
            self._print(self._line(trial))
        else:
            self._running[key] = trial
        if self._status is not None:
            self._status.update("\n".join(self._live_lines()))

    def _live_lines(self) -> list[str]:
        best = "" if self._best is None else f", best {self._best[0]:.4f} (trial {self._best[1]})"
        lines = [f"{format_duration(max(0.0, self._until - time.time()))} left{best}"]
        return lines + [self._line(trial) for trial in self._running.values()]

    def _line(self, trial: Trial) -> str:
        if trial.checks is None:
            name = f"trial {trial.number} ({changes(self._task, trial)})"
        else:
            name = f"verification of trial {trial.checks}"
        if trial.state == "complete":
            state = f"{trial.loss:.4f}"
            if trial.checks is None and self._best == (trial.loss, trial.number):
                state += " (best so far)"
        elif trial.curve:
            share, loss = trial.curve[-1]
            state = f"{loss:.4f} at {share:.0%}"
        else:
            state = "starting"
        if trial.state in ("pruned", "failed"):
            state = f"{trial.state} ({state}): {trial.reason}" if trial.curve else f"{trial.state}: {trial.reason}"
        return f"{name}: {state}"

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        with suppress(OSError):  # stderr is a closed pipe: the search continues
            self._console.print(text, soft_wrap=True)


def make_tuning_view(folder: TuningFolder, until: float, reserved: float, quiet: bool) -> TuningView:
    """Create the view of a search on stderr; see ``TuningView``."""
    console = RaisingConsole(stderr=True, highlight=False, markup=False, emoji=False, force_jupyter=False)
    return TuningView(folder, until, reserved, console, quiet)


def _heading(folder: TuningFolder, until: float, reserved: float) -> str:
    task, minutes = folder.task, max(0.0, until - time.time()) / 60
    verification = f"the last {reserved / 60:.3g} for verification" if reserved else "too short for verification"
    varied = ", ".join(axis.name for axis in task.axes)
    return (
        f"{folder.path}: {minutes:.3g} minutes of search ({verification}), {task.plan.minutes:.3g} minutes per trial\n"
        f"plan of {task.recipe}: {task.plan.in_words}\n"
        f"searching: {varied}"
    )
