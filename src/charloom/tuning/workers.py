"""Worker processes of a search."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charloom.data.text_format import TextFormat
from charloom.errors import CharloomError
from charloom.tuning.storage import TrialStore
from charloom.tuning.trials import Trial

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 60.0  # time for workers to record their state after SIGTERM
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def worker_arguments(
    folder: Path,
    text_format: TextFormat,
    device: str,
    sources: Sequence[str],
    until: float,
    checked: int | None = None,
) -> list[str]:
    """Return the command-line arguments of a worker process.

    Args:
        folder: Folder of the search.
        text_format: How the text is read.
        device: See ``charloom.training.backends.base.DEVICES``.
        sources: Paths of the text.
        until: End of the trials as a ``time.time`` timestamp.
        checked: Number of the trial to check; None to search.
    """
    values = text_format.to_dict()
    text_options = [f"--{name}={value}" for name, value in values.items() if isinstance(value, str) and value]
    text_options += [f"--{name}" for name, value in values.items() if value is True]
    text_options += [f"--encoding={pattern}={encoding}" for pattern, encoding in text_format.encodings]
    check_option = [] if checked is None else [f"--check={checked}"]
    options = ["-o", str(folder), "--device", device, "--hours=1", f"--as-worker={until!r}", "--quiet"]
    return ["tune", *options, *text_options, *check_option, "--", *sources]


def run_processes(
    store: TrialStore, arguments: Sequence[Sequence[str]], workers: int, stop: Callable[[], bool]
) -> Iterator[Trial]:
    """Run worker processes until they exit, and yield trials as they change.

    Args:
        store: The store in which the workers record trials.
        arguments: Command-line arguments, one list per process.
        workers: Number of processes that share the cores.
        stop: Called frequently. Once it returns True, the processes receive SIGTERM.

    Yields:
        A trial whenever it changes.

    Raises:
        CharloomError: If all processes failed.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    known = {trial.number: trial for trial in store.trials()}
    running = [_start(command, environment) for command in arguments]
    started, stopped_at = list(running), 0.0
    try:
        while running:
            if stop() and not stopped_at:
                stopped_at = time.monotonic()
                _signal(running, signal.SIGTERM)
            if stopped_at and time.monotonic() - stopped_at > _GRACE_SECONDS:
                break
            time.sleep(_POLL_SECONDS)
            running = [process for process in running if process.poll() is None]
            for trial in store.trials():
                if known.get(trial.number) != trial and trial.state != "waiting":
                    known[trial.number] = trial
                    yield trial
    finally:
        _end(started)
    if not stopped_at and all(process.returncode for process in started):
        raise CharloomError("All worker processes failed. Their errors are printed above.", code="workers_failed")


def _start(command: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "charloom", *command],
        stdin=subprocess.PIPE,  # a worker exits when this pipe closes, which also happens when this process dies
        stdout=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C in a terminal reaches only the parent, which forwards it
    )


def _signal(processes: Sequence["subprocess.Popen[bytes]"], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Terminate the running processes: with SIGTERM, after a grace period with SIGKILL."""
    _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
