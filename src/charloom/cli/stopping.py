"""Being told to stop: the handler only sets a flag, and the work ends where it can be saved."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(Exception):
    """The work was stopped by a signal, after it had been saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopFlag:
    """Whether a signal has asked for the end.

    Attributes:
        signal_number: The signal, or None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Return whether the work should end."""
        return self.signal_number is not None


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Catch SIGINT, SIGTERM and SIGHUP in a flag; a second Ctrl-C acts as if nothing caught it.

    A signal that is ignored (under nohup, say) stays ignored. A second SIGHUP or SIGTERM changes nothing: when a
    terminal is closed, the shell and the system often send one each.
    """
    flag = StopFlag()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}

    def catch(number: int, _frame: FrameType | None) -> None:
        flag.signal_number = flag.signal_number or number
        _restore({n: h for n, h in before.items() if n == signal.SIGINT})

    for number in before:
        signal.signal(number, catch)
    try:
        yield flag
    finally:
        _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
