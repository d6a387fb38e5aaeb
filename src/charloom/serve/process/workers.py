"""Worker processes that share a listening socket."""

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from charloom._util.processes import end_with_parent
from charloom.errors import CharloomError, InputError

_MIN_LIFETIME = 2.0  # seconds: a worker that exits sooner is not restarted
_SHUTDOWN_TIMEOUT = 3.0  # seconds that workers have to exit


class _Stop(Exception):
    """A signal requested the shutdown."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_workers(count: int, work: Callable[[], object]) -> int:
    """Run worker processes until a signal arrives, and restart workers that crash.

    Args:
        count: Number of workers, 1 or more.
        work: Function that each worker runs until SIGTERM.

    Returns:
        The number of the signal.

    Raises:
        InputError: If the system does not support ``fork``.
        CharloomError: If a worker exits right after its start.
    """
    if not hasattr(os, "fork"):
        raise InputError(
            "--workers is not supported on this system, which lacks fork(). Omit it: one process serves many requests "
            "concurrently.",
            code="workers_unsupported",
        )
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {n: signal.signal(n, _stop) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    lifeline = os.pipe()  # workers exit when this process, which holds the write end, exits
    workers: dict[int, float] = {}
    try:
        while True:
            while len(workers) < count:
                workers[_start(work, lifeline)] = time.monotonic()
            pid, _ = os.waitpid(-1, 0)
            if time.monotonic() - workers.pop(pid, 0.0) < _MIN_LIFETIME:
                raise CharloomError(
                    "A worker process exited right after its start. See the error above.", code="worker_failed"
                )
    except _Stop as stop:
        return stop.number
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if number in (signal.SIGINT, signal.SIGTERM) else handler)
        _terminate(set(workers))
        for number, handler in previous.items():
            signal.signal(number, handler)
        for end in lifeline:
            os.close(end)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stop(number)


def _start(work: Callable[[], object], lifeline: tuple[int, int]) -> int:
    """Start a worker and return its process id."""
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal signals all processes; wait for the parent's SIGTERM
        os.close(lifeline[1])
        end_with_parent(lifeline[0])
        work()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _terminate(workers: set[int]) -> None:
    """Terminate workers, and kill those that do not exit in time."""
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _SHUTDOWN_TIMEOUT
    while workers and time.monotonic() < deadline:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        workers.discard(pid)
        if not pid:
            time.sleep(0.02)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
