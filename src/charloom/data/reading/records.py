"""Split files into records: texts of any number of lines, separated by a line such as "%" or by blank lines."""

import re
from collections.abc import Iterable, Iterator

from charloom.data.reading.normalization import normalize_newlines
from charloom.data.text_format import BLANK, FILE, LABEL_MARK, RECORD_MARK
from charloom.errors import CorpusError, Notice

_MAX_HELD = 1 << 16  # characters of an unfinished line to hold back; a longer line is no separator
_NEVER = re.compile(r"(?!)")


class RecordSplitter:
    """Splits sources into records, each followed by ``RECORD_MARK``.

    A separator is a line that consists of the separator and optional spaces or tabs after it; the same characters
    inside a line are text. Blank lines around a record are removed. The end of a source ends a record.

    Args:
        records: The separator; see ``TextFormat.records``.

    Attributes:
        separators: Number of separator lines so far; a run of blank lines counts as one.
        empty: Number of empty records so far: separator lines without a text between them.
    """

    def __init__(self, records: str) -> None:
        self._records = records
        if records == BLANK:
            self._separator = re.compile(r"^(?:[ \t]*\n)+", re.MULTILINE)
        elif records == FILE:
            self._separator = _NEVER
        else:
            self._separator = re.compile(rf"^{re.escape(records.rstrip())}[ \t]*\n", re.MULTILINE)
        self.separators = self.empty = 0

    def split(self, pieces: Iterable[str], name: str) -> Iterator[str]:
        """Yield the records of a source in pieces.

        Args:
            pieces: The text of the source, in pieces.
            name: Name of the source in messages.

        Raises:
            CorpusError: If the text contains ``RECORD_MARK`` or ``LABEL_MARK``.
        """
        record = _Record()
        held, in_long_line, lines = "", False, 0
        after_separator = False  # whether the last thing before the current record was a separator of this source
        for number, piece in enumerate(_with_final_newline(normalize_newlines(pieces))):
            if number == 0:
                yield ""  # so that a file without records is not taken for a skipped one
            text = held + piece
            check_no_marks(text, name, lines + 1)
            if in_long_line:  # the beginning of this line has been yielded already
                rest, newline, text = text.partition("\n")
                yield from record.add(rest + newline)
                in_long_line = not newline
                lines += bool(newline)
            cut = text.rfind("\n") + 1
            block, held = text[:cut], text[cut:]
            lines += block.count("\n")
            start = 0
            for match in self._separator.finditer(block):
                yield from record.add(block[start : match.start()])
                self.separators += 1
                self.empty += after_separator and not record.is_open and self._records != BLANK
                yield from record.end()
                after_separator, start = True, match.end()
            yield from record.add(block[start:])
            if len(held) > _MAX_HELD:
                yield from record.add(held)
                held, in_long_line = "", True
        yield from record.end()

    def finish(self, notices: list[str], one_record: bool = False) -> None:
        """Check that the sources contained a separator, and report empty records.

        Args:
            notices: Receives a notice about empty records.
            one_record: Whether a text without a separator is one record instead of an error.

        Raises:
            CorpusError: If there was no separator.
        """
        if not (self.separators or one_record or self._records == FILE):
            what = "a blank line" if self._records == BLANK else f"a line {self._records!r}"
            raise CorpusError(
                f"--records {self._records}: the text does not contain {what}, so it is a single record. Pass the line "
                "that separates the records; blank, if blank lines do; or file, if each file is a record.",
                code="no_record_separator",
                separator=self._records,
            )
        if self.empty:
            noun = "record" if self.empty == 1 else "records"
            notices.append(
                Notice(f"Skipped {self.empty:,} empty {noun}.", code="empty_records_skipped", count=self.empty)
            )


def check_no_marks(text: str, name: str, line: int) -> None:
    """Raise ``CorpusError`` if a text contains ``RECORD_MARK`` or ``LABEL_MARK``.

    Args:
        text: Part of a file.
        name: Name of the file.
        line: Number of the first line of the part in the file, from 1.
    """
    for mark in (RECORD_MARK, LABEL_MARK):
        position = text.find(mark)
        if position >= 0:
            number = line + text.count("\n", 0, position)
            raise CorpusError(
                f"{name}, line {number:,}: the text contains U+{ord(mark):04X}, which charloom uses to mark records. "
                "Remove it from the file.",
                code="record_mark_in_text",
                path=name,
                line=number,
                code_point=f"U+{ord(mark):04X}",
            )


class _Record:
    """Yields one record at a time without the blank lines around it.

    Attributes:
        is_open: Whether a character of the current record has been yielded.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._held = ""  # the line feeds and blank lines after the last text, which are omitted at the record's end

    def add(self, lines: str) -> Iterator[str]:
        """Append lines to the current record."""
        if not self.is_open:
            first = len(lines) - len(lines.lstrip(" \t\n"))
            lines = lines[lines.rfind("\n", 0, first) + 1 :]  # keep the indentation of the first line
        last = len(lines.rstrip(" \t\n"))
        if not last:
            self._held += lines if self.is_open else ""
            return
        end = lines.find("\n", last)
        end = len(lines) if end < 0 else end  # keep the spaces after the last character of a line
        yield self._held + lines[:end]
        self._held, self.is_open = lines[end:], True

    def end(self) -> Iterator[str]:
        """End the current record, unless it is empty."""
        if self.is_open:
            yield RECORD_MARK
        self._held, self.is_open = "", False


def _with_final_newline(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text and, if missing, a line feed at its end, so that a separator on the last line is recognized."""
    last = "\n"
    for piece in pieces:
        last = piece[-1:] or last
        yield piece
    if last != "\n":
        yield "\n"
