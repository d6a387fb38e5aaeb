"""Segments of a text, its lines and sentences: the units in which short verbatim copies are counted.

A copied line of a poem can be shorter than any run of characters that is worth reporting. It is still recognizable as a
whole line of the training text.

A segment is a line; a line of more than ``LONG_LINE`` characters, as in prose, is divided into sentences. Segments are
compared without whitespace and punctuation at both ends. A text's segments of fewer than ``MIN_SEGMENT`` characters
(such as "Yes.") are not counted, because independent texts share them.
"""

import re
import string
import unicodedata
from collections.abc import Iterable

MIN_SEGMENT = 15
"""Minimum length of a segment in characters. A Chinese, Japanese or Korean character counts as three."""
LONG_LINE = 120
"""Lines of more characters than this are divided into sentences."""

_EDGES = (
    string.whitespace
    + string.punctuation
    + "\u2026\u201c\u201d\u2018\u2019\u201e\u201a\u00ab\u00bb\u2013\u2014\u00bf\u00a1"
    + "\u3000\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a\u300c\u300d\u300e\u300f\ufeff"
)
_SENTENCE_END = re.compile(
    "[.!?\u2026]+[\"'\u201d\u2019\u00bb)\\]]*\\s+|[\u3002\uff01\uff1f]+[\u201d\u2019\u300d\u300f]*"
)
_WIDE = 2  # additional characters that a wide character counts as
_MAX_REST = 1 << 16  # characters of an unfinished line that are kept until the next block


def find_segments(text: str, first: bool = True, last: bool = True) -> list[tuple[int, int]]:
    """Return the segments of a text that are long enough to be counted, as pairs (start, end).

    Args:
        text: The text.
        first: Whether the text begins at the start of a line. If not, its first segment is omitted.
        last: Whether the text ends at the end of a line. If not, its last segment is omitted.
    """
    pieces = []
    start = 0
    for line in _unified(text).split("\n"):
        pieces += [(start + a, start + b) for a, b in _cuts(line)]
        start += len(line) + 1
    pieces = pieces[0 if first else 1 : len(pieces) if last else -1]
    segments = []
    for start, end in pieces:
        piece = text[start:end]
        segment = piece.strip(_EDGES)
        if _size(segment) >= MIN_SEGMENT:
            start += len(piece) - len(piece.lstrip(_EDGES))
            segments.append((start, start + len(segment)))
    return segments


class SegmentSearch:
    """Finds which of some segments are also segments of a source, which is passed to ``read`` in blocks.

    Args:
        segments: The segments to find, without whitespace and punctuation at both ends.
    """

    def __init__(self, segments: Iterable[str]) -> None:
        self._segments = set(segments)
        self._rest = ""
        self.found: set[str] = set()

    def read(self, block: str) -> None:
        """Process the next block of the source; segments may span blocks."""
        if not self._segments:
            return
        text = self._rest + _unified(block)
        cut = text.rfind("\n") + 1
        if len(text) - cut > _MAX_REST:  # a text without lines: continue after its last complete sentence
            ends = [match.end() for match in _SENTENCE_END.finditer(text, len(text) - _MAX_REST)]
            cut = ends[-1] if ends else len(text)
        self._rest = text[cut:]
        self._search(text[:cut])

    def finish(self) -> None:
        """Process the last line of the source."""
        self._search(self._rest)
        self._rest = ""

    def _search(self, text: str) -> None:
        lines = text.split("\n")
        self.found |= self._segments.intersection([line.strip(_EDGES) for line in lines])
        for line in lines:
            if len(line) > LONG_LINE:
                self.found |= self._segments.intersection([s.strip(_EDGES) for s in _SENTENCE_END.split(line)])


def _unified(text: str) -> str:
    """Replace the ends of lines, records and labels by line feeds, at the same positions."""
    for mark in "\r\x1e\x1f":
        text = text.replace(mark, "\n")
    return text


def _cuts(line: str) -> list[tuple[int, int]]:
    """Return the positions of the segments of a line as pairs (start, end)."""
    if len(line) <= LONG_LINE:
        return [(0, len(line))]
    ends = [*(match.end() for match in _SENTENCE_END.finditer(line)), len(line)]
    return list(zip([0, *ends], ends, strict=False))


def _size(segment: str) -> int:
    if segment.isascii():
        return len(segment)
    return len(segment) + _WIDE * sum(unicodedata.east_asian_width(c) in "WF" for c in segment)
