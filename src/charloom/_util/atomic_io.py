"""Write a file atomically and durably: afterwards it is complete or unchanged."""

import errno
import os
from pathlib import Path

_PART = ".part"
_PIECE = 1 << 20  # bytes


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, make it durable, read it again, then move it there.

    A crash at any moment leaves either the old file or the new one, never a part; and it may leave a part under
    another name, which ``remove_parts`` finds.

    Raises:
        OSError: If it cannot be written, or reads back differently; nothing is left behind, and an old file stays as
            it was.
    """
    from tempfile import mkstemp  # what only reads models need not wait for it

    descriptor, name = mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _check_written(part, data)
        part.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    for part in folder.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)


def _check_written(path: Path, data: bytes) -> None:
    """Compare a file with what was written."""
    with path.open("rb") as file:
        for at in range(0, len(data), _PIECE):
            if file.read(_PIECE) != data[at : at + _PIECE]:  # of bytes: views are compared number by number
                raise OSError(errno.EIO, "What was written reads back differently", str(path))


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system lets folders be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
