"""The folder of a search, in which several processes may work at once and any may be killed.

FOLDER/journal.log     what is searched and every trial, a line of JSON for each change (Optuna's journal)
FOLDER/trials/         003 ...: the run folder of a trial; the best one keeps its model
FOLDER/check/          the trainings that were made to check the result
FOLDER/alive/          a file for each training under way, touched while its process lives
FOLDER/recipe.toml     the result
FOLDER/tuning.html     the page about it
"""

import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from charloom._util.extras import require_extra
from charloom._util.unused_names import unused_name
from charloom.errors import RunError
from charloom.model.file.run_folder import CHECKPOINTS, MODEL
from charloom.tuning.search_space import Place, start
from charloom.tuning.trials import State, Trial, TuningTask, outcome

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
PAGE = "tuning.html"

_BEAT_SECONDS = 10.0
_SILENT_SECONDS = 120.0  # after so long without a sign of life a training is taken for dead
_MAKING_SECONDS = 5.0
_DEATHS = 2  # of trainings with the same settings, before they are not tried again
_SHARES = 1000  # Optuna numbers a trial's losses; the number is the share of the training in thousandths


def require_optuna() -> None:
    """Raise ``MissingExtraError``, saying how to get it, unless Optuna is installed."""
    require_extra("Tuning", "tune", "optuna")


class Ledger:
    """The trainings of one kind in a folder: trials, or checks.

    Args:
        study: Where they are written down.
        folder: Where their run folders are.
        alive: Where the signs of life are.
    """

    def __init__(self, study: "optuna.Study", folder: Path, alive: Path) -> None:
        self.study = study
        self.folder = folder
        self._alive = alive

    def trials(self) -> list[Trial]:
        """Return all of them as they are now."""
        return [_trial(found) for found in self.study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """Return one of them as it is now."""
        return _trial(self.study.get_trials(deepcopy=False)[number])

    def run_folder(self, number: int) -> Path:
        """Return where a training lies."""
        return self.folder / f"{number:03d}"

    def begin(self, trial: "optuna.Trial") -> None:
        """Write down whose a training is."""
        trial.set_user_attr("process", [os.getpid(), platform.node()])

    def tell(self, number: int, state: State, loss: float | None = None) -> bool:
        """Write down how a training ended; return whether nobody had given it up meanwhile."""
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        try:
            self.study.tell(number, loss, states[state])
        except ValueError:
            if self.trial(number).state == "running":
                raise
            return False
        finally:
            self._tidy(number, keep_model=state == "complete")
        return True

    def try_again(self, number: int, by_death: bool = False) -> None:
        """Have the settings tried again of a training that was stopped, or whose process died."""
        found = self.study.get_trials(deepcopy=False)[number]
        self.study.enqueue_trial(_place(found), user_attrs={"deaths": found.user_attrs.get("deaths", 0) + by_death})

    def give_up_dead(self) -> list[int]:
        """Mark trainings as failed whose process is gone, have them tried again, and return their numbers."""
        from optuna.trial import TrialState

        dead = []
        for found in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._lives(found.number, found.user_attrs.get("process")):
                continue
            if self.tell(found.number, "failed"):
                dead.append(found.number)
                if found.user_attrs.get("deaths", 0) + 1 < _DEATHS and "checks" not in found.user_attrs:
                    self.try_again(found.number, by_death=True)
        return dead

    def _lives(self, number: int, process: Any) -> bool:
        if process is not None and process[1] == platform.node() and not _is_running(process[0]):
            return False
        sign = self._alive / f"{self.folder.name}-{number}"
        began = self.study.get_trials(deepcopy=False)[number].datetime_start
        last = sign.stat().st_mtime if sign.exists() else began.timestamp() if began else 0.0
        return time.time() - last < _SILENT_SECONDS

    @contextmanager
    def alive(self, number: int) -> Iterator[None]:
        """Give a sign of life every few seconds, as long as this process runs."""
        self._alive.mkdir(exist_ok=True)
        sign, ended = self._alive / f"{self.folder.name}-{number}", Event()

        def beat() -> None:
            while not ended.wait(_BEAT_SECONDS):
                sign.touch()

        sign.touch()
        thread = Thread(target=beat, name="sign of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            sign.unlink(missing_ok=True)

    def _tidy(self, number: int, keep_model: bool) -> None:
        """Remove what nobody needs of an ended training."""
        run = self.run_folder(number)
        rmtree(run / CHECKPOINTS, ignore_errors=True)
        if not keep_model:
            (run / MODEL).unlink(missing_ok=True)

    def keep_one_model(self) -> None:
        """Remove the models of all trainings that have ended but the best one's."""
        trials = self.trials()
        best = outcome(trials, ()).best
        for trial in trials:
            if trial != best and trial.state in ("complete", "pruned", "failed"):
                self._tidy(trial.number, keep_model=False)


class TuningFolder:
    """A folder in which a search is written down.

    Args:
        path: The folder.
        task: What is searched.
        trials: Its trials, the plan's first.
        checks: The trainings that check the result.
    """

    def __init__(self, path: Path, task: TuningTask, trials: Ledger, checks: Ledger) -> None:
        self.path = path
        self.task = task
        self.trials = trials
        self.checks = checks


def free_folder(corpus: str) -> Path:
    """Return ``tuning/<corpus>``, or the first of ``-2``, ``-3`` ... that is not there."""
    parent = Path("tuning")
    return parent / unused_name(corpus, lambda name: (parent / name).exists())


def new_tuning_folder(path: Path, task: TuningTask) -> TuningFolder:
    """Make the folder of a new search, the plan being the first trial that waits.

    Raises:
        RunError: If it exists already, or cannot be made.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise RunError(f"{path} exists already. Name another folder with -o.") from None
    except OSError as error:
        raise RunError(f"The folder {path} cannot be made: {error.strerror or error}. Name another with -o.") from None
    studies = _studies(path, create=True)
    studies[0].enqueue_trial(start(task.axes))
    studies[0].set_user_attr("task", task.to_dict())  # the last: with it the folder is complete
    return _folder(path, task, studies)


def open_tuning_folder(path: Path) -> TuningFolder:
    """Return the folder of a search that was begun before.

    Raises:
        RunError: If it is none, or it is damaged.
    """
    if not (path / JOURNAL).is_file():
        raise RunError(
            f"{path} exists already and is no folder that `charloom tune` made: it has no {JOURNAL}. Name another "
            "folder with -o, or none."
        )
    try:
        _mend(path / JOURNAL)
        studies = _studies(path, create=False)
        while "task" not in studies[0].user_attrs and time.time() - (path / JOURNAL).stat().st_mtime < _MAKING_SECONDS:
            time.sleep(0.1)  # somebody is just making it
        task = TuningTask.from_dict(studies[0].user_attrs["task"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path / JOURNAL} is damaged, or of another version ({type(error).__name__}: {error}). Begin a new search "
            "in another folder."
        ) from None
    return _folder(path, task, studies)


def _folder(path: Path, task: TuningTask, studies: Sequence["optuna.Study"]) -> TuningFolder:
    trials, checks = (
        Ledger(study, path / name, path / "alive") for study, name in zip(studies, ("trials", "check"), strict=True)
    )
    return TuningFolder(path, task, trials, checks)


def _studies(path: Path, create: bool) -> list["optuna.Study"]:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = str(path / JOURNAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call the journal experimental
        storage = optuna.storages.JournalStorage(JournalFileBackend(journal, JournalFileOpenLock(journal)))
        make = optuna.create_study if create else optuna.load_study
        plain = optuna.samplers.RandomSampler(seed=0)  # nothing is drawn by it: every trial waits before it begins
        return [make(storage=storage, study_name=name, sampler=plain) for name in ("trials", "check")]


def _mend(journal: Path) -> None:
    """Cut off the end of a line that a power cut has torn."""
    from optuna.storages.journal import JournalFileOpenLock

    lock = JournalFileOpenLock(str(journal))
    lock.acquire()
    try:
        data = journal.read_bytes()
        if data and not data.endswith(b"\n"):
            os.truncate(journal, data.rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # asking would end it: the sign of life decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _trial(found: "optuna.trial.FrozenTrial") -> Trial:
    from optuna.trial import TrialState

    states: dict[TrialState, State] = {
        TrialState.WAITING: "waiting",
        TrialState.RUNNING: "running",
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    attrs = found.user_attrs
    return Trial(
        number=found.number,
        state=states[found.state],
        place=_place(found),
        curve=tuple((share / _SHARES, loss) for share, loss in sorted(found.intermediate_values.items())),
        loss=found.value if found.state == TrialState.COMPLETE else None,
        reason=attrs.get("reason", "its process was killed" if found.state == TrialState.FAIL else ""),
        facts=attrs.get("facts", {}),
        checks=attrs.get("checks"),
    )


def _place(found: "optuna.trial.FrozenTrial") -> Place:
    return {**found.system_attrs.get("fixed_params", {}), **found.params}


def report(trial: "optuna.Trial", share: float, loss: float) -> None:
    """Write down the held-out loss at a share of a training."""
    trial.report(loss, round(share * _SHARES))
