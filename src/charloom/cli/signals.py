"""Being told to stop or to save: a signal only sets a flag, and the work ends where it can be saved."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVING = getattr(signal, "SIGUSR1", None)
_SAME_EVENT_SECONDS = 1.0  # when a terminal is closed, the shell and the system often send a signal each
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(Exception):
    """The work was stopped by a signal, after all that there was had been saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopFlag:
    """What signals have asked for.

    Attributes:
        signal_number: The signal that asked for the end, or None as long as there was none.
        can_wait: Whether the work looks at the flag; until it does, a signal ends it by an exception, which lets it
            clear away what it began.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.can_wait = False
        self._save = False
        self._asked_at = 0.0

    def __call__(self) -> bool:
        """Return whether the work should end."""
        return self.signal_number is not None

    def take_save(self) -> bool:
        """Return whether the work should be saved, once for each time it was asked for."""
        asked, self._save = self._save, False
        return asked

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal in the main thread: raise ``Stopped`` if the work does not look at the flag yet."""
        if not self.can_wait and number != _SAVING:
            raise Stopped(number)

    def note(self, number: int) -> None:
        """Take a signal in a thread of its own; a second one that asks for the end leaves at once."""
        if number == _SAVING:
            self._save = True
        elif self.signal_number is None:
            self.signal_number, self._asked_at = number, time.monotonic()
        elif not self._is_same_event(number):
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)  # a live view hides it
            os._exit(128 + number)

    def _is_same_event(self, number: int) -> bool:
        hung_up = getattr(signal, "SIGHUP", None) in (number, self.signal_number)
        return hung_up and time.monotonic() - self._asked_at < _SAME_EVENT_SECONDS


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Let SIGINT, SIGTERM, SIGHUP and SIGUSR1 set a flag.

    A thread of its own notes them, so that it need not wait for what the main thread is computing. A signal that is
    ignored (under nohup, say) stays ignored.
    """
    flag = StopFlag()
    reader, writer = socket.socketpair()  # a pipe would do, but not on Windows
    writer.setblocking(False)
    thread = threading.Thread(target=_take_all, args=(reader, flag), name="signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = _handle(flag.interrupt)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        thread.join()
        reader.close()


def _take_all(reader: socket.socket, flag: StopFlag) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            flag.note(number)


def _handle(handler: signal._HANDLER) -> dict[int, signal._HANDLER]:
    """Handle the signals that exist here and are not ignored; return how they were handled before."""
    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    numbers += [] if _SAVING is None else [_SAVING]
    before: dict[int, signal._HANDLER] = {
        n: h for n in numbers if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handler)
    return before
