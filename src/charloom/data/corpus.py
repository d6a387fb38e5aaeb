"""The corpus: a text, where it came from, and its split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from os import PathLike

import numpy as np

from charloom._util.progress import ProgressCallback
from charloom.data.index.cache import index_text
from charloom.data.index.index import Index, IndexBuilder
from charloom.data.reading.sources import corpus_name
from charloom.data.splits import TextLines, TextSpan, nonempty_lines, stratified_indices
from charloom.data.text_format import PLAIN, TextFormat
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, SettingsError


@dataclass(frozen=True)
class TextSplit:
    """A text cut into three parts, of which the last two may be empty."""

    training: str
    validation: str
    test: str


@dataclass(frozen=True)
class CorpusSplit:
    """The three parts of a corpus, none of which is held in memory as text."""

    training: TextSpan | TextLines
    validation: TextSpan | TextLines
    test: TextSpan | TextLines


class Corpus:
    """A text to train on.

    Args:
        text: The whole text, newlines as they are; or its index.
        name: A short name, such as the file's without its ending.
        notices: What was done to the text on the way in, one sentence each, for the user to see.
        sources: What it was read from, as it was named; empty where it was not read.
        text_format: How it was read; whether its lines are texts of their own.

    Raises:
        CorpusError: If the text is empty.
    """

    def __init__(
        self,
        text: str | Index,
        name: str = "corpus",
        notices: Sequence[str] = (),
        sources: Sequence[str] = (),
        text_format: TextFormat = PLAIN,
    ) -> None:
        self.name, self.notices, self.sources, self.format = name, tuple(notices), tuple(sources), text_format
        self.index = _index_of(text, text_format) if isinstance(text, str) else text
        if not len(self.index):
            raise CorpusError(f"The corpus {name!r} is empty. Give a text with at least a few thousand characters.")

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {len(self):,} {self.format.unit}s)"

    def __len__(self) -> int:
        """Return how many characters it has; of bytes, how many bytes."""
        return len(self.index)

    @classmethod
    def read(
        cls,
        sources: str | PathLike[str] | Sequence[str | PathLike[str]],
        encoding: str = "utf-8",
        progress: ProgressCallback | None = None,
        text_format: TextFormat | None = None,
    ) -> "Corpus":
        """Read a corpus from files, folders, globs, named corpora or standard input ("-").

        Several files are joined in their order; where one does not end with a newline, one is put after it
        and said in ``notices``. In a folder, hidden files are left alone and files that are no text are
        passed over and said. Compressed files are read as what is in them. A text of more than 16 million characters
        is not held in memory: an index of it is kept in the cache folder.

        Args:
            sources: One source or several.
            encoding: The encoding of the files; named corpora are always UTF-8.
            progress: Told the bytes that are read, and how many there are (0 if unknown).
            text_format: All of how they are read; ``encoding`` is then not looked at.

        Raises:
            CorpusError: If a source is missing, unreadable, not text in that encoding, or all are empty.
        """
        arguments = [str(s) for s in ([sources] if isinstance(sources, (str, PathLike)) else sources)]
        text_format = text_format or TextFormat(encoding=encoding)
        index, notices = index_text(arguments, text_format, progress)
        return cls(index, corpus_name(arguments[0]), notices, arguments, text_format)

    @cached_property
    def text(self) -> str:
        """The whole text, which is then held in memory."""
        return TextSpan(self.index, 0, len(self.index)).text

    def head(self, count: int) -> str:
        """Return the beginning of the text, at most so many characters."""
        return TextSpan(self.index, 0, len(self.index)).head(count)

    @property
    def sha256(self) -> str:
        """The digest of the text as UTF-8; for one plain UTF-8 file, the digest of the file."""
        return self.index.sha256

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The sorted distinct characters of the whole text, held-out parts included; of bytes, all 256.

        A model cannot put a number on a character it has no output for, so the alphabet is taken as known;
        which characters follow which is learned from the training part alone.
        """
        if self.format.unit == "byte":
            return ByteVocabulary()
        return Vocabulary("".join(sorted({*self.index.characters, *("\n" if self.format.lines else "")})))

    @cached_property
    def lines(self) -> tuple[TextLines, int]:
        """Its lines that are not empty, and how many are."""
        return nonempty_lines(self.index)

    def parts(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> CorpusSplit:
        """Cut the text: by position, training first, then validation, then test; lines are taken from all over it.

        Args:
            val_fraction: Share of the text held out to choose by, in [0, 1).
            test_fraction: Share held out to report on, in [0, 1).

        Raises:
            SettingsError: If a fraction is outside its range, or the two leave nothing to train on.
        """
        _check_fractions(val_fraction, test_fraction)
        if self.format.lines:
            return self._parts_of_lines(val_fraction, test_fraction)
        first = int(len(self) * (1 - val_fraction - test_fraction))
        second = int(len(self) * (1 - test_fraction))
        places = (0, first, second, len(self))
        return CorpusSplit(*(TextSpan(self.index, a, b) for a, b in pairwise(places)))

    def split(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> TextSplit:
        """Return the three parts as text, which is then held in memory; see ``parts``."""
        parts = self.parts(val_fraction, test_fraction)
        return TextSplit(parts.training.text, parts.validation.text, parts.test.text)

    def _parts_of_lines(self, val_fraction: float, test_fraction: float) -> CorpusSplit:
        lines, _ = self.lines
        left = np.arange(len(lines.starts))
        test = left[stratified_indices(len(left), test_fraction)]
        left = np.delete(left, test)
        places = stratified_indices(len(left), val_fraction / (1 - test_fraction))
        validation = left[places]
        return CorpusSplit(lines.some(np.delete(left, places)), lines.some(validation), lines.some(test))


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise SettingsError(f"{name} must be at least 0 and less than 1; got {value}.")
    if val_fraction + test_fraction >= 1:
        raise SettingsError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train on; "
            "together they must stay below 1."
        )


def _index_of(text: str, text_format: TextFormat) -> Index:
    """Return the index of a text that is at hand."""
    builder = IndexBuilder(text_format.unit)
    if text_format.unit == "byte":
        text = ByteVocabulary().encode(text).tobytes().decode("latin-1")
    if text:
        builder.add(text)
    return builder.build()
