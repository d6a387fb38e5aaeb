"""Recovery from NaN, infinity and divergence: skip steps, roll back, halve the learning rate, or end the training."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charloom.errors import NonFiniteError, Notice
from charloom.training.early_stopping import reason_to_end, reason_to_slow_down
from charloom.training.history import History
from charloom.training.steps import TrainingSteps

_MAX_SKIPPED = 3  # consecutive skipped steps before a rollback
_MAX_ROLLBACKS = 2


class Action(NamedTuple):
    """An action of ``Recovery``; see ``charloom.training.events.EventRecord`` for the fields."""

    event: str
    message: Notice


class Recovery:
    """Detects failures after each step and each evaluation, and reacts to them.

    The state consists of ``history.skipped`` (consecutive skipped steps), ``history.rollbacks`` and ``history.ended``.
    Checkpoints save all three, so a resumed training continues in the same state. The transitions are::

        state            event                                             next state
        normal           a step is not finite                              skipped 1; the step changes nothing
        skipped n        the next step is finite                           normal
        skipped 1, 2     the next step is not finite                       skipped n + 1
        skipped 3        -                                                 rollback
        any              weights not finite before an evaluation or save   rollback
        rollback         it is the 1st or 2nd one (n)                      normal, from the newest checkpoint, with the
                                                                           learning rate times 0.5 ** n
        rollback         it is the 3rd one                                 failed: NonFiniteError
        any              evaluation: the training loss has risen           same, with half the learning rate
        any              evaluation: overfitting, or nothing to learn      ended, after a last checkpoint

    Args:
        steps: The training steps, whose learning rate and position are changed.
        history: History of the training, whose counts are changed.
        patience: Evaluations without improvement before an overfitting training ends; 0 turns early stopping off.
        folder: The run folder, for messages.
    """

    def __init__(self, steps: TrainingSteps, history: History, patience: int, folder: object) -> None:
        self._steps = steps
        self._history = history
        self._patience = patience
        self._folder = folder

    @property
    def has_skipped_too_many(self) -> bool:
        """Whether so many consecutive steps were skipped that the training must roll back."""
        return self._history.skipped >= _MAX_SKIPPED

    def weights_are_finite(self) -> bool:
        """Return whether all weights are finite; otherwise the model must not be evaluated or saved."""
        return all(bool(np.isfinite(weight).all()) for weight in self._steps.backend.weights().values())

    def roll_back(self, restore_newest_checkpoint: Callable[[], None]) -> Action:
        """Return to the newest checkpoint and halve the learning rate.

        The reason is that too many steps were skipped in a row, or that the weights are not finite.

        Args:
            restore_newest_checkpoint: Restores the weights, the optimizer state, the position, the history and the log
                files.

        Returns:
            What was done, with a notice for the user.

        Raises:
            NonFiniteError: If the training has already rolled back twice.
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
        """End the training or halve its learning rate if the last evaluation requires it. Acts once per evaluation."""
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
