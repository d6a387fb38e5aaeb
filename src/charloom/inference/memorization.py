"""Measure memorization: how much of a text is copied verbatim from another, such as the one a model was trained on."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom.data.splits import TextLines, TextSpan, TextView
from charloom.data.vocabulary.characters import code_points
from charloom.inference.model import Model
from charloom.inference.suffix_automaton import make_automaton

LONG = 30
"""Characters: a longer run that also occurs in the training text counts as copied. Any author shares shorter ones."""

SAMPLE_TEMPERATURES = (0.5, 0.8, 1.0)
SAMPLE_LENGTH = 2000  # characters generated at each of these temperatures

_BLOCK = 1 << 20  # characters of the source that are read at once
_CHECK_LENGTH = 5_000  # characters generated after a training, and characters of the held-out text beside them
_MAX_SEARCHED = 20_000_000  # characters of the training text that are searched after a training: some seconds


@dataclass(frozen=True)
class Memorization:
    """How much of a text is copied from a source.

    Attributes:
        lengths: For each character the length of the longest run ending there that also occurs in the source, int32
            (T,).
    """

    lengths: NDArray[np.int32]

    @property
    def longest(self) -> int:
        """Length of the longest copied run, in characters."""
        return int(self.lengths.max(initial=0))

    def passages(self, longer_than: int = LONG) -> list[tuple[int, int]]:
        """Return start and end of each copied passage: a union of copied runs longer than ``longer_than`` characters.

        Args:
            longer_than: 0 or more. Runs that touch or overlap are one passage, though each may come from elsewhere.
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
        """Share of the characters that lie in copied runs longer than ``LONG``, in [0, 1]."""
        if not len(self.lengths):
            return 0.0
        return sum(end - start for start, end in self.passages()) / len(self.lengths)


def measure_memorization(
    text: str, source: str | Iterable[str], progress: ProgressCallback | None = None
) -> Memorization:
    """Find what a text has in common with a source; memory grows with the text, not with the source.

    Args:
        text: The text that may be copied, T characters.
        source: The text it may be copied from, whole or as its pieces in order.
        progress: Called with the characters of the source read so far and their total (0 if it comes in pieces).
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


def copied_lines(text: str, source: Iterable[str]) -> tuple[int, int]:
    """Return the number of non-empty lines of a text, and how many of them are also lines of a source.

    Args:
        text: The text that may be copied.
        source: The pieces of the source, each of which ends at the end of a line.
    """
    lines = [line for line in text.split("\n") if line]
    distinct, copied = set(lines), set()
    for piece in source:
        copied |= distinct.intersection(piece.split("\n"))
    return len(lines), sum(line in copied for line in lines)


@dataclass(frozen=True)
class MemorizationCheck:
    """Memorization of a model that has just been trained, with the held-out text as the expected value.

    Attributes:
        characters: Length of the text that the model generated for this.
        copied: Share of it that lies in copied runs longer than ``LONG``, in [0, 1].
        longest: Length of the longest copied run, in characters.
        held_out_copied: ``copied`` of equally much held-out text; None without a held-out text.
        held_out_longest: ``longest`` of the same.
        searched: Characters of the training text that were searched, from its start.
        lines: Number of generated lines, in a corpus of lines; else None.
        copied_lines: How many of them are lines of the training text.
    """

    characters: int
    copied: float
    longest: int
    held_out_copied: float | None
    held_out_longest: int | None
    searched: int
    lines: int | None
    copied_lines: int | None


def check_memorization(
    model: Model, training: TextSpan | TextLines, validation: TextSpan | TextLines, seed: int
) -> MemorizationCheck:
    """Generate a text and search for it in the training text.

    Args:
        model: The trained model.
        training: The training part of its corpus, of which the first 20 million characters are searched.
        validation: The validation part; may be empty.
        seed: Seed of the generated text.
    """
    text = model.generate(length=_CHECK_LENGTH, seed=seed)
    searched = training.beginning(_MAX_SEARCHED)
    generated = measure_memorization(text, searched.pieces())
    held_out = measure_memorization(validation.head(_CHECK_LENGTH), searched.pieces()) if len(validation) else None
    lines = copied = None
    if isinstance(searched, TextLines):
        lines, copied = copied_lines(text[: text.rfind("\n") + 1], searched.pieces())  # the last one is incomplete
    return MemorizationCheck(
        characters=len(text),
        copied=generated.copied,
        longest=generated.longest,
        held_out_copied=held_out.copied if held_out else None,
        held_out_longest=held_out.longest if held_out else None,
        searched=len(searched),
        lines=lines,
        copied_lines=copied,
    )


@dataclass(frozen=True)
class MeasuredSample:
    """A generated text and its memorization.

    Attributes:
        temperature: Temperature it was generated at.
        text: The generated text.
        memorization: Compared with the training text; None where that is not available.
    """

    temperature: float
    text: str
    memorization: Memorization | None


def measured_samples(
    model: Model, training: TextView | None, seed: int = 0, progress: ProgressCallback | None = None
) -> list[MeasuredSample]:
    """Generate a text at each of ``SAMPLE_TEMPERATURES`` and search for it in the training text.

    Args:
        model: The model.
        training: Its training text; None if it is not available.
        seed: Seed of all samples.
        progress: Called with the number of samples that are done and their total.
    """
    samples = []
    for number, temperature in enumerate(SAMPLE_TEMPERATURES, 1):
        text = model.generate(length=SAMPLE_LENGTH, temperature=temperature, seed=seed)
        copied = None if training is None else measure_memorization(text, training.pieces())
        samples.append(MeasuredSample(temperature, text, copied))
        if progress is not None:
            progress(number, len(SAMPLE_TEMPERATURES))
    return samples
