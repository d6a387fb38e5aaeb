"""Measure memorization: the verbatim overlap of a generated text with the training text."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.splits import TextRecords, TextSpan, TextView
from charloom.data.vocabulary.characters import code_points
from charloom.inference.model import Model
from charloom.inference.suffix_automaton import make_automaton

LONG = 30
"""Runs longer than this many characters count as copied; shorter ones also recur in independent texts."""

SAMPLE_TEMPERATURES = (0.5, 0.8, 1.0)
SAMPLE_LENGTH = 2000  # characters generated at each temperature

_BLOCK = 1 << 20  # characters of the source processed at once
_CHECK_LENGTH = 5_000  # characters of generated text, and of held-out text, that are checked after a training run
_MAX_SEARCHED = 20_000_000  # characters of the training text searched after a training run: takes a few seconds


@dataclass(frozen=True)
class Memorization:
    """The verbatim overlap of a text with a source.

    Attributes:
        lengths: Length of the longest run of characters that ends at each character and also occurs in the source,
            int32 (T,).
    """

    lengths: NDArray[np.int32]

    @property
    def longest(self) -> int:
        """Length of the longest copied run, in characters."""
        return int(self.lengths.max(initial=0))

    def passages(self, longer_than: int = LONG) -> list[tuple[int, int]]:
        """Return the copied passages as pairs (start, end).

        Copied runs that touch or overlap form one passage, even if they occur at different places of the source.

        Args:
            longer_than: Length in characters that a copied run must exceed, 0 or more.
        """
        ends = np.flatnonzero(self.lengths > longer_than) + 1
        passages: list[tuple[int, int]] = []
        for end in ends.tolist():
            start = end - int(self.lengths[end - 1])
            while passages and passages[-1][1] >= start:
                start = min(start, passages.pop()[0])
            passages.append((start, end))
        return passages

    @property
    def copied(self) -> float:
        """Fraction of the characters that lie in copied runs longer than ``LONG``, in [0, 1]."""
        if not len(self.lengths):
            return 0.0
        return sum(end - start for start, end in self.passages()) / len(self.lengths)


def measure_memorization(
    text: str, source: str | Iterable[str], progress: ProgressCallback | None = None
) -> Memorization:
    """Measure the verbatim overlap of a text with a source, in memory proportional to the text only.

    Args:
        text: The text to check, T characters.
        source: The text to search: a string, or an iterable of its pieces in order.
        progress: Called with the number of searched characters and the total; the total is 0 for an iterable.
    """
    automaton = make_automaton(code_points(text).astype(np.uint32))
    total, done = (len(source), 0) if isinstance(source, str) else (0, 0)
    for piece in (source,) if isinstance(source, str) else source:
        for start in range(0, len(piece), _BLOCK):
            block = piece[start : start + _BLOCK]
            automaton.read(code_points(block).astype(np.uint32))
            done += len(block)
            if progress is not None:
                progress(done, total)
    return Memorization(automaton.lengths())


def copied_records(text: str, source: Iterable[str], mark: str = "\n") -> tuple[int, int]:
    """Count the non-empty records of a text and those that are also records of a source.

    Args:
        text: The text to check.
        source: Pieces of the source, each ending at the end of a record.
        mark: The character that ends each record; see ``TextFormat.mark``.

    Returns:
        The number of non-empty records and the number of copied records.
    """
    records = [record for record in text.split(mark) if record]
    distinct, copied = set(records), set()
    for piece in source:
        copied |= distinct.intersection(piece.split(mark))
    return len(records), sum(record in copied for record in records)


@dataclass(frozen=True)
class MemorizationCheck:
    """Memorization of a newly trained model, with the held-out text as reference.

    Attributes:
        characters: Length of the generated text.
        copied: Fraction of the generated text in copied runs longer than ``LONG``, in [0, 1].
        longest: Length of the longest copied run, in characters.
        held_out_copied: ``copied`` for a held-out text of up to the same length; None if no text was held out.
        held_out_longest: ``longest`` for the same held-out text; None if no text was held out.
        searched: Number of searched characters of the training text, counted from its start.
        lines: Number of complete generated lines if the corpus consists of lines; else None.
        copied_lines: Number of these lines that occur in the training text; else None.
        records: Number of complete generated records if the corpus consists of records; else None.
        copied_records: Number of these records that occur in the training text; else None.
    """

    characters: int
    copied: float
    longest: int
    held_out_copied: float | None
    held_out_longest: int | None
    searched: int
    lines: int | None
    copied_lines: int | None
    records: int | None
    copied_records: int | None


def check_memorization(
    model: Model, training: TextSpan | TextRecords, validation: TextSpan | TextRecords, seed: int
) -> MemorizationCheck:
    """Measure the verbatim overlap of a generated text with the training text.

    Args:
        model: The trained model.
        training: Training part of the corpus; its first 20 million characters are searched.
        validation: Validation part of the corpus; may be empty.
        seed: Seed of the generated text.
    """
    text = model.generate_records(_CHECK_LENGTH, seed=seed)
    searched = training.beginning(_MAX_SEARCHED)
    generated = measure_memorization(text, searched.pieces())
    held_out = measure_memorization(validation.head(_CHECK_LENGTH), searched.pieces()) if len(validation) else None
    lines: tuple[int | None, int | None] = (None, None)
    records = lines
    if isinstance(searched, TextRecords):
        mark = searched.mark
        counts = copied_records(text[: text.rfind(mark) + 1], searched.pieces(), mark)  # the last one is incomplete
        lines, records = (counts, records) if mark == "\n" else (lines, counts)
    return MemorizationCheck(
        characters=len(text),
        copied=generated.copied,
        longest=generated.longest,
        held_out_copied=held_out.copied if held_out else None,
        held_out_longest=held_out.longest if held_out else None,
        searched=len(searched),
        lines=lines[0],
        copied_lines=lines[1],
        records=records[0],
        copied_records=records[1],
    )


@dataclass(frozen=True)
class MeasuredSample:
    """A generated text and its memorization.

    Attributes:
        temperature: Sampling temperature.
        text: The generated text.
        memorization: Verbatim overlap with the training text; None if the training text is not available.
    """

    temperature: float
    text: str
    memorization: Memorization | None


def measured_samples(
    model: Model, training: TextView | None, seed: int = 0, progress: ProgressCallback | None = None
) -> list[MeasuredSample]:
    """Generate a text at each of ``SAMPLE_TEMPERATURES`` and measure its overlap with the training text.

    Args:
        model: The model.
        training: The training text; None if it is not available.
        seed: Seed of every sample.
        progress: Called with the number of finished samples and the total.
    """
    samples = []
    for number, temperature in enumerate(SAMPLE_TEMPERATURES, 1):
        text = model.generate_records(SAMPLE_LENGTH, temperature, seed)
        memorization = None if training is None else measure_memorization(text, training.pieces())
        samples.append(MeasuredSample(temperature, text, memorization))
        if progress is not None:
            progress(number, len(SAMPLE_TEMPERATURES))
    return samples
