"""Searching for settings that are better than the plan's: trainings of the same time, one after the other."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from charloom._util.memory import is_out_of_memory
from charloom.data.corpus import Corpus
from charloom.errors import CharloomError, NonFiniteError
from charloom.planning.recipes import Recipe
from charloom.training.events import CheckpointRecord, EvaluationRecord, EventRecord, FinishRecord, PlanRecord, Record
from charloom.training.run import run_training
from charloom.tuning.plan import trial_recipe
from charloom.tuning.proposals import next_trial
from charloom.tuning.storage import Ledger, TuningFolder, report
from charloom.tuning.trials import State, Trial, TuningTask

if TYPE_CHECKING:
    import optuna

_PRUNED_FROM = 0.3  # share of a training before which nothing is given up
_COMPLETE = 2  # trainings that must have ended before one is given up


class Train(Protocol):
    """What trains: ``run_training``, or what a test puts in its place."""

    def __call__(
        self, corpus: Corpus, recipe: Recipe, folder: str | None, device: str, stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Train, telling everything that happens."""
        ...


def search(
    folder: TuningFolder,
    corpus: Corpus,
    until: float,
    device: str,
    stop: Callable[[], bool],
    train: Train = run_training,
) -> Iterator[Trial]:
    """Try settings until no further training fits into the time, telling about each trial when it has changed.

    Others may do the same in the same folder: nothing is tried twice.

    Args:
        folder: Where all is written down.
        corpus: What to learn from.
        until: When the search ends, by ``time.time``.
        device: Where.
        stop: Asked all the time; once it returns true, the search ends, and what was under way is tried again later.
        train: What trains.

    Yields:
        A trial, whenever it has begun, was evaluated or has ended.

    Raises:
        CharloomError: If the plan itself cannot be trained, so that there is nothing to compare with.
    """
    ledger, task = folder.trials, folder.task
    while not stop() and time.time() + task.plan.minutes * 60 <= until:
        for number in ledger.give_up_dead():
            yield ledger.trial(number)
        _check_plan(ledger.trials(), task)
        trial = next_trial(ledger, task)
        ledger.begin(trial)
        settings = task.settings(ledger.trial(trial.number).place)
        is_plan = ledger.trial(trial.number).place == ledger.trial(0).place
        yield from _one(ledger, trial, corpus, trial_recipe(task, settings), device, stop, train, may_prune=not is_plan)
        ledger.keep_one_model()


def _check_plan(trials: Sequence[Trial], task: TuningTask) -> None:
    of_plan = [trial for trial in trials if trial.place == trials[0].place]
    if all(trial.state in ("pruned", "failed") for trial in of_plan):
        raise CharloomError(
            f"{task.recipe}'s plan itself could not be trained: {of_plan[-1].reason}. There is nothing to compare "
            "with: begin a new search with other settings (--set hidden_size=..., --set learning_rate=...)."
        )


def check(
    folder: TuningFolder,
    corpus: Corpus,
    number: int,
    device: str,
    stop: Callable[[], bool],
    train: Train = run_training,
) -> Iterator[Trial]:
    """Train a trial's settings once more with another seed, unless that has been done; see ``search``.

    Args:
        folder: Where all is written down.
        corpus: What to learn from.
        number: The trial.
        device: Where.
        stop: Asked all the time; once it returns true, the training ends.
        train: What trains.

    Yields:
        The check, whenever it has begun, was evaluated or has ended.
    """
    ledger, task = folder.checks, folder.task
    ledger.give_up_dead()
    if any(one.checks == number and one.is_judged for one in ledger.trials()):
        return
    trial = ledger.study.ask()
    trial.set_user_attr("checks", number)
    ledger.begin(trial)
    settings = task.settings(folder.trials.trial(number).place)
    settings = settings.with_values({"seed": settings.seed + 1})
    yield from _one(ledger, trial, corpus, trial_recipe(task, settings), device, stop, train, may_prune=False)


def _one(
    ledger: Ledger,
    trial: "optuna.Trial",
    corpus: Corpus,
    recipe: Recipe,
    device: str,
    stop: Callable[[], bool],
    train: Train,
    may_prune: bool,
) -> Iterator[Trial]:
    """Make one training and write down how it ended, whatever happens."""
    number, began = trial.number, time.monotonic()
    others = [one.curve for one in ledger.trials() if one.state == "complete"] if may_prune else []
    with ledger.alive(number):
        try:
            yield ledger.trial(number)
            run = str(ledger.run_folder(number))
            yield from _evaluations(ledger, trial, train(corpus, recipe, run, device, stop), others)
        except _Pruned as pruned:
            _end(ledger, trial, "pruned", began, str(pruned))
        except Exception as error:
            _end(ledger, trial, "failed", began, f"it failed: {error}")
            raise
        except BaseException as stopped:
            _end(ledger, trial, "failed", began, "it was stopped")
            if ledger.trial(number).checks is None:
                ledger.try_again(number)
            if not isinstance(stopped, _Stopped):
                raise
        else:
            _end(ledger, trial, "complete", began)
    yield ledger.trial(number)


class _Pruned(Exception):
    """A training is not worth going on with; the text says why."""


class _Stopped(BaseException):
    """A training was stopped from outside, as by a signal."""


def _evaluations(
    ledger: Ledger,
    trial: "optuna.Trial",
    records: Iterator[Record],
    others: Sequence[Sequence[tuple[float, float]]],
) -> Iterator[Trial]:
    """Follow a training to its last checkpoint.

    Raises:
        _Pruned: If others were better at the same share of it, or it diverged, or memory does not suffice.
        _Stopped: If it was stopped.
    """
    steps, lowest, has_ended = 0, math.inf, False
    try:
        for record in records:
            if isinstance(record, PlanRecord):
                steps = record.plan.steps
                facts = {"steps": steps, "parameters": record.architecture.num_parameters}
                trial.set_user_attr("facts", {**facts, "warmup_steps": record.plan.settings.warmup_steps})
            elif isinstance(record, EvaluationRecord) and record.step and record.val_loss is not None:
                lowest, share = min(lowest, record.val_loss), record.step / steps
                report(trial, share, lowest)
                yield ledger.trial(trial.number)
                if lags_behind(share, lowest, others):
                    raise _Pruned("others were better by then")
                has_ended = record.step == steps
            elif isinstance(record, EventRecord) and record.event == "ended":
                has_ended = True
            elif isinstance(record, FinishRecord) and record.interrupted:
                raise _Stopped
            elif isinstance(record, CheckpointRecord) and has_ended:
                break  # what a training does after that is for people who want to know more of one model
    except NonFiniteError:
        raise _Pruned("it diverged") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _Pruned("the memory does not suffice") from None
    finally:
        getattr(records, "close", lambda: None)()
    if not math.isfinite(lowest):
        raise _Pruned("it diverged")


def _end(ledger: Ledger, trial: "optuna.Trial", state: State, began: float, reason: str = "") -> None:
    ended = ledger.trial(trial.number)
    if ended.state == "running":
        trial.set_user_attr("facts", {**ended.facts, "seconds": time.monotonic() - began})
        if reason:
            trial.set_user_attr("reason", reason)
    ledger.tell(trial.number, state, min(loss for _, loss in ended.curve) if state == "complete" else None)


def lags_behind(share: float, loss: float, others: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Return whether a training is to be given up: half of those that ended were better at the same share of theirs.

    Args:
        share: Of the training that is done.
        loss: Its lowest held-out loss until then.
        others: Shares and lowest losses of trainings that ended; between two of them a straight line is taken.
    """
    if share < _PRUNED_FROM or share >= 1 or len(others) < _COMPLETE:
        return False
    then = [float(np.interp(share, [at for at, _ in one], [value for _, value in one])) for one in others]
    return loss > float(np.median(then))
