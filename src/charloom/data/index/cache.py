"""Cache of indexes on disk: built while a long text is read, resumed after a crash, and looked up by content.

Folder layout, below the cache folder (``CHARLOOM_CACHE``)::

    texts/
      0f3a…/                 a complete index; its name is a hash of the text, the source files and the text format
        codes1.bin           the codes of the whole text, 1, 2 or 4 bytes each
        index.json           the SHA-256 of the metadata, and the metadata
      part-9c2e…/            an unfinished index; its name is a hash of the paths, their total size and the text format
        codes1.bin           at least as many codes as index.json states
        index.json           the metadata of the last checkpoint; all codes up to it are durable
      part-9c2e….lock        locked by the process that builds the index

The states of an index::

    (none) --build()--> building --_publish()--> complete --the text changes--> stale
                          |    ^                     ^                            |
            crash or kill |    | resume: same text   | same content again         | never opened: its digest
                          v    |                     |                            v differs from the text's
                        unfinished --unused for a week--> removed             (remains until deleted manually)

An unfinished index whose text has changed is rebuilt from the start. The name, size or date of a file is never
sufficient to reuse an index: the sources are always read and hashed. Several processes can index the same text at once:
one builds under the lock, the others build in separate folders, and the first to publish its index wins.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charloom._util.atomic_io import write_atomically
from charloom._util.locks import try_lock
from charloom._util.progress import ProgressCallback
from charloom.data.datasets import cache_folder
from charloom.data.index.index import BLOCK, CodesFile, Index, IndexBuilder, codes_path
from charloom.data.reading.reader import SourceDigest, digest_sources, text_pieces
from charloom.data.reading.sources import Source, resolve_sources
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError, Notice

MAX_IN_MEMORY = 1 << 24
"""Maximum number of characters of a text whose index is held in memory; indexes of longer texts are on disk."""

_CHECKPOINT_INTERVAL = 1 << 28  # characters between two checkpoints of an unfinished index
_MIN_FREE = 1 << 28  # bytes of disk space to leave free
_VERSION = 2
_METADATA = "index.json"
_ABANDONED_AFTER = 7 * 24 * 3600  # seconds after which an unfinished index is removed


@dataclass(frozen=True)
class _Metadata:
    """The content of ``index.json``.

    Attributes:
        characters: The character of each code.
        length: Number of codes; in an unfinished index, the number at the last checkpoint.
        itemsize: Bytes per code.
        sha256: SHA-256 of the first ``length`` characters in UTF-8, or of the bytes if ``unit`` is "byte".
        unit: "char" or "byte".
        key: Hash of the text format and the layout version.
        size: Total size of the source files in bytes.
        raw: Hash of the source files' bytes; empty until the index is complete.
        notices: Notices about changes made to the text while reading it.
        version: Version of the layout.
    """

    characters: str
    length: int
    itemsize: int
    sha256: str
    unit: str
    key: str
    size: int
    raw: str
    notices: tuple[str, ...]
    version: int = _VERSION


class _SourceChanged(Exception):
    """The sources of an unfinished index have changed."""


def texts_folder() -> Path:
    """Return the folder that contains all indexes."""
    return cache_folder() / "texts"


def index_text(
    arguments: Sequence[str], text_format: TextFormat, progress: ProgressCallback | None = None
) -> tuple[Index, tuple[str, ...]]:
    """Return the index of a text, from the cache or newly built, and the notices about reading the text.

    The index of a text of at most ``MAX_IN_MEMORY`` characters is held in memory. The index of a longer text is cached
    on disk and reused.

    Args:
        arguments: The sources as the user gave them; see ``resolve_sources``.
        text_format: How to read the sources.
        progress: Called with the bytes read so far and the total (0 if unknown).

    Raises:
        CorpusError: If the text cannot be read, or its index cannot be written.
    """
    sources = resolve_sources(list(arguments))
    indexer = _Indexer(list(arguments), sources, text_format, progress)
    if (cached := indexer.find()) is not None:
        return cached
    try:
        return indexer.build()
    except _SourceChanged:
        return indexer.build(restart=True)


class _Indexer:
    """Finds or builds the index of one text.

    Attributes:
        size: Total size of the source files, in bytes.
        can_reread: Whether all sources are regular files; only their indexes can be reused or resumed.
        key: See ``_Metadata``.
        build_name: Name of the folder for building the index.
    """

    def __init__(
        self, arguments: list[str], sources: list[Source], text_format: TextFormat, progress: ProgressCallback | None
    ) -> None:
        self.arguments, self.sources, self.format, self.progress = arguments, sources, text_format, progress
        paths = [source.path for source in sources]
        self.size = sum(path.stat().st_size for path in paths if path is not None)
        self.can_reread = all(path is not None and path.is_file() for path in paths)
        layout = json.dumps([_VERSION, BLOCK, text_format.to_dict()], sort_keys=True)
        self.key = hashlib.sha256(layout.encode()).hexdigest()
        identity = json.dumps([self.key, [str(path and path.resolve()) for path in paths], self.size])
        self.build_name = f"part-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def find(self) -> tuple[Index, tuple[str, ...]] | None:
        """Return the cached index of this text with its notices, or None."""
        if not self.can_reread:
            return None
        candidates = [(folder, metadata) for folder in _complete_folders() if (metadata := _read_metadata(folder))]
        candidates = [(f, m) for f, m in candidates if (m.key, m.size) == (self.key, self.size)]
        if not candidates:
            return None
        raw = digest_sources(self.sources, self.progress)
        for folder, metadata in candidates:
            if metadata.raw == raw and (cached := _open_complete(folder, metadata)) is not None:
                return cached
        return None

    def build(self, restart: bool = False) -> tuple[Index, tuple[str, ...]]:
        """Read and index the text; write the index to disk once the text exceeds ``MAX_IN_MEMORY`` characters.

        Args:
            restart: Whether to discard an unfinished index instead of resuming it.

        Raises:
            _SourceChanged: If the text differs from that of the unfinished index.
        """
        notices: list[str] = []
        raw = SourceDigest()
        builder = IndexBuilder(self.format.unit)
        pieces = text_pieces(self.arguments, self.format, notices, self.progress, raw=raw, offers_bytes=True)
        unfinished = None if restart or not self.can_reread else _read_unfinished(texts_folder() / self.build_name)
        # 1. Index in memory while the text is short.
        if unfinished is None:
            for piece in pieces:
                builder.add(piece)
                if builder.length > MAX_IN_MEMORY:
                    break
            else:
                return builder.build(), tuple(notices)
        # 2. Continue on disk, after the codes of an unfinished index.
        with _build_folder(self.build_name if self.can_reread else f"part-stdin-{os.getpid()}") as (folder, is_locked):
            unfinished = unfinished if is_locked else None
            itemsize = self._write(folder, builder, pieces, unfinished)
            metadata = self._metadata(builder, itemsize, raw.hexdigest(), notices)
            # 3. Rename the folder to the name of a complete index.
            target = _publish(folder, metadata)
        size = metadata.length * metadata.itemsize
        notices.append(
            Notice(
                f"The text is long: its index ({size / 1e9:.1f} GB) is cached in {target}.",
                code="index_cached",
                path=str(target),
                bytes=size,
            )
        )
        return _map_codes(target, metadata), tuple(notices)

    def _write(self, folder: Path, builder: IndexBuilder, pieces: Iterator[str], unfinished: _Metadata | None) -> int:
        """Append the codes of the pieces to the codes file, resuming an unfinished index; return the bytes per code."""
        if unfinished is not None:
            _skip_indexed(builder, pieces, unfinished)
        file = CodesFile(folder, unfinished.itemsize if unfinished else 1, unfinished.length if unfinished else 0)
        checkpoints = _CheckpointWriter(folder)
        try:
            for codes in builder.take_pending():
                file.write(codes)
            durable = file.length
            for piece in pieces:
                builder.update_digest(piece)
                for start in range(0, len(piece), BLOCK):
                    file.write(builder.encode(piece[start : start + BLOCK]))
                builder.length = file.length
                if file.length - durable >= _CHECKPOINT_INTERVAL:
                    durable = file.length
                    self._check_free_space(folder)
                    checkpoints.save(file, self._metadata(builder, file.itemsize, "", []))
            checkpoints.wait()
            file.sync()
        except OSError as error:
            reason = error.strerror or str(error)
            raise CorpusError(
                f"Cannot write the index of the text to {folder}: {reason}. "
                "Set CHARLOOM_CACHE to a folder with enough free space.",
                code="cache_not_writable",
                path=str(folder),
                reason=reason,
            ) from None
        finally:
            checkpoints.close()
            file.close()
        return file.itemsize

    def _check_free_space(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < _MIN_FREE + _CHECKPOINT_INTERVAL:
            raise CorpusError(
                f"The disk is too full for the index of the text: {free / 1e9:.1f} GB are free in {folder}. "
                "Free some space, or set CHARLOOM_CACHE to a folder on another disk.",
                code="disk_full",
                path=str(folder),
                free_bytes=free,
            )

    def _metadata(self, builder: IndexBuilder, itemsize: int, raw: str, notices: Sequence[str]) -> _Metadata:
        return _Metadata(
            characters=builder.characters,
            length=builder.length,
            itemsize=itemsize,
            sha256=builder.sha256.hexdigest(),
            unit=builder.unit,
            key=self.key,
            size=self.size,
            raw=raw,
            notices=tuple(notices),
        )


class _CheckpointWriter:
    """Writes checkpoints of an unfinished index in a background thread: syncs the codes, then writes ``index.json``.

    Args:
        folder: The folder of the index.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _METADATA
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def save(self, file: CodesFile, metadata: _Metadata) -> None:
        """Start a checkpoint of the file's current content; wait for the previous checkpoint first."""
        self.wait()
        self._last = self._pool.submit(self._write, file.duplicate(), metadata)

    def _write(self, descriptor: int, metadata: _Metadata) -> None:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        write_atomically(self._path, _encode_metadata(metadata))

    def wait(self) -> None:
        """Wait for the last checkpoint; raises ``OSError`` if it failed."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Wait for the last checkpoint and stop the thread."""
        self._pool.shutdown()


def _skip_indexed(builder: IndexBuilder, pieces: Iterator[str], unfinished: _Metadata) -> None:
    """Read the part of the text that is already indexed; raise ``_SourceChanged`` if it has changed."""
    builder.restore_characters(unfinished.characters)
    while builder.length < unfinished.length:
        piece = next(pieces, None)
        if piece is None:
            raise _SourceChanged
        builder.update_digest(piece)
        builder.length += len(piece)
    if builder.length != unfinished.length or builder.sha256.hexdigest() != unfinished.sha256:
        raise _SourceChanged


def _publish(folder: Path, metadata: _Metadata) -> Path:
    """Write the metadata of a complete index and rename its folder; return the new folder."""
    write_atomically(folder / _METADATA, _encode_metadata(metadata))
    for narrower in folder.glob("codes*.bin"):
        if narrower != codes_path(folder, metadata.itemsize):
            narrower.unlink()
    name = hashlib.sha256(f"{metadata.sha256} {metadata.key} {metadata.raw}".encode()).hexdigest()[:32]
    target = folder.with_name(name)
    try:
        folder.rename(target)
    except OSError:  # another process was faster, or a damaged index has this name
        if _open_complete(target, metadata) is None:
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return target


@contextmanager
def _build_folder(name: str) -> Iterator[tuple[Path, bool]]:
    """Create and lock a folder for building an index; use a separate folder if another process holds the lock.

    Yields:
        The folder, and whether this process holds the lock; only then an unfinished index can be resumed.
    """
    texts = texts_folder()
    try:
        texts.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(texts)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorpusError(
            f"Cannot create the cache folder {texts} for the index of the text: {reason}. "
            "Set CHARLOOM_CACHE to a writable folder.",
            code="cache_not_writable",
            path=str(texts),
            reason=reason,
        ) from None
    lock = try_lock(texts / f"{name}.lock")
    folder = texts / (name if lock is not None else f"{name}-{os.getpid()}")
    try:
        folder.mkdir(exist_ok=True)
        yield folder, lock is not None
    finally:
        if lock is not None:
            os.close(lock)
        elif folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(texts: Path) -> None:
    for path in texts.glob("part-*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _complete_folders() -> list[Path]:
    texts = texts_folder()
    return [path for path in texts.iterdir() if not path.name.startswith("part-")] if texts.is_dir() else []


def _open_complete(folder: Path, metadata: _Metadata) -> tuple[Index, tuple[str, ...]] | None:
    """Open a complete index; return None if its codes file has the wrong size."""
    path = codes_path(folder, metadata.itemsize)
    if not path.is_file() or path.stat().st_size != metadata.length * metadata.itemsize:
        return None
    return _map_codes(folder, metadata), metadata.notices


def _read_unfinished(folder: Path) -> _Metadata | None:
    """Return the metadata of the last checkpoint of an unfinished index; None if it cannot be resumed."""
    metadata = _read_metadata(folder)
    if metadata is None:
        return None
    path = codes_path(folder, metadata.itemsize)
    return metadata if path.is_file() and path.stat().st_size >= metadata.length * metadata.itemsize else None


def _map_codes(folder: Path, metadata: _Metadata) -> Index:
    codes = np.memmap(codes_path(folder, metadata.itemsize), f"<u{metadata.itemsize}", "r", shape=(metadata.length,))
    return Index(codes, metadata.characters, metadata.sha256, metadata.unit)


def _encode_metadata(metadata: _Metadata) -> bytes:
    text = json.dumps({**asdict(metadata), "notices": list(map(_encode_notice, metadata.notices))}, sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}".encode()


def _read_metadata(folder: Path) -> _Metadata | None:
    """Return the metadata of an index; None if they are missing, damaged or have another version."""
    try:
        digest, _, text = (folder / _METADATA).read_text(encoding="utf-8").partition(" ")
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            return None
        saved: dict[str, Any] = json.loads(text)
        metadata = _Metadata(**{**saved, "notices": tuple(map(_decode_notice, saved["notices"]))})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return metadata if metadata.version == _VERSION else None


def _encode_notice(notice: str) -> Any:
    if not isinstance(notice, Notice):
        return notice
    return {"message": str(notice), "code": notice.code, "data": notice.data}


def _decode_notice(saved: Any) -> str:
    if isinstance(saved, str):  # written before notices had codes
        return saved
    return Notice(saved["message"], code=saved["code"], **saved["data"])
