"""Recovery from non-finite numbers: skip updates, roll back, halve the learning rate, or end."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charloom.errors import NonFiniteError, Notice
from charloom.training.early_stopping import reason_to_end, reason_to_slow_down
from charloom.training.history import History
from charloom.training.steps import TrainingSteps

_MAX_SKIPPED = 3  # consecutive updates left out before the training rolls back
_MAX_ROLLBACKS = 2


class Action(NamedTuple):
    """What was done, to be recorded.

    Attributes:
        event: See ``charloom.training.events.EventRecord``.
        message: For people.
    """

    event: str
    message: Notice


class Recovery:
    """Decides after each update and each evaluation whether the training has to change course, and changes it.

    The state is ``history.skipped`` (consecutive updates left out), ``history.rollbacks`` and ``history.ended``; all
    three are in every checkpoint, so that a resumed training is in the same state. The transitions are::

        state            event                                             next state
        normal           an update is not finite                           skipped 1; the update is left out
        skipped n        the next update is finite                         normal
        skipped 1, 2     the next update is not finite                     skipped n + 1
        skipped 3        -                                                 roll back
        any              weights not finite before an evaluation or save   roll back
        roll back        it is the 1st or 2nd one (n)                      normal, from the newest checkpoint, with the
                                                                           learning rate times 0.5 ** n
        roll back        it is the 3rd one                                 failed: NonFiniteError
        any              evaluation: training loss has risen               same, with half the learning rate
        any              evaluation: over-fitted, or nothing to learn      ended, after a last checkpoint

    Args:
        steps: The updates; its learning rate and position are changed.
        history: What has happened so far; its counts are changed.
        patience: Evaluations without improvement before over-fitting ends the training; 0: never.
        folder: The run folder, for messages.
    """

    def __init__(self, steps: TrainingSteps, history: History, patience: int, folder: object) -> None:
        self._steps = steps
        self._history = history
        self._patience = patience
        self._folder = folder

    @property
    def has_skipped_too_many(self) -> bool:
        """Whether so many updates in a row were left out that the training must roll back."""
        return self._history.skipped >= _MAX_SKIPPED

    def weights_are_finite(self) -> bool:
        """Return whether no weight is NaN or infinite; only then may the model be evaluated or saved."""
        return all(bool(np.isfinite(weight).all()) for weight in self._steps.backend.weights().values())

    def roll_back(self, restore_newest_checkpoint: Callable[[], None]) -> Action:
        """Return to the newest checkpoint with half the learning rate.

        Args:
            restore_newest_checkpoint: Restores steps, history and files.

        Raises:
            NonFiniteError: If the training has rolled back too often already.
        """
        at, rollbacks = self._steps.step, self._history.rollbacks + 1
        if rollbacks > _MAX_ROLLBACKS:
            best = self._history.best
            raise NonFiniteError(
                f"Training diverged: NaN or infinite values at step {at:,}, after {_MAX_ROLLBACKS} rollbacks that each "
                f"halved the learning rate. {self._best_model()} Try a lower learning rate (--set learning_rate=...) "
                "or gradient clipping (--set max_grad_norm=1).",
                code="diverged",
                step=at,
                rollbacks=_MAX_ROLLBACKS,
                best_step=best.step if best else None,
                run=str(self._folder),
            )
        restore_newest_checkpoint()
        self._history.rollbacks, self._history.skipped = rollbacks, 0
        self._steps.rate_factor = 0.5**rollbacks
        return Action(
            "rolled back",
            Notice(
                f"Values are still NaN or infinite at step {at:,}. Rolling back to step {self._steps.step:,} with half "
                f"the learning rate (rollback {rollbacks} of {_MAX_ROLLBACKS}).",
                code="rolled_back",
                step=at,
                to_step=self._steps.step,
                rollback=rollbacks,
                max_rollbacks=_MAX_ROLLBACKS,
            ),
        )

    def after_evaluation(self) -> Action | None:
        """End the training or halve its learning rate if the last evaluation says so; once for each evaluation."""
        step = self._steps.step
        if self._history.watched == step:
            return None
        self._history.watched = step
        reason = reason_to_end(self._history, self._patience)
        if reason and step < self._steps.steps:
            self._history.ended = True
            return Action("ended", reason)
        if reason := reason_to_slow_down(self._history):
            self._steps.rate_factor /= 2
            self._history.reset_lowest()
            return Action("halved", reason)
        return None

    def _best_model(self) -> str:
        if self._history.best is None:
            return "No model was saved, because there was no evaluation yet."
        return f"The best model so far (step {self._history.best.step}) is in {self._folder}."
