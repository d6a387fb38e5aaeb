"""The corpus: a text, where it came from, and its split by position."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike

from charloom.errors import CorpusError, SettingsError
from charloom.text.decoding import check_encoding, decode_bytes, looks_binary
from charloom.text.named import Progress, read_named
from charloom.text.sources import Source, corpus_name, resolve_sources
from charloom.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Split:
    """A text cut by position into three parts, of which the last two may be empty."""

    training: str
    validation: str
    test: str


@dataclass(frozen=True)
class Corpus:
    """A text to train on.

    Attributes:
        text: The whole text, newlines as they were.
        name: A short name, such as the file's without its ending.
        notices: What was done to the text on the way in, one sentence each, for the user to see.
        sources: What it was read from, as it was named; empty where it was not read.
        encoding: Of those.

    Raises:
        CorpusError: If the text is empty.
    """

    text: str = field(repr=False)
    name: str = "corpus"
    notices: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if not self.text:
            raise CorpusError(
                f"The corpus {self.name!r} is empty. Give a text with at least a few thousand characters."
            )

    @classmethod
    def read(
        cls,
        sources: str | PathLike[str] | Sequence[str | PathLike[str]],
        encoding: str = "utf-8",
        progress: Progress | None = None,
    ) -> "Corpus":
        """Read a corpus from files, folders, globs, named corpora or standard input ("-").

        Several files are joined in their order; where one does not end with a newline, one is put after it
        and said in ``notices``. In a folder, hidden files are left alone and files that are no text are
        passed over and said.

        Args:
            sources: One source or several.
            encoding: The encoding of the files; named corpora are always UTF-8.
            progress: Told how a download proceeds.

        Raises:
            CorpusError: If a source is missing, unreadable, not text in that encoding, or all are empty.
        """
        arguments = [str(s) for s in ([sources] if isinstance(sources, (str, PathLike)) else sources)]
        check_encoding(encoding)
        notices: list[str] = []
        texts: list[str] = []
        for source in resolve_sources(arguments):
            text = _read_source(source, encoding, notices, progress)
            if text is not None:
                texts.append(text)
        if not texts:
            raise CorpusError(f"{', '.join(arguments)} holds no text file: every file there is binary.")
        return cls(_join(texts, notices), corpus_name(arguments[0]), tuple(notices), tuple(arguments), encoding)

    @cached_property
    def sha256(self) -> str:
        """The digest of the text as UTF-8; for one plain UTF-8 file, the digest of the file."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The sorted distinct characters of the whole text, held-out parts included.

        A model cannot put a number on a character it has no output for, so the alphabet is taken as known;
        which characters follow which is learned from the training part alone.
        """
        return Vocabulary.from_text(self.text)

    def split(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> Split:
        """Cut the text by position: training first, then validation, then test.

        Args:
            val_fraction: Share of the text held out to choose by, in [0, 1).
            test_fraction: Share held out to report on, in [0, 1).

        Raises:
            SettingsError: If a fraction is outside its range, or the two leave nothing to train on.
        """
        for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 <= value < 1:
                raise SettingsError(f"{name} must be at least 0 and less than 1; got {value}.")
        if val_fraction + test_fraction >= 1:
            raise SettingsError(
                f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train on; "
                "together they must stay below 1."
            )
        first = int(len(self.text) * (1 - val_fraction - test_fraction))
        second = int(len(self.text) * (1 - test_fraction))
        return Split(self.text[:first], self.text[first:second], self.text[second:])


def _read_source(source: Source, encoding: str, notices: list[str], progress: Progress | None) -> str | None:
    """Return the source's text, or None for a file in a folder that is no text."""
    if source.kind == "run":
        notices.append(f"Passed over {source.name}: it is the folder of a run.")
        return None
    if source.kind == "named":
        return read_named(source.name, progress).decode("utf-8")
    data = _read_bytes(source)
    if looks_binary(data) and not encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
        if not source.from_folder:
            raise CorpusError(
                f"{source.name} holds NUL bytes, so it is probably not a text file. Give a plain text file."
            )
        notices.append(f"Passed over {source.name}: it holds NUL bytes, so it is not text.")
        return None
    decoded = decode_bytes(data, source.name, encoding)
    if decoded.had_bom:
        notices.append(f"Dropped the byte order mark at the start of {source.name}.")
    return decoded.text


def _read_bytes(source: Source) -> bytes:
    if source.path is None and sys.stdin is None:
        raise CorpusError("Standard input (-) is closed, so nothing can be read from it.")
    try:
        return sys.stdin.buffer.read() if source.path is None else source.path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{source.name} cannot be read: {error.strerror or error}.") from None


def _join(texts: list[str], notices: list[str]) -> str:
    """Join texts so that the last line of one and the first of the next stay two lines."""
    unfinished = sum(bool(text) and not text.endswith("\n") for text in texts[:-1])
    if unfinished:
        notices.append(f"Put a newline after {unfinished} of {len(texts)} files, which did not end with one.")
    return "".join(
        text + "\n" if text and not text.endswith("\n") and i < len(texts) - 1 else text for i, text in enumerate(texts)
    )
