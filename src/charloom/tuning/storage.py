"""The folder of a search, shared by several processes, any of which may be killed.

FOLDER/journal.log     task and trials, a line of JSON for each change (Optuna's journal)
FOLDER/trials/         003 ...: the run folder of a trial; the best one keeps its model
FOLDER/check/          run folders of the trainings that check the result
FOLDER/alive/          heartbeats: a file for each training under way, touched while its process lives
FOLDER/recipe.toml     the resulting recipe
FOLDER/tuning.html     the report
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
from charloom.tuning.search_space import Point, start_point
from charloom.tuning.trials import State, Trial, TuningTask, outcome

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
PAGE = "tuning.html"

_HEARTBEAT_SECONDS = 10.0
_DEAD_SECONDS = 120.0  # without a heartbeat, after which the process of a training is considered dead
_MAKING_SECONDS = 5.0  # to wait for another process that is just making the folder
_MAX_DEATHS = 2  # processes that died with the same settings, after which these are not tried again
_SHARES = 1000  # Optuna numbers a trial's losses; the number is the share of the training in thousandths


def require_optuna() -> None:
    """Raise ``MissingExtraError``, saying how to get it, unless Optuna is installed."""
    require_extra("Tuning", "tune", "optuna")


class TrialStore:
    """The trials of a folder, or its checks.

    Args:
        study: Optuna study that stores them.
        folder: Folder of their run folders.
        alive: Folder of the heartbeats.
    """

    def __init__(self, study: "optuna.Study", folder: Path, alive: Path) -> None:
        self.study = study
        self.folder = folder
        self._alive = alive

    def trials(self) -> list[Trial]:
        """Return all trials in their present state."""
        return [_trial(frozen) for frozen in self.study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """Return a trial in its present state."""
        return _trial(self.study.get_trials(deepcopy=False)[number])

    def run_folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"{number:03d}"

    def begin(self, trial: "optuna.Trial") -> None:
        """Record that this process runs a trial."""
        trial.set_user_attr("process", [os.getpid(), platform.node()])

    def finish(self, number: int, state: State, loss: float | None = None) -> bool:
        """Record how a trial ended; return False if another process has marked it as failed meanwhile."""
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

    def retry(self, number: int, by_death: bool = False) -> None:
        """Enqueue the point of a trial again that was stopped, or whose process died."""
        frozen = self.study.get_trials(deepcopy=False)[number]
        self.study.enqueue_trial(_point(frozen), user_attrs={"deaths": frozen.user_attrs.get("deaths", 0) + by_death})

    def fail_dead(self) -> list[int]:
        """Mark trials as failed whose process is dead, enqueue their points again, and return their numbers."""
        from optuna.trial import TrialState

        dead = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_alive(frozen.number, frozen.user_attrs.get("process")):
                continue
            if self.finish(frozen.number, "failed"):
                dead.append(frozen.number)
                if frozen.user_attrs.get("deaths", 0) + 1 < _MAX_DEATHS and "checks" not in frozen.user_attrs:
                    self.retry(frozen.number, by_death=True)
        return dead

    def _heartbeat_file(self, number: int) -> Path:
        return self._alive / f"{self.folder.name}-{number}"

    def _is_alive(self, number: int, process: Any) -> bool:
        if process is not None and process[1] == platform.node() and not _is_running(process[0]):
            return False
        file = self._heartbeat_file(number)
        began = self.study.get_trials(deepcopy=False)[number].datetime_start
        last = file.stat().st_mtime if file.exists() else began.timestamp() if began else 0.0
        return time.time() - last < _DEAD_SECONDS

    @contextmanager
    def heartbeat(self, number: int) -> Iterator[None]:
        """Touch the trial's file in ``alive`` every few seconds inside this context."""
        self._alive.mkdir(exist_ok=True)
        file, ended = self._heartbeat_file(number), Event()

        def beat() -> None:
            while not ended.wait(_HEARTBEAT_SECONDS):
                file.touch()

        file.touch()
        thread = Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            file.unlink(missing_ok=True)

    def _tidy(self, number: int, keep_model: bool) -> None:
        """Remove the checkpoints of an ended trial, and its model unless it is kept."""
        run = self.run_folder(number)
        rmtree(run / CHECKPOINTS, ignore_errors=True)
        if not keep_model:
            (run / MODEL).unlink(missing_ok=True)

    def keep_best_model(self) -> None:
        """Remove the models of all ended trials but the best."""
        trials = self.trials()
        best = outcome(trials, ()).best
        for trial in trials:
            if trial != best and trial.state in ("complete", "pruned", "failed"):
                self._tidy(trial.number, keep_model=False)


class TuningFolder:
    """The folder of a search.

    Args:
        path: Path of the folder.
        task: Task of the search.
        trials: Its trials, the plan's first.
        checks: The trainings that check the result.
    """

    def __init__(self, path: Path, task: TuningTask, trials: TrialStore, checks: TrialStore) -> None:
        self.path = path
        self.task = task
        self.trials = trials
        self.checks = checks


def unused_folder(corpus: str) -> Path:
    """Return ``tuning/<corpus>``, or the first of ``-2``, ``-3`` ... that does not exist."""
    parent = Path("tuning")
    return parent / unused_name(corpus, lambda name: (parent / name).exists())


def new_tuning_folder(path: Path, task: TuningTask) -> TuningFolder:
    """Make the folder of a new search, with the plan as its first waiting trial.

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
    studies[0].enqueue_trial(start_point(task.axes))
    studies[0].set_user_attr("task", task.to_dict())  # the last: with it the folder is complete
    return _folder(path, task, studies)


def open_tuning_folder(path: Path) -> TuningFolder:
    """Open the folder of a search.

    Raises:
        RunError: If it is not the folder of a search, or it is damaged.
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
            time.sleep(0.1)  # another process is just making it
        task = TuningTask.from_dict(studies[0].user_attrs["task"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path / JOURNAL} is damaged, or of another version ({type(error).__name__}: {error}). Begin a new search "
            "in another folder."
        ) from None
    return _folder(path, task, studies)


def _folder(path: Path, task: TuningTask, studies: Sequence["optuna.Study"]) -> TuningFolder:
    trials, checks = (
        TrialStore(study, path / name, path / "alive") for study, name in zip(studies, ("trials", "check"), strict=True)
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
        unused = optuna.samplers.RandomSampler(seed=0)  # draws nothing: every trial waits before it begins
        return [make(storage=storage, study_name=name, sampler=unused) for name in ("trials", "check")]


def _mend(journal: Path) -> None:
    """Truncate an incomplete last line, which a power failure leaves."""
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
        return True  # os.kill would end it: the heartbeat decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _trial(frozen: "optuna.trial.FrozenTrial") -> Trial:
    from optuna.trial import TrialState

    states: dict[TrialState, State] = {
        TrialState.WAITING: "waiting",
        TrialState.RUNNING: "running",
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    attrs = frozen.user_attrs
    return Trial(
        number=frozen.number,
        state=states[frozen.state],
        point=_point(frozen),
        curve=tuple((share / _SHARES, loss) for share, loss in sorted(frozen.intermediate_values.items())),
        loss=frozen.value if frozen.state == TrialState.COMPLETE else None,
        reason=attrs.get("reason", "its process was killed" if frozen.state == TrialState.FAIL else ""),
        facts=attrs.get("facts", {}),
        checks=attrs.get("checks"),
    )


def _point(frozen: "optuna.trial.FrozenTrial") -> Point:
    return {**frozen.system_attrs.get("fixed_params", {}), **frozen.params}


def report_loss(trial: "optuna.Trial", share: float, loss: float) -> None:
    """Record the held-out loss at a share of a training."""
    trial.report(loss, round(share * _SHARES))
