"""File locks between processes."""

import os
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Lock a file without waiting.

    Returns:
        The file descriptor, whose closing releases the lock; None if another process holds the lock, or the system has
        no ``fcntl``.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
