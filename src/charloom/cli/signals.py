"""Handle the signals that stop or save a training run.

A signal sets a flag. The training checks the flag after each step, and stops in a state that can be saved.
"""

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

from charloom.terminal.messages import is_terminal

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVE_SIGNAL = getattr(signal, "SIGUSR1", None)
_SAME_EVENT_SECONDS = 1.0  # when a terminal is closed, the shell and the kernel may both send a signal
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(Exception):
    """A signal stopped the command, after everything was saved.

    Args:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopFlag:
    """Records which signals have arrived; see ``handle_signals``.

    Attributes:
        signal_number: The first signal that requested a stop, or None.
        can_wait: Whether the running code checks the flag. While it is False, a signal raises ``Stopped`` instead, so
            that unfinished files are cleaned up.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.can_wait = False
        self._save_requested = False
        self._stop_requested_at = 0.0

    def __call__(self) -> bool:
        """Return whether a signal has requested a stop."""
        return self.signal_number is not None

    def take_save(self) -> bool:
        """Return whether SIGUSR1 has requested a save, and clear the request."""
        requested, self._save_requested = self._save_requested, False
        return requested

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal in the main thread: raise ``Stopped`` if the running code does not check the flag yet."""
        if not self.can_wait and number != _SAVE_SIGNAL:
            raise Stopped(number)

    def record(self, number: int) -> None:
        """Handle a signal in the signal thread: set the flag. A second stop signal exits the process immediately."""
        if number == _SAVE_SIGNAL:
            self._save_requested = True
        elif self.signal_number is None:
            self.signal_number, self._stop_requested_at = number, time.monotonic()
        elif not self._is_same_event(number):
            if is_terminal(sys.stderr):
                os.write(2, _SHOW_CURSOR)  # the live view hides the cursor
            os._exit(128 + number)

    def _is_same_event(self, number: int) -> bool:
        hung_up = getattr(signal, "SIGHUP", None) in (number, self.signal_number)
        return hung_up and time.monotonic() - self._stop_requested_at < _SAME_EVENT_SECONDS


@contextmanager
def handle_signals(flag: StopFlag) -> Iterator[None]:
    """Record SIGINT, SIGTERM, SIGHUP and SIGUSR1 in a flag while the context is active.

    A separate thread records them immediately, even while the main thread is inside a long native call. Signals that
    are already ignored, for example under ``nohup``, stay ignored.

    Args:
        flag: The flag to set.
    """
    reader, writer = socket.socketpair()  # Windows cannot use a pipe as the wakeup descriptor
    writer.setblocking(False)
    thread = threading.Thread(target=_record_signals, args=(reader, flag), name="signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = _install_handler(flag.interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        thread.join()
        reader.close()


def _record_signals(reader: socket.socket, flag: StopFlag) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            flag.record(number)


def _install_handler(handler: signal._HANDLER) -> dict[int, signal._HANDLER]:
    """Install a handler for all supported signals that are not ignored, and return the previous handlers."""
    numbers = [getattr(signal, name) for name in _STOP_SIGNALS if hasattr(signal, name)]
    numbers += [] if _SAVE_SIGNAL is None else [_SAVE_SIGNAL]
    previous: dict[int, signal._HANDLER] = {
        n: h for n in numbers if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)
    }
    for number in previous:
        signal.signal(number, handler)
    return previous
