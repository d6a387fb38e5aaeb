"""Named datasets such as ``shakespeare``: the text in the package, checksums, and downloading as a fallback."""

import gzip
import hashlib
import os
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from charloom._util.atomic_io import write_atomically
from charloom._util.progress import ProgressCallback
from charloom.errors import CorpusError

_TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16
_BUNDLED = Path(__file__).parent / "texts"  # NAME.gz for each text that ships with charloom


class _TooLargeError(Exception):
    """A response is much longer than the dataset."""


@dataclass(frozen=True)
class Download:
    """A text that is verified by its SHA-256, and downloaded once if the package does not contain it.

    Attributes:
        file_name: Name of the cached file, and of the file in the package without ``.gz``.
        addresses: URLs, tried in this order.
        size_bytes: Size of the file; a download is aborted if it exceeds twice this size.
        sha256: SHA-256 of the file in hexadecimal.
    """

    file_name: str
    addresses: tuple[str, ...]
    size_bytes: int
    sha256: str


SHAKESPEARE = Download(
    "shakespeare.txt",
    (
        "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    ),
    1_115_394,
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)

NAMES = ("python-docs", "shakespeare")
"""Names of datasets that are accepted in place of a path."""


def read_dataset(name: str, progress: ProgressCallback | None = None) -> bytes:
    """Return the UTF-8 bytes of a dataset.

    Args:
        name: One of ``NAMES``.
        progress: Called with the bytes downloaded so far and the expected total.

    Raises:
        CorpusError: If the text has to be downloaded, and no URL delivers a file with the expected SHA-256.
    """
    if name == "shakespeare":
        return _read_download(SHAKESPEARE, progress)
    return _python_docs().encode("utf-8")


def is_available_offline(name: str) -> bool:
    """Return whether a source can be read without a download; True for every source except an uncached dataset."""
    return name != "shakespeare" or Path(name).exists() or _read_local(SHAKESPEARE) is not None


def _python_docs() -> str:
    """Return the language reference that CPython includes for ``help()``, all topics in alphabetical order."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"


def _read_download(corpus: Download, progress: ProgressCallback | None) -> bytes:
    local = _read_local(corpus)
    if local is not None:
        return local
    data = _download(corpus, progress)
    cache = _download_folder() / corpus.file_name
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, data)
    except OSError:
        pass  # without a writable cache, the next run downloads again
    return data


def _read_local(corpus: Download) -> bytes | None:
    """Return a text from the package or from this machine; None if there is none with the expected SHA-256."""
    folder = os.environ.get("CHARLOOM_CORPORA")
    folders = [*([Path(folder)] if folder else []), _download_folder()]
    for path in (_BUNDLED / f"{corpus.file_name}.gz", *(each / corpus.file_name for each in folders)):
        try:
            data = path.read_bytes()
            if path.parent == _BUNDLED:
                data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):  # missing or damaged
            continue
        if hashlib.sha256(data).hexdigest() == corpus.sha256:
            return data
    return None


def cache_folder() -> Path:
    """Return the cache folder for downloads and indexes: ``CHARLOOM_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("CHARLOOM_CACHE")
    return Path(named) if named else user_cache_path("charloom", appauthor=False)


def _download_folder() -> Path:
    return cache_folder() / "corpora"


def _download(corpus: Download, progress: ProgressCallback | None) -> bytes:
    failures: list[dict[str, str]] = []
    for address in corpus.addresses:
        try:
            data = _fetch(address, corpus.size_bytes, progress)
        except _TooLargeError as error:
            failures.append({"url": address, "problem": "too_large", "reason": str(error)})
            continue
        except (OSError, ValueError, HTTPException) as error:
            reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
            failures.append({"url": address, "problem": "unreachable", "reason": reason})
            continue
        if hashlib.sha256(data).hexdigest() == corpus.sha256:
            return data
        reason = f"the SHA-256 of the {len(data):,} downloaded bytes is not the expected one"
        failures.append({"url": address, "problem": "checksum_mismatch", "reason": reason})
    path = _download_folder() / corpus.file_name
    reasons = "; ".join(dict.fromkeys(failure["reason"] for failure in failures))
    raise CorpusError(
        f"Cannot download {corpus.file_name}: {reasons}. Download {corpus.addresses[0]} on another machine and save it "
        f"as {path} (SHA-256 {corpus.sha256}), or train on python-docs, which needs no network.",
        code="download_failed",
        file=corpus.file_name,
        failures=failures,
        folder=str(_download_folder()),
        path=str(path),
        sha256=corpus.sha256,
    )


def _fetch(address: str, size_bytes: int, progress: ProgressCallback | None) -> bytes:
    data = bytearray()
    with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response:
        while chunk := response.read(_CHUNK):
            data += chunk
            if len(data) > 2 * size_bytes:
                raise _TooLargeError(f"the response is more than twice as long as the expected {size_bytes:,} bytes")
            if progress is not None:
                progress(len(data), size_bytes)
    return bytes(data)
