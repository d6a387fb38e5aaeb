"""The digest of files as they are, whatever is made of them: by this a text is known again."""

import hashlib
from collections.abc import Sequence

from charloom.data.datasets import Progress
from charloom.data.reading.sources import Source

_CHUNK = 1 << 20  # bytes read at once


class RawDigest:
    """Sums up the bytes of sources, one after the other."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._one = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take the next bytes of a source."""
        self._one.update(data)

    def ends(self, source: Source) -> None:
        """Take that a source ends here; where it does, and how it was found, counts too."""
        self._whole.update(f"{source.kind} {source.from_folder} {self._one.hexdigest()}\n".encode())
        self._one = hashlib.sha256()

    def hexdigest(self) -> str:
        """Return the digest of the sources that have ended."""
        return self._whole.hexdigest()


def raw_digest(sources: Sequence[Source], progress: Progress | None = None) -> str:
    """Return the digest of files, all of which are read."""
    digest, done = RawDigest(), 0
    total = sum(source.path.stat().st_size for source in sources if source.path is not None)
    for source in sources:
        if source.path is not None and source.kind == "file":
            with source.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, total)
        digest.ends(source)
    return digest.hexdigest()
