"""The folder of a search, shared by several processes, any of which may be killed.

FOLDER/journal.log     task and trials, one JSON line per change (Optuna's journal)
FOLDER/trials/         run folders of the trials, 000, 001 ...; only the best one keeps its model
FOLDER/check/          run folders of the training runs that check the result
FOLDER/alive/          heartbeats: one file per running training, touched regularly by its process
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
_DEAD_SECONDS = 120.0  # time without a heartbeat after which a process is considered dead
_CREATION_SECONDS = 5.0  # time to wait for another process that is creating the folder
_MAX_DEATHS = 2  # number of processes that may die with the same settings before these are given up
_SHARES = 1000  # Optuna's step numbers are the share of the training in thousandths


def require_optuna() -> None:
    """Raise ``MissingExtraError`` if Optuna is not installed."""
    require_extra("Tuning", "tune", "optuna")


class TrialStore:
    """The trials or the checks of a search.

    Args:
        study: Optuna study that stores the trials.
        folder: Parent folder of the run folders.
        alive: Folder of the heartbeat files.
    """

    def __init__(self, study: "optuna.Study", folder: Path, alive: Path) -> None:
        self.study = study
        self.folder = folder
        self._alive = alive

    def trials(self) -> list[Trial]:
        """Return the current state of all trials."""
        return [_trial(frozen) for frozen in self.study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """Return the current state of a trial."""
        return _trial(self.study.get_trials(deepcopy=False)[number])

    def run_folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"{number:03d}"

    def begin(self, trial: "optuna.Trial") -> None:
        """Record that this process runs a trial."""
        trial.set_user_attr("process", [os.getpid(), platform.node()])

    def finish(self, number: int, state: State, loss: float | None = None) -> bool:
        """Record the final state of a trial. Returns False if another process has already marked it as failed."""
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
        """Enqueue the point of an interrupted trial again.

        Args:
            number: Number of the trial.
            by_death: Whether its process died.
        """
        frozen = self.study.get_trials(deepcopy=False)[number]
        self.study.enqueue_trial(_point(frozen), user_attrs={"deaths": frozen.user_attrs.get("deaths", 0) + by_death})

    def fail_dead(self) -> list[int]:
        """Mark trials of dead processes as failed, enqueue their points again, and return their numbers."""
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
        """Touch the trial's heartbeat file every few seconds within this context."""
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
        """Delete the checkpoints of an ended trial and, unless ``keep_model``, its model."""
        run = self.run_folder(number)
        rmtree(run / CHECKPOINTS, ignore_errors=True)
        if not keep_model:
            (run / MODEL).unlink(missing_ok=True)

    def keep_best_model(self) -> None:
        """Delete the models of all ended trials except the best."""
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
        trials: Trials of the search; the first is the plan's.
        checks: The training runs that check the result.
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
    """Create the folder of a new search, with the plan as its first waiting trial.

    Raises:
        RunError: If the folder already exists or cannot be created.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise RunError(
            f"{path} already exists. Choose another folder with -o.", code="folder_exists", path=str(path)
        ) from None
    except OSError as error:
        raise RunError(
            f"Cannot create the folder {path}: {error.strerror or error}. Choose another folder with -o.",
            code="cannot_create_folder",
            path=str(path),
        ) from None
    studies = _studies(path, create=True)
    studies[0].enqueue_trial(start_point(task.axes))
    studies[0].set_user_attr("task", task.to_dict())  # written last: it marks the folder as complete
    return _folder(path, task, studies)


def open_tuning_folder(path: Path) -> TuningFolder:
    """Open the folder of a search.

    Raises:
        RunError: If the folder is not a search folder, or it is damaged.
    """
    if not (path / JOURNAL).is_file():
        raise RunError(
            f"{path} already exists and is not a folder of `charloom tune`: it has no {JOURNAL}. Choose another folder "
            "with -o, or omit -o.",
            code="not_a_search_folder",
            path=str(path),
        )
    try:
        _mend(path / JOURNAL)
        studies = _studies(path, create=False)
        give_up_at = (path / JOURNAL).stat().st_mtime + _CREATION_SECONDS
        while "task" not in studies[0].user_attrs and time.time() < give_up_at:
            time.sleep(0.1)  # another process is creating the folder
        task = TuningTask.from_dict(studies[0].user_attrs["task"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path / JOURNAL} is damaged or has an unsupported version ({type(error).__name__}: {error}). Start a new "
            "search in another folder.",
            code="damaged_search_folder",
            path=str(path),
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
        unused = optuna.samplers.RandomSampler(seed=0)  # never used: every trial is enqueued before it starts
        return [make(storage=storage, study_name=name, sampler=unused) for name in ("trials", "check")]


def _mend(journal: Path) -> None:
    """Truncate an incomplete last line, as a power failure may leave it."""
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
        return True  # os.kill would terminate it, so only the heartbeat decides
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
        reason=attrs.get("reason", "its process died" if frozen.state == TrialState.FAIL else ""),
        facts=attrs.get("facts", {}),
        checks=attrs.get("checks"),
    )


def _point(frozen: "optuna.trial.FrozenTrial") -> Point:
    return {**frozen.system_attrs.get("fixed_params", {}), **frozen.params}


def report_loss(trial: "optuna.Trial", share: float, loss: float) -> None:
    """Record the held-out loss at a share of a training run."""
    trial.report(loss, round(share * _SHARES))
