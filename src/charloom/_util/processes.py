"""Terminate child processes when their parent exits."""

import os
import signal
import threading


def end_with_parent(lifeline: int) -> None:
    """Send SIGTERM to this process when its parent process has exited.

    Args:
        lifeline: A file descriptor for reading from a pipe whose write end only the parent holds.
    """

    def wait() -> None:
        os.read(lifeline, 1)  # returns when the write end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
