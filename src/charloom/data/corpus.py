"""The corpus: a text with its sources, vocabulary and split into training, validation and test parts."""

import glob
import math
import reprlib
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np

from charloom._util.progress import ProgressCallback
from charloom.data.index.cache import index_text
from charloom.data.index.index import Index, IndexBuilder
from charloom.data.reading.sources import corpus_name
from charloom.data.splits import CorpusSplit, TextRecords, TextSpan, TextSplit, nonempty_records, stratified_indices
from charloom.data.text_format import LABEL_MARK, PLAIN, TextFormat, TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, SettingsError

_MAX_SHOWN = 40  # characters of an argument in the data of an error
_MAX_PATH = 1_000  # characters
_MIN_SPACES = 2  # of a text without line feeds


class Corpus:
    """A text to train on.

    Args:
        text: The whole text with unchanged newlines, or its index.
        name: A short name, such as a file name without suffix.
        notices: Notices for the user about changes made to the text while reading it.
        sources: The sources as the user gave them; empty if the text was not read from sources.
        text_format: How the text was read, and whether its lines are separate texts.

    Raises:
        CorpusError: If the text is empty, or contains a lone surrogate.
    """

    def __init__(
        self,
        text: str | Index,
        name: str = "corpus",
        notices: Sequence[str] = (),
        sources: Sequence[str] = (),
        text_format: TextFormat = PLAIN,
    ) -> None:
        if not isinstance(text, (str, Index)):
            if isinstance(text, (list, tuple)):
                advice = 'Join the texts with "\\n" for text_format=TextFormat(lines=True), or call Corpus.read(paths).'
            else:
                advice = "Decode bytes first: data.decode()." if isinstance(text, bytes) else "Read the text first."
            raise CorpusError(
                f"Corpus takes one text as a string, got {reprlib.repr(text)}. {advice}",
                code="invalid_setting",
                name="text",
                value=reprlib.repr(text),
            )
        self.name, self.notices, self.sources, self.format = name, tuple(notices), tuple(sources), text_format
        self.index = _index_of(text, text_format) if isinstance(text, str) else text
        halves = [c for c in self.index.characters if "\ud800" <= c <= "\udfff"]
        if halves and text_format.unit == "char":
            position = text.index(halves[0]) if isinstance(text, str) else None
            raise CorpusError(
                f"The text contains half a character (lone surrogate U+{ord(halves[0]):04X}), which remains when an "
                f"emoji is cut{'' if position is None else f', at position {position:,}'}. Remove it: "
                'text.encode("utf-8", "ignore").decode().',
                code="lone_surrogate",
                code_point=f"U+{ord(halves[0]):04X}",
                position=position,
            )
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

        Several files are joined in order, with a newline added to files that do not end with one. In a folder, hidden
        and binary files are skipped. Compressed files are decompressed. ``notices`` lists these changes. The index of a
        text of more than 16 million characters is kept in the cache folder instead of in memory.

        Args:
            sources: One or more sources.
            encoding: Encoding of the files; named corpora are always UTF-8.
            progress: Called with the bytes read so far and the total (0 if unknown).
            text_format: How to read the files; overrides ``encoding``.

        Raises:
            CorpusError: If a source is missing, unreadable or not text in that encoding, or if the text is empty.
        """
        arguments = [str(source) for source in _checked_sources(sources)]
        return cls.read_arguments(arguments, text_format or TextFormat(encoding=encoding), progress)

    @classmethod
    def read_arguments(
        cls, arguments: Sequence[str], text_format: TextFormat, progress: ProgressCallback | None = None
    ) -> "Corpus":
        """Read a corpus from arguments of the command line, whose errors give advice for a shell; see ``read``."""
        index, notices = index_text(arguments, text_format, progress)
        return cls(index, corpus_name(arguments[0]), notices, arguments, text_format)

    @cached_property
    def text(self) -> str:
        """The whole text; it stays in memory after the first use."""
        return TextSpan(self.index, 0, len(self.index)).text

    def head(self, count: int) -> str:
        """Return the first characters, at most ``count``."""
        return TextSpan(self.index, 0, len(self.index)).head(count)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8, which for a single plain UTF-8 file equals the SHA-256 of the file."""
        return self.index.sha256

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The sorted distinct characters of the whole text; all 256 bytes if the unit is "byte".

        The vocabulary includes the characters of the held-out parts, because a model cannot score a character that is
        not in its vocabulary.
        """
        if self.format.unit == "byte":
            return ByteVocabulary()
        return Vocabulary("".join(sorted({*self.index.characters, *(self.format.mark or "")})))

    @cached_property
    def records(self) -> tuple[TextRecords, int]:
        """The non-empty lines or records, and the number of empty ones."""
        return nonempty_records(self.index, self.format.mark or "\n")

    @property
    def lines(self) -> tuple[TextRecords, int]:
        """The old name of ``records``."""
        warnings.warn("Corpus.lines is deprecated. Use Corpus.records.", DeprecationWarning, stacklevel=2)
        return self.records

    @cached_property
    def labels(self) -> dict[str, int]:
        """The number of records with each label, the most frequent first; empty if the records have no labels."""
        if self.format.label is None:
            return {}
        counts = Counter(self.records[0].beginnings(LABEL_MARK))
        return dict(counts.most_common())

    @property
    def rules(self) -> TextRules:
        """The rules for texts of a model that is trained on this corpus."""
        return self.format.rules(self.labels)

    def parts(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> CorpusSplit:
        """Split the text into training, validation and test parts.

        A continuous text is split by position, in that order. Of lines and records, stratified random samples are
        held out.

        Args:
            val_fraction: Fraction of the text for validation, in [0, 1).
            test_fraction: Fraction of the text for testing, in [0, 1).

        Raises:
            SettingsError: If a fraction is out of range, or their sum is 1 or more.
        """
        _check_fractions(val_fraction, test_fraction)
        if self.format.mark is not None:
            return self._parts_of_records(val_fraction, test_fraction)
        first = int(len(self) * (1 - val_fraction - test_fraction))
        second = int(len(self) * (1 - test_fraction))
        boundaries = (0, first, second, len(self))
        return CorpusSplit(*(TextSpan(self.index, a, b) for a, b in pairwise(boundaries)))

    def split(self, val_fraction: float = 0.1, test_fraction: float = 0.0) -> TextSplit:
        """Return the training, validation and test parts as strings; see ``parts``."""
        parts = self.parts(val_fraction, test_fraction)
        return TextSplit(parts.training.text, parts.validation.text, parts.test.text)

    def _parts_of_records(self, val_fraction: float, test_fraction: float) -> CorpusSplit:
        records, _ = self.records
        rest = np.arange(len(records.starts))
        test = rest[stratified_indices(len(rest), test_fraction)]
        rest = np.delete(rest, test)
        sampled = stratified_indices(len(rest), val_fraction / (1 - test_fraction))
        validation = rest[sampled]
        return CorpusSplit(records.subset(np.delete(rest, sampled)), records.subset(validation), records.subset(test))


def _checked_sources(sources: object) -> list[str | PathLike[str]]:
    """Return sources as a list.

    Raises:
        CorpusError: If they are not paths, or a text was passed in place of a path.
    """
    given = [sources] if isinstance(sources, (str, PathLike)) else sources
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, (str, PathLike)) for item in given):
        raise CorpusError(
            f"Expected the path of a text, or a list of paths, got {reprlib.repr(sources)}. Pass a text itself as "
            "charloom.Corpus(text).",
            code="invalid_path",
            path=reprlib.repr(sources),
        )
    for item in given:
        if isinstance(item, str) and _is_text(item):
            raise CorpusError(
                f"Expected the path of a text, got {reprlib.repr(item)}, which is no file. Pass a text itself as "
                "charloom.Corpus(text).",
                code="invalid_path",
                path=item[:_MAX_SHOWN],
            )
    return list(given)


def _is_text(argument: str) -> bool:
    """Return whether an argument is a text rather than a path: empty, long, or with line feeds or several words."""
    if not argument:
        return True
    if "\n" not in argument and len(argument) < _MAX_PATH and argument.count(" ") < _MIN_SPACES:
        return False
    try:
        return not Path(argument).exists() and not glob.has_magic(argument)
    except (OSError, ValueError):  # too long for a path, or with a NUL character
        return True


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
