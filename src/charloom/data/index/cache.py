"""Indexes of long texts on disk: built while the text is read, gone on with after a crash, found again by content.

A folder ``texts`` in the cache holds one folder for each text: its codes, and ``index.json`` that describes them. A
folder whose name begins with ``part-`` is an index in the making; its ``index.json`` says how far it was when it was
last made durable. Nothing here trusts a file's name, size or date: a text is read and its digest compared, always.
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
from charloom.data.datasets import Progress, cache_folder
from charloom.data.index.index import BLOCK, CodesFile, Index, IndexBuilder, codes_path
from charloom.data.reading.reader import SourceDigest, digest_sources, text_pieces
from charloom.data.reading.sources import Source, resolve_sources
from charloom.data.text_format import TextFormat
from charloom.errors import CorpusError

IN_MEMORY = 1 << 24
"""Characters of a text that is held in memory; a longer one is indexed on disk."""

_DURABLE = 1 << 28  # characters between two moments at which an index in the making is made durable
_SPARE = 1 << 28  # bytes of disk that are left free
_VERSION = 1
_ABOUT = "index.json"
_OLD = 7 * 24 * 3600  # seconds after which what a killed run left half-made is removed


@dataclass(frozen=True)
class _About:
    """What ``index.json`` holds; ``raw`` is the digest of the files as they are, ``key`` says how they were read."""

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


class _Changed(Exception):
    """What an index in the making was made from is another text now."""


def texts_folder() -> Path:
    """Return the folder that holds the indexes."""
    return cache_folder() / "texts"


def index_text(
    arguments: Sequence[str], text_format: TextFormat, progress: Progress | None = None
) -> tuple[Index, tuple[str, ...]]:
    """Return the index of a text, and what was done to the text on the way in.

    A short text is held in memory; the index of a long one is kept on disk and found again.

    Args:
        arguments: What was named; see ``resolve_sources``.
        text_format: How it is read.
        progress: Told the bytes that are read, and how many there are (0 if unknown).

    Raises:
        CorpusError: If the text cannot be read, or the disk is too small for its index.
    """
    sources = resolve_sources(list(arguments))
    request = _Request(list(arguments), sources, text_format, progress)
    found = request.find()
    if found is not None:
        return found
    try:
        return request.read()
    except _Changed:
        return request.read(anew=True)


class _Request:
    """One text that is wanted."""

    def __init__(
        self, arguments: list[str], sources: list[Source], text_format: TextFormat, progress: Progress | None
    ) -> None:
        self.arguments, self.sources, self.format, self.progress = arguments, sources, text_format, progress
        paths = [source.path for source in sources]
        self.size = sum(path.stat().st_size for path in paths if path is not None)
        self.can_repeat = all(path is not None and path.is_file() for path in paths)
        described = json.dumps([_VERSION, BLOCK, text_format.to_dict()], sort_keys=True)
        self.key = hashlib.sha256(described.encode()).hexdigest()
        named = json.dumps([self.key, [str(path and path.resolve()) for path in paths], self.size])
        self.part = f"part-{hashlib.sha256(named.encode()).hexdigest()[:16]}"

    def find(self) -> tuple[Index, tuple[str, ...]] | None:
        """Return the index that is kept of this text, if one is."""
        if not self.can_repeat:
            return None
        likely = [
            (folder, about)
            for folder in _folders()
            if (about := _read_about(folder)) is not None and (about.key, about.size) == (self.key, self.size)
        ]
        if not likely:
            return None
        raw = digest_sources(self.sources, self.progress)
        return next((found for folder, about in likely if about.raw == raw and (found := _open(folder, about))), None)

    def read(self, anew: bool = False) -> tuple[Index, tuple[str, ...]]:
        """Read the text, and put its index on disk once it turns out to be long."""
        notices: list[str] = []
        raw = SourceDigest()
        builder = IndexBuilder(self.format.unit)
        pieces = text_pieces(self.arguments, self.format, notices, self.progress, raw=raw)
        begun = None if anew or not self.can_repeat else _begun(texts_folder() / self.part)
        if begun is None:
            for piece in pieces:
                builder.add(piece)
                if builder.length > IN_MEMORY:
                    break
            else:
                return builder.build(), tuple(notices)
        with _part(self.part if self.can_repeat else f"part-stdin-{os.getpid()}") as (folder, is_own_name):
            begun = begun if is_own_name else None
            itemsize = self._write(folder, builder, pieces, begun)
            about = self._about(builder, itemsize, raw.hexdigest(), notices)
            found = _keep(folder, about)
        kept = f"The text is long: an index of it ({about.length * about.itemsize / 1e9:.1f} GB) is kept in {found}."
        return _mapped(found, about), (*notices, kept)

    def _write(self, folder: Path, builder: IndexBuilder, pieces: Iterator[str], begun: _About | None) -> int:
        """Write the codes of the pieces behind those that are there already; return how many bytes each takes."""
        if begun is not None:
            _skip(builder, pieces, begun)
        file = CodesFile(folder, begun.itemsize if begun else 1, begun.length if begun else 0)
        journal = _Journal(folder)
        try:
            for codes in builder.take():
                file.write(codes)
            durable = file.length
            for piece in pieces:
                builder.digest(piece)
                for start in range(0, len(piece), BLOCK):
                    file.write(builder.encode(piece[start : start + BLOCK]))
                builder.length = file.length
                if file.length - durable >= _DURABLE:
                    durable = file.length
                    self._check_room(folder)
                    journal.note(file, self._about(builder, file.itemsize, "", []))
            journal.wait()
            file.sync()
        except OSError as error:
            raise CorpusError(
                f"The index of the text cannot be written to {folder}: {error.strerror or error}. "
                "CHARLOOM_CACHE may name a folder with more room."
            ) from None
        finally:
            journal.close()
            file.close()
        return file.itemsize

    def _check_room(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < _SPARE + _DURABLE:
            raise CorpusError(
                f"The text is long, and its index fills the disk: {free / 1e9:.1f} GB are free in {folder}. Make room, "
                "or name a folder with more of it in CHARLOOM_CACHE."
            )

    def _about(self, builder: IndexBuilder, itemsize: int, raw: str, notices: Sequence[str]) -> _About:
        return _About(
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


class _Journal:
    """Writes down how far an index is, once that much of it is durable, while the text is read on.

    Args:
        folder: Of the index.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _ABOUT
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def note(self, file: CodesFile, about: _About) -> None:
        """Write this down when all that the file holds now is on the disk; wait for what was to be written before."""
        self.wait()
        self._last = self._pool.submit(self._write, file.duplicate(), about)

    def _write(self, descriptor: int, about: _About) -> None:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        write_atomically(self._path, _as_json(about))

    def wait(self) -> None:
        """Wait until the last note is written; ``OSError`` if it could not be."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Let the last note be written, and take no more."""
        self._pool.shutdown()


def _skip(builder: IndexBuilder, pieces: Iterator[str], begun: _About) -> None:
    """Read what an index in the making holds already, and see that it is the same text."""
    builder.know(begun.characters)
    while builder.length < begun.length:
        piece = next(pieces, None)
        if piece is None:
            raise _Changed
        builder.digest(piece)
        builder.length += len(piece)
    if builder.length != begun.length or builder.sha256.hexdigest() != begun.sha256:
        raise _Changed


def _keep(folder: Path, about: _About) -> Path:
    """Give an index that is complete its own name, and return that."""
    write_atomically(folder / _ABOUT, _as_json(about))
    for narrower in folder.glob("codes*.bin"):
        if narrower != codes_path(folder, about.itemsize):
            narrower.unlink()
    name = hashlib.sha256(f"{about.sha256} {about.key} {about.raw}".encode()).hexdigest()[:32]
    target = folder.with_name(name)
    try:
        folder.rename(target)
    except OSError:  # another process was faster, or a damaged one lies there
        if _open(target, about) is None:
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return target


@contextmanager
def _part(name: str) -> Iterator[tuple[Path, bool]]:
    """Make the folder of an index in the making, for this process alone, and tell whether it has the name wanted."""
    texts = texts_folder()
    try:
        texts.mkdir(parents=True, exist_ok=True)
        _remove_old(texts)
    except OSError as error:
        raise CorpusError(
            f"The text is long, and its index cannot be kept in {texts}: {error.strerror or error}. "
            "CHARLOOM_CACHE may name another folder."
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


def _remove_old(texts: Path) -> None:
    for path in texts.glob("part-*"):
        if time.time() - path.stat().st_mtime > _OLD:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _folders() -> list[Path]:
    texts = texts_folder()
    return [path for path in texts.iterdir() if not path.name.startswith("part-")] if texts.is_dir() else []


def _open(folder: Path, about: _About) -> tuple[Index, tuple[str, ...]] | None:
    """Return a complete index; None if its file is not what is said of it."""
    path = codes_path(folder, about.itemsize)
    if not path.is_file() or path.stat().st_size != about.length * about.itemsize:
        return None
    return _mapped(folder, about), about.notices


def _begun(folder: Path) -> _About | None:
    """Return how far an index in the making is; None if there is none to go on with."""
    about = _read_about(folder)
    if about is None:
        return None
    path = codes_path(folder, about.itemsize)
    return about if path.is_file() and path.stat().st_size >= about.length * about.itemsize else None


def _mapped(folder: Path, about: _About) -> Index:
    codes = np.memmap(codes_path(folder, about.itemsize), f"<u{about.itemsize}", "r", shape=(about.length,))
    return Index(codes, about.characters, about.sha256, about.unit)


def _as_json(about: _About) -> bytes:
    text = json.dumps(asdict(about), sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}".encode()


def _read_about(folder: Path) -> _About | None:
    """Return what is said of an index; None if there is none, or it is damaged or another version's."""
    try:
        digest, _, text = (folder / _ABOUT).read_text(encoding="utf-8").partition(" ")
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            return None
        saved: dict[str, Any] = json.loads(text)
        about = _About(**{**saved, "notices": tuple(saved["notices"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return about if about.version == _VERSION else None
