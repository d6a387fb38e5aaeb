"""How much of a text is copied: its longest runs that stand, character by character, in another text."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.code_points import code_points
from charloom.inference.suffix_automaton import make_automaton

LONG = 30
"""Characters: a longer run that stands in the training text counts as copied. Shorter ones are how a language is."""

_BLOCK = 1 << 20  # characters of the other text that are looked at at once


@dataclass(frozen=True)
class Novelty:
    """How much of a text stands in another.

    Attributes:
        lengths: For each character, how many up to it, it among them, stand together in the other text: int32 (T,).
    """

    lengths: NDArray[np.int32]

    @property
    def longest(self) -> int:
        """Characters of the longest run that is copied."""
        return int(self.lengths.max(initial=0))

    def passages(self, longer_than: int = LONG) -> list[tuple[int, int]]:
        """Return beginning and end of all that lies in copied runs longer than so many characters.

        Args:
            longer_than: 0 or more. Runs that touch or overlap are one passage, though each may be from elsewhere.
        """
        ends = np.flatnonzero(self.lengths > longer_than) + 1
        found: list[tuple[int, int]] = []
        for end in ends.tolist():
            begin = end - int(self.lengths[end - 1])
            while found and found[-1][1] >= begin:
                begin = min(begin, found.pop()[0])
            found.append((begin, end))
        return found

    @property
    def copied(self) -> float:
        """Share of the characters that lie in copied runs longer than ``LONG``."""
        if not len(self.lengths):
            return 0.0
        return sum(end - begin for begin, end in self.passages()) / len(self.lengths)


def copied_lines(text: str, source: Iterable[str]) -> tuple[int, int]:
    """Return how many lines a text has that are not empty, and how many of these are lines of another.

    Args:
        text: What may be copied.
        source: The pieces of the other, none of which ends within a line.
    """
    lines, known = [line for line in text.split("\n") if line], set()
    wanted = set(lines)
    for piece in source:
        known |= wanted.intersection(piece.split("\n"))
    return len(lines), sum(line in known for line in lines)


def novelty(text: str, source: str | Iterable[str], progress: Callable[[int, int], None] | None = None) -> Novelty:
    """Return how much of a text stands in another; memory grows with the first alone.

    Args:
        text: What may be copied.
        source: What from: a text, or its pieces in their order.
        progress: Told how many characters of it are read, and how many there are (0 if it comes in pieces).
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
    return Novelty(automaton.lengths())
