"""Measure memorization: the verbatim overlap of a generated text with the training text.

Two measures complement each other: the share of characters in long verbatim runs, and the number of whole lines or
sentences that are also lines or sentences of the training text; see ``charloom.inference.segments``. Both are compared
with the same measures of held-out text, which the model did not see: that is the overlap to expect by chance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.splits import TextRecords, TextSpan, TextView
from charloom.data.vocabulary.characters import code_points
from charloom.inference.model import Model
from charloom.inference.segments import SegmentSearch, find_segments
from charloom.inference.suffix_automaton import make_automaton

LONG = 30
"""Runs longer than this many characters count as copied; shorter ones also recur in independent texts."""

SAMPLE_TEMPERATURES = (0.5, 0.8, 1.0)
SAMPLE_LENGTH = 2000  # characters generated at each temperature

_BLOCK = 1 << 20  # characters of the source processed at once
_BOUNDARY = 0x110000  # separates texts in an automaton; greater than every code point, so no source contains it
_CHECK_LENGTH = 5_000  # characters of generated text, and of held-out text, that are checked after a training run
_MAX_SEARCHED = 20_000_000  # characters of the training text searched after a training run: takes a few seconds


@dataclass(frozen=True)
class Memorization:
    """The verbatim overlap of a text with a source.

    Attributes:
        lengths: Length of the longest run of characters that ends at each character and also occurs in the source,
            int32 (T,).
        segments: Lines and sentences of the text that were compared as a whole, as pairs (start, end).
        copied_segments: Those that are also lines or sentences of the source.
    """

    lengths: NDArray[np.int32]
    segments: tuple[tuple[int, int], ...] = ()
    copied_segments: tuple[tuple[int, int], ...] = ()

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
        return self.copied_characters() / len(self.lengths) if len(self.lengths) else 0.0

    def copied_characters(self, longer_than: int = LONG) -> int:
        """Return the number of characters in copied runs that are longer than a limit.

        Args:
            longer_than: Length in characters that a copied run must exceed, 0 or more.
        """
        return sum(end - start for start, end in self.passages(longer_than))

    def evidence(self, longer_than: int = LONG) -> list[tuple[int, int]]:
        """Return the copied passages to show to a reader, the longest first, as pairs (start, end).

        These are the longest copied run of each passage, and the copied segments outside of these runs. In contrast
        to ``passages``, the text of each pair occurs in one place of the source.

        Args:
            longer_than: Length in characters that a copied run must exceed, 0 or more.
        """
        runs = []
        for start, end in self.passages(longer_than):
            last = start + int(self.lengths[start:end].argmax()) + 1
            runs.append((last - int(self.lengths[last - 1]), last))
        is_shown = np.zeros(len(self.lengths) + 1, bool)
        for start, end in runs:
            is_shown[start:end] = True
        segments = [(start, end) for start, end in self.copied_segments if not is_shown[start:end].all()]
        return sorted(runs + segments, key=lambda pair: pair[0] - pair[1])


def measure_memorization(
    text: str, source: str | Iterable[str], progress: ProgressCallback | None = None
) -> Memorization:
    """Measure the verbatim overlap of a text with a source, in memory proportional to the text only.

    Args:
        text: The text to check, T characters.
        source: The text to search: a string, or an iterable of its pieces in order.
        progress: Called with the number of searched characters and the total; the total is 0 for an iterable.
    """
    return measure_memorizations([text], source, progress)[0]


def measure_memorizations(
    texts: Sequence[str],
    source: str | Iterable[str],
    progress: ProgressCallback | None = None,
    segments: Sequence[list[tuple[int, int]]] | None = None,
) -> list[Memorization]:
    """Measure the verbatim overlap of each of several texts with a source, which is read only once.

    Args:
        texts: The texts to check.
        source: The text to search: a string, or an iterable of its pieces in order.
        progress: Called with the number of searched characters and the total; the total is 0 for an iterable.
        segments: The segments of each text to compare; default: all of ``find_segments``.
    """
    if segments is None:
        segments = [find_segments(text) for text in texts]
    parts = [np.append(code_points(text).astype(np.uint32), np.uint32(_BOUNDARY)) for text in texts]
    automaton = make_automaton(np.concatenate(parts) if len(parts) > 1 else parts[0][:-1])
    search = SegmentSearch(text[a:b] for text, pairs in zip(texts, segments, strict=True) for a, b in pairs)
    total, done = (len(source), 0) if isinstance(source, str) else (0, 0)
    for piece in (source,) if isinstance(source, str) else source:
        for start in range(0, len(piece), _BLOCK):
            block = piece[start : start + _BLOCK]
            automaton.read(code_points(block).astype(np.uint32))
            search.read(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    search.finish()
    lengths, first, results = automaton.lengths(), 0, []
    for text, pairs in zip(texts, segments, strict=True):
        copied = tuple((a, b) for a, b in pairs if text[a:b] in search.found)
        results.append(Memorization(lengths[first : first + len(text)], tuple(pairs), copied))
        first += len(text) + 1
    return results


@dataclass(frozen=True)
class PassageLocation:
    """Where a passage occurs first in the training text.

    Attributes:
        offset: Position of its first character in the text, in characters.
        line: Number of the line, from 1, in which the passage has its first character that is not whitespace; None if
            the corpus consists of records.
        record: Likewise the number of the record; None if the corpus does not consist of records.
    """

    offset: int
    line: int | None
    record: int | None


def locate_passages(passages: Sequence[str], training: TextSpan | TextRecords) -> list[PassageLocation | None]:
    """Find passages in the training text; None for a passage that does not occur in it.

    Args:
        passages: The passages, not empty.
        training: Training part of the corpus.
    """
    mark = training.mark if isinstance(training, TextRecords) else "\n"
    locations: list[PassageLocation | None] = [None] * len(passages)
    overlap = max(map(len, passages), default=1) - 1  # a passage may span pieces
    buffer, first, marks = "", 0, 0  # the searched text, its position in the part, and the number of marks before it
    for piece in training.pieces():
        kept = max(len(buffer) - overlap, 0)
        first, marks = first + kept, marks + buffer.count(mark, 0, kept)
        buffer = buffer[kept:] + piece
        for number, passage in enumerate(passages):
            if locations[number] is None and (position := buffer.find(passage)) >= 0:
                before = marks + buffer.count(mark, 0, position)
                in_line = position - buffer.rfind(mark, 0, position) - 1
                begun = passage[: len(passage) - len(passage.lstrip())].count(mark)
                locations[number] = _location(training, first + position, before, in_line, begun)
        if None not in locations:
            break
    return locations


def _location(
    training: TextSpan | TextRecords, position: int, marks: int, in_record: int, begun: int
) -> PassageLocation:
    """Return the location in the whole text of a position in its training part.

    Args:
        training: Training part of the corpus.
        position: The position.
        marks: Number of ends of lines or records before it.
        in_record: Number of characters between it and the last of these.
        begun: Number of these among the whitespace that follows.
    """
    if isinstance(training, TextSpan):
        return PassageLocation(training.first + position, marks + begun + 1, None)  # the training part comes first
    offset, _ = training.place(marks)
    _, number = training.place(marks + begun)
    is_line = training.mark == "\n"
    return PassageLocation(offset + in_record, number if is_line else None, None if is_line else number)


def copied_records(text: str, source: Iterable[str], mark: str = "\n") -> tuple[int, int]:
    """Count the non-empty records of a text and those that are also records of a source.

    Args:
        text: The text to check.
        source: Pieces of the source, each ending at the end of a record.
        mark: The character that ends each record; see ``TextFormat.mark``.

    Returns:
        The number of non-empty records and the number of copied records.
    """
    return copied_records_of_each([text], source, mark)[0]


def copied_records_of_each(texts: Iterable[str], source: Iterable[str], mark: str = "\n") -> list[tuple[int, int]]:
    """Return ``copied_records`` of each of several texts; the source is read only once."""
    records = [[record for record in text.split(mark) if record] for text in texts]
    distinct = {record for row in records for record in row}
    copied: set[str] = set()
    for piece in source:
        copied |= distinct.intersection(piece.split(mark))
    return [(len(row), sum(record in copied for record in row)) for row in records]


@dataclass(frozen=True)
class CopiedPassage:
    """A passage of a generated text that also occurs in the training text.

    Attributes:
        text: The passage.
        index: Index of the first generated text that contains it.
        location: Where it occurs first in the training text; None if it was not found again.
    """

    text: str
    index: int
    location: PassageLocation | None


def longest_passages(
    texts: Sequence[str],
    measured: Sequence[Memorization],
    training: TextSpan | TextRecords,
    longer_than: int = LONG,
    count: int = 3,
) -> list[CopiedPassage]:
    """Return the longest distinct copied passages of several texts, with their locations.

    Surrounding whitespace counts, as it does in ``Memorization.longest``; passages that differ only in it are one.

    Args:
        texts: The generated texts.
        measured: The memorization of each text.
        training: Training part of the corpus.
        longer_than: Length in characters that a copied run must exceed, 0 or more. Copied segments may be shorter.
        count: Maximum number of passages.
    """
    found: dict[str, tuple[str, int]] = {}  # each passage and the index of its text, by the passage without whitespace
    for index, (text, memorization) in enumerate(zip(texts, measured, strict=True)):
        for start, end in memorization.evidence(longer_than):
            passage = text[start:end]
            if (key := passage.strip()) and (key not in found or len(passage) > len(found[key][0])):
                found[key] = passage, index
    longest = sorted(found.values(), key=lambda pair: len(pair[0]), reverse=True)[:count]
    locations = locate_passages([passage for passage, _ in longest], training) if longest else []
    return [CopiedPassage(text, index, location) for (text, index), location in zip(longest, locations, strict=True)]


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
        segments: Number of generated lines and sentences that were compared; see ``charloom.inference.segments``.
        copied_segments: Number of these that are also lines or sentences of the training text.
        held_out_segments: ``segments`` for the held-out text; None if no text was held out.
        held_out_copied_segments: ``copied_segments`` for the held-out text; None if no text was held out.
        held_out_lines: ``lines`` for the held-out text; None if no text was held out.
        held_out_copied_lines: ``copied_lines`` for the held-out text; None if no text was held out.
        held_out_records: ``records`` for the held-out text; None if no text was held out.
        held_out_copied_records: ``copied_records`` for the held-out text; None if no text was held out.
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
    segments: int
    copied_segments: int
    held_out_segments: int | None
    held_out_copied_segments: int | None
    held_out_lines: int | None
    held_out_copied_lines: int | None
    held_out_records: int | None
    held_out_copied_records: int | None


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
    texts = [text, validation.head(_CHECK_LENGTH)] if len(validation) else [text]
    segments = [find_segments(text, last=False), *(held_out_segments(text, validation) for text in texts[1:])]
    measured = measure_memorizations(texts, searched.pieces(), segments=segments)
    generated, held_out = measured[0], measured[1] if len(validation) else None
    counts: list[tuple[int, int]] = []
    if isinstance(searched, TextRecords):
        mark = searched.mark
        complete = (text[: text.rfind(mark) + 1] for text in texts)  # the last record is incomplete
        counts = copied_records_of_each(complete, searched.pieces(), mark)
    is_lines = isinstance(searched, TextRecords) and searched.mark == "\n"
    unknown = [(None, None)] * 2
    lines, held_out_lines = [*(counts if is_lines else []), *unknown][:2]
    records, held_out_records = [*([] if is_lines else counts), *unknown][:2]
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
        segments=len(generated.segments),
        copied_segments=len(generated.copied_segments),
        held_out_segments=len(held_out.segments) if held_out else None,
        held_out_copied_segments=len(held_out.copied_segments) if held_out else None,
        held_out_lines=held_out_lines[0],
        held_out_copied_lines=held_out_lines[1],
        held_out_records=held_out_records[0],
        held_out_copied_records=held_out_records[1],
    )


def held_out_segments(head: str, part: TextSpan | TextRecords) -> list[tuple[int, int]]:
    """Return the complete segments of the first characters of a held-out part, which can begin within a line."""
    return find_segments(head, first=isinstance(part, TextRecords), last=False)


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
    texts = []
    for number, temperature in enumerate(SAMPLE_TEMPERATURES, 1):
        texts.append(model.generate_records(SAMPLE_LENGTH, temperature, seed))
        if progress is not None:
            progress(number, len(SAMPLE_TEMPERATURES))
    measured: Sequence[Memorization | None] = [None] * len(texts)
    if training is not None:
        segments = [find_segments(text, last=False) for text in texts]
        measured = measure_memorizations(texts, training.pieces(), segments=segments)
    return [MeasuredSample(*values) for values in zip(SAMPLE_TEMPERATURES, texts, measured, strict=True)]
