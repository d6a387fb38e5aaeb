"""Write a file atomically and durably: after a crash it has either its old or its new content."""

import errno
import os
from pathlib import Path

_TEMPORARY_SUFFIX = ".part"
_CHUNK = 1 << 20  # bytes compared at once


def write_atomically(path: Path, data: bytes) -> None:
    """Write data to a temporary file in the same folder, sync it, verify it, then rename it to ``path``.

    A crash leaves either the old or the new file. It can also leave the temporary file, which ``remove_parts`` removes.

    Args:
        path: The file to write; an existing file is replaced.
        data: Its content.

    Raises:
        OSError: If the file cannot be written, or reads back differently. The temporary file is then removed and an
            existing file is unchanged.
    """
    from tempfile import mkstemp  # imported here because programs that only read models do not need it

    descriptor, name = mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _check_written(temporary, data)
        temporary.chmod(0o666 & ~_umask())  # mkstemp creates files that only their owner can read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Remove temporary files of ``write_atomically`` that killed processes have left in a folder."""
    for temporary in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        temporary.unlink(missing_ok=True)


def _check_written(path: Path, data: bytes) -> None:
    """Read a file back and raise ``OSError`` if its content is not ``data``."""
    with path.open("rb") as file:
        for start in range(0, len(data), _CHUNK):
            if file.read(_CHUNK) != data[start : start + _CHUNK]:  # bytes, because memoryviews compare slowly
                raise OSError(errno.EIO, "The file reads back differently than it was written", str(path))


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Sync a folder, which makes a rename in it durable; only POSIX systems can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
