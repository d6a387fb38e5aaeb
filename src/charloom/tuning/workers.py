"""Processes that search in one folder: started, followed by what they write down, and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from charloom.errors import CharloomError
from charloom.tuning.storage import Ledger
from charloom.tuning.trials import Trial

_LOOK_SECONDS = 0.5
_PATIENCE = 60.0  # seconds that workers have to write down how far they are
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def follow(
    ledger: Ledger, commands: Sequence[Sequence[str]], at_once: int, stop: Callable[[], bool]
) -> Iterator[Trial]:
    """Run processes to their end, and tell about each training when it has changed.

    Args:
        ledger: Where they write it down.
        commands: Arguments of charloom, one process each.
        at_once: Among how many the cores are shared.
        stop: Asked all the time; once it returns true, the processes are asked to end.

    Yields:
        A training, whenever it is another than it was.

    Raises:
        CharloomError: If none of them could do its work.
    """
    threads = max(1, (os.cpu_count() or 1) // at_once)
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))}
    known = {trial.number: trial for trial in ledger.trials()}
    running = [_start(command, environment) for command in commands]
    started, asked_at = list(running), 0.0
    try:
        while running:
            if stop() and not asked_at:
                asked_at = time.monotonic()
                _ask(running, signal.SIGTERM)
            if asked_at and time.monotonic() - asked_at > _PATIENCE:
                break
            time.sleep(_LOOK_SECONDS)
            running = [process for process in running if process.poll() is None]
            for trial in ledger.trials():
                if known.get(trial.number) != trial and trial.state != "waiting":
                    known[trial.number] = trial
                    yield trial
    finally:
        _end(started)
    if not asked_at and all(process.returncode for process in started):
        raise CharloomError("No worker could do its work; what they said stands above.")


def _start(command: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "charloom", *command],
        stdin=subprocess.PIPE,  # by its end a worker sees that this process is gone
        stdout=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # a terminal's Ctrl-C is for the parent alone, which passes it on
    )


def _ask(processes: Sequence["subprocess.Popen[bytes]"], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """End what still runs: first asked, then not."""
    _ask(processes, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
