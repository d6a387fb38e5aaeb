"""Signals that stop or save a training: they set a flag, and the work ends at a point where it can be saved."""

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

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVE_SIGNAL = getattr(signal, "SIGUSR1", None)
_SAME_EVENT_SECONDS = 1.0  # when a terminal is closed, the shell and the system often send a signal each
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(Exception):
    """The work was stopped by a signal, after everything had been saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopFlag:
    """What signals have requested; see ``handle_signals``.

    Attributes:
        signal_number: The signal that requested the end, or None.
        can_wait: Whether the work looks at the flag; until it does, a signal ends it by an exception, which lets it
            remove what it has begun.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.can_wait = False
        self._save_requested = False
        self._stop_requested_at = 0.0

    def __call__(self) -> bool:
        """Return whether the work should end."""
        return self.signal_number is not None

    def take_save(self) -> bool:
        """Return whether the work should be saved, once for each request."""
        requested, self._save_requested = self._save_requested, False
        return requested

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal in the main thread: raise ``Stopped`` if the work does not look at the flag yet."""
        if not self.can_wait and number != _SAVE_SIGNAL:
            raise Stopped(number)

    def note(self, number: int) -> None:
        """Handle a signal in the thread for signals; a second one that requests the end ends the process at once."""
        if number == _SAVE_SIGNAL:
            self._save_requested = True
        elif self.signal_number is None:
            self.signal_number, self._stop_requested_at = number, time.monotonic()
        elif not self._is_same_event(number):
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)  # a live view hides it
            os._exit(128 + number)

    def _is_same_event(self, number: int) -> bool:
        hung_up = getattr(signal, "SIGHUP", None) in (number, self.signal_number)
        return hung_up and time.monotonic() - self._stop_requested_at < _SAME_EVENT_SECONDS


@contextmanager
def handle_signals(flag: StopFlag) -> Iterator[None]:
    """Let SIGINT, SIGTERM, SIGHUP and SIGUSR1 set a flag.

    A separate thread notes them, so that they need not wait for what the main thread is computing. A signal that is
    ignored (under nohup, say) stays ignored.
    """
    reader, writer = socket.socketpair()  # a pipe would do, but not on Windows
    writer.setblocking(False)
    thread = threading.Thread(target=_note_all, args=(reader, flag), name="signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = _handle(flag.interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        thread.join()
        reader.close()


def _note_all(reader: socket.socket, flag: StopFlag) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            flag.note(number)


def _handle(handler: signal._HANDLER) -> dict[int, signal._HANDLER]:
    """Handle the signals that exist here and are not ignored; return how they were handled before."""
    numbers = [getattr(signal, name) for name in _STOP_SIGNALS if hasattr(signal, name)]
    numbers += [] if _SAVE_SIGNAL is None else [_SAVE_SIGNAL]
    before: dict[int, signal._HANDLER] = {
        n: h for n in numbers if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handler)
    return before
