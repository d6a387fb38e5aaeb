"""File locks that only one process can hold."""

import os
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Return an open file that no other process has locked; None if one has, or the system has no such locks."""
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
