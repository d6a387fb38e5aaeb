"""The corpus: a text, its sources, and its split into training, validation and test parts."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from os import PathLike

import numpy as np

from charloom._util.progress import ProgressCallback
from charloom.data.index.cache import index_text
from charloom.data.index.index import Index, IndexBuilder
from charloom.data.reading.sources import corpus_name
from charloom.data.splits import CorpusSplit, TextLines, TextSpan, TextSplit, nonempty_lines, stratified_indices
from charloom.data.text_format import PLAIN, TextFormat
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, SettingsError


class Corpus:
    """A text to train on.

    Args:
        text: The whole text with unchanged newlines, or its index.
        name: A short name, such as the file name without its suffix.
        notices: What was done to the text when it was read, one sentence each, to be shown to the user.
        sources: The sources it was read from, as they were named; empty if it was not read.
        text_format: How it was read, and whether its lines are separate texts.

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
            raise CorpusError(
                f"The corpus {name!r} is empty. Provide a text of at least a few thousand characters.",
                code="empty_corpus",
                name=name,
            )

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {len(self):,} {self.format.unit}s)"

    def __len__(self) -> int:
        """Return the number of characters, or of bytes if the unit is the byte."""
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

        Several files are joined in order; where one does not end with a newline, one is added and reported in
        ``notices``. In a folder, hidden files are ignored and binary files are skipped and reported. Compressed files
        are decompressed. A text of more than 16 million characters is not held in memory: its index is kept in the
        cache folder.

        Args:
            sources: One source or several.
            encoding: Encoding of the files; named corpora are always UTF-8.
            progress: Called with the bytes read so far and their total (0 if unknown).
            text_format: How to read them; overrides ``encoding``.

        Raises:
            CorpusError: If a source is missing, unreadable, not text in that encoding, or all are empty.
        """
        arguments = [str(s) for s in ([sources] if isinstance(sources, (str, PathLike)) else sources)]
        text_format = text_format or TextFormat(encoding=encoding)
        index, notices = index_text(arguments, text_format, progress)
        return cls(index, corpus_name(arguments[0]), notices, arguments, text_format)

    @cached_property
    def text(self) -> str:
        """The whole text; it stays in memory once it was used."""
        return TextSpan(self.index, 0, len(self.index)).text

    def head(self, count: int) -> str:
        """Return the first characters, at most ``count``."""
        return TextSpan(self.index, 0, len(self.index)).head(count)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text as UTF-8; for a single plain UTF-8 file, that of the file."""
        return self.index.sha256

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The sorted distinct characters of the whole text, held-out parts included; all 256 bytes if that is the unit.

        A model cannot score a character that it has no output for, so the alphabet is taken as known; everything else
        is learned from the training part only.
        """
        if self.format.unit == "byte":
            return ByteVocabulary()
        return Vocabulary("".join(sorted({*self.index.characters, *("\n" if self.format.lines else "")})))

    @cached_property
    def lines(self) -> tuple[TextLines, int]:
        """The non-empty lines, and the number of empty ones."""
        return nonempty_lines(self.index)

    def parts(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> CorpusSplit:
        """Split the text by position, in the order training, validation, test; lines are sampled evenly instead.

        Args:
            val_fraction: Share of the text for validation, in [0, 1).
            test_fraction: Share of the text for the test, in [0, 1).

        Raises:
            SettingsError: If a fraction is out of range, or the two leave nothing to train on.
        """
        _check_fractions(val_fraction, test_fraction)
        if self.format.lines:
            return self._parts_of_lines(val_fraction, test_fraction)
        first = int(len(self) * (1 - val_fraction - test_fraction))
        second = int(len(self) * (1 - test_fraction))
        places = (0, first, second, len(self))
        return CorpusSplit(*(TextSpan(self.index, a, b) for a, b in pairwise(places)))

    def split(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> TextSplit:
        """Return the three parts of ``parts`` as text."""
        parts = self.parts(val_fraction, test_fraction)
        return TextSplit(parts.training.text, parts.validation.text, parts.test.text)

    def _parts_of_lines(self, val_fraction: float, test_fraction: float) -> CorpusSplit:
        lines, _ = self.lines
        rest = np.arange(len(lines.starts))
        test = rest[stratified_indices(len(rest), test_fraction)]
        rest = np.delete(rest, test)
        places = stratified_indices(len(rest), val_fraction / (1 - test_fraction))
        validation = rest[places]
        return CorpusSplit(lines.subset(np.delete(rest, places)), lines.subset(validation), lines.subset(test))


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise SettingsError(
                f"{name} must be at least 0 and less than 1, got {value}.",
                code="invalid_setting",
                name=name,
                value=value if math.isfinite(value) else str(value),
                minimum=0,
                below=1,
            )
    if val_fraction + test_fraction >= 1:
        raise SettingsError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave no text for training. "
            "Their sum must be less than 1.",
            code="no_training_text",
            val_fraction=val_fraction,
            test_fraction=test_fraction,
        )


def _index_of(text: str, text_format: TextFormat) -> Index:
    """Build the index of a text in memory."""
    builder = IndexBuilder(text_format.unit)
    if text_format.unit == "byte":
        text = ByteVocabulary().encode(text).tobytes().decode("latin-1")
    if text:
        builder.add(text)
    return builder.build()
