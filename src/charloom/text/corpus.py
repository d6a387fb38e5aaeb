"""The corpus: a text, where it came from, and its split by position."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike

from charloom.errors import CorpusError, SettingsError
from charloom.text.named import Progress
from charloom.text.pieces import text_pieces
from charloom.text.sources import corpus_name
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
            progress: Told the bytes that are read, and how many there are (0 if unknown).

        Raises:
            CorpusError: If a source is missing, unreadable, not text in that encoding, or all are empty.
        """
        arguments = [str(s) for s in ([sources] if isinstance(sources, (str, PathLike)) else sources)]
        notices: list[str] = []
        text = "".join(text_pieces(arguments, encoding, notices, progress))
        return cls(text, corpus_name(arguments[0]), tuple(notices), tuple(arguments), encoding)

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
