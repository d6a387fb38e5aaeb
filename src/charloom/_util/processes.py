"""Child processes that end when their parent does."""

import os
import signal
import threading


def end_with_parent(lifeline: int) -> None:
    """Let this process end, as by SIGTERM, as soon as the one that started it has.

    Args:
        lifeline: A file descriptor of a pipe whose other end that process alone holds.
    """

    def wait() -> None:
        os.read(lifeline, 1)  # returns when nobody can write any more
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
