"""Read one column of a table (CSV, TSV, JSON Lines, or a JSON array of objects) as separate texts."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from charloom._util.suggest import did_you_mean, suggestions
from charloom.data.reading.normalization import normalize_newlines
from charloom.data.reading.records import check_no_marks
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextFormat
from charloom.errors import CorpusError, Notice

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
_COMPRESSED = (".gz", ".xz", ".zst", ".bz2")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_OTHER_DELIMITERS = (";", "\t", ",", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_MAX_VALUE = 1 << 26  # characters of a CSV field or of an element of a JSON array, so that memory stays bounded
_MAX_LABELS = 1_000
_MAX_LABEL = 1_000  # characters
_MAX_SHOWN = 40  # characters of a value shown in an error message
_MAX_LINES_SHOWN = 3
_CORRECT = "Correct the file at this place."
_SPACE = re.compile(r"\s*")
_LINE_BREAK = re.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class _Row:
    """One row of a table.

    Attributes:
        first: First line of the row in the file, from 1.
        last: Last line of the row.
        text: The value of the column; None if it is null or missing.
        label: The value of the label column; None if it is null, missing or not requested.
    """

    first: int
    last: int
    text: str | None
    label: str | None = None


def table_kind(name: str, text_format: TextFormat) -> str | None:
    """Return the format of a file: "csv", "tsv", "jsonl" or "json"; None if its name does not tell.

    Args:
        name: Name of the file; a suffix of a compression format is ignored.
        text_format: Its ``table`` takes precedence over the name.
    """
    if text_format.table != "auto":
        return text_format.table
    stem = name.lower()
    for compressed in _COMPRESSED:
        stem = stem.removesuffix(compressed)
    return next((kind for suffix, kind in _SUFFIXES.items() if stem.endswith(suffix)), None)


def unsupported_table(name: str) -> CorpusError:
    """Return the error for a file whose name does not tell its format."""
    return CorpusError(
        f"--column cannot read {name}: it supports files that end with {', '.join(_SUFFIXES)}, optionally followed by "
        f"{', '.join(_COMPRESSED)}. Pass --table to state the format of a file with another name.",
        code="unsupported_table_format",
        path=name,
        accepted=list(_SUFFIXES),
    )


class TableReader:
    """Reads the texts of a column from several files.

    With ``text_format.lines`` each text is one line, followed by a line feed; line breaks inside a value become spaces.
    Otherwise each text is a record, preceded by its label and ``LABEL_MARK`` if labels are requested, and followed by
    ``RECORD_MARK``; its line breaks become line feeds.

    Args:
        text_format: How to read the files; ``column`` is set.
        notices: Receives notices about changed and skipped values.
    """

    def __init__(self, text_format: TextFormat, notices: list[str]) -> None:
        assert text_format.column is not None
        self._format, self._column, self._notices = text_format, text_format.column, notices
        self._labels: set[str] = set()
        self._surrogates: list[int] = []  # lines with a lone surrogate in the current file

    def read(self, pieces: Iterable[str], name: str, kind: str | None) -> Iterator[str]:
        """Yield the texts of a file, each with its line feed or marks.

        Args:
            pieces: The text of the file.
            name: Name of the file in messages.
            kind: Format of the file; None to detect it from its first character.

        Raises:
            CorpusError: If the file is invalid or has no such column, or a value is not text.
        """
        if kind is None:
            start, pieces = _beginning(pieces)
            kind = {"{": "jsonl", "[": "json"}.get(start)
        if kind == "json":
            rows = self._json_rows(pieces, name)
        elif kind == "jsonl":
            rows = self._json_line_rows(pieces, name)
        else:
            rows = self._csv_rows(pieces, name, kind)
        return self._texts(rows, name)

    def _texts(self, rows: Iterator[_Row], name: str) -> Iterator[str]:
        """Yield the texts of rows, and report skipped and changed values."""
        empty, joined, spanning = _Lines(), _Lines(), _Lines()
        yield ""  # so that a table without rows is not taken for a skipped file
        for row in rows:
            text = row.text
            if not text or (not self._format.lines and not text.strip()):
                empty.add(row.first, row.first)
                if text is not None and self._format.lines:
                    yield "\n"  # an empty line, which is no text either
                continue
            if self._format.lines and ("\n" in text or "\r" in text):
                joined.add(row.first, row.last)
                text = self._as_line(text)
            elif row.last > row.first:
                spanning.add(row.first, row.last)
            yield text + "\n" if self._format.lines else self._as_record(text, row, name)
        if empty.count:
            self._notices.append(
                Notice(
                    f"Skipped {empty.counted('row')} of {name} without a text in column {self._column!r} ({empty}).",
                    code="rows_without_text_skipped",
                    path=name,
                    count=empty.count,
                    lines=[first for first, _ in empty.spans],
                )
            )
        if joined.count:
            self._notices.append(
                Notice(
                    f"Replaced the line breaks in {joined.counted('value')} of {name} by spaces, because each value is "
                    f"one line ({joined}).",
                    code="line_breaks_replaced",
                    path=name,
                    count=joined.count,
                    lines=[list(span) for span in joined.spans],
                )
            )
        if spanning.count:
            self._notices.append(
                Notice(
                    f"Read fields of several lines in {spanning.counted('row')} of {name} ({spanning}; the longest in "
                    f"{_span(*spanning.longest)}). If quotation marks are ordinary characters in this file, pass "
                    "--quoting none.",
                    code="rows_of_several_lines",
                    path=name,
                    count=spanning.count,
                    lines=[list(span) for span in spanning.spans],
                    longest=list(spanning.longest),
                )
            )

    @staticmethod
    def _as_line(text: str) -> str:
        *lines, last = _LINE_BREAK.split(text)
        return " ".join([*lines, last] if last else lines)

    def _as_record(self, text: str, row: _Row, name: str) -> str:
        text = "".join(normalize_newlines([text])).strip("\n")
        check_no_marks(text, name, row.first)
        if self._format.label is None:
            return text + RECORD_MARK
        return f"{self._check_label(row, name)}{LABEL_MARK}{text}{RECORD_MARK}"

    def _check_label(self, row: _Row, name: str) -> str:
        label = row.label
        if not label or not label.strip() or not label.isprintable() or len(label) > _MAX_LABEL:
            raise self._invalid_label(label, name, row.first)
        self._labels.add(label)
        if len(self._labels) > _MAX_LABELS:
            raise CorpusError(
                f"{name}, line {row.first:,}: column {self._format.label!r} has more than {_MAX_LABELS:,} different "
                "values, so it probably does not contain labels. Pass the name of another column with --label.",
                code="too_many_labels",
                path=name,
                line=row.first,
                column=self._format.label,
                maximum=_MAX_LABELS,
            )
        return label

    def _invalid_label(self, label: str | None, name: str, line: int) -> CorpusError:
        shown = "no label" if not label else repr(label[:_MAX_SHOWN])
        return CorpusError(
            f"{name}, line {line:,}: column {self._format.label!r} has {shown}, but each row needs a label: 1 to "
            f"{_MAX_LABEL:,} printable characters. Correct or remove the row.",
            code="invalid_label",
            path=name,
            line=line,
            column=self._format.label,
            value=label and label[:_MAX_SHOWN],
        )

    # --- CSV and TSV

    def _csv_rows(self, pieces: Iterable[str], name: str, kind: str | None) -> Iterator[_Row]:
        """Yield the rows of a CSV or TSV file; with ``kind`` None, a tab as the delimiter makes it TSV."""
        lines = whole_lines(_with_line_feeds(pieces))
        first, number = next(lines, ""), 1  # the header and its line number
        stated = re.fullmatch(r"sep=(.)\s*", first)
        while first and (not first.strip("\r\n") or (stated and number == 1)):
            first, number = next(lines, ""), number + 1
        is_quoted = kind != "tsv" if self._format.quoting == "auto" else self._format.quoting == "standard"
        delimiter = self._delimiter(first, name, kind, stated[1] if stated else "", is_quoted)
        if kind is None and self._format.quoting == "auto":
            is_quoted = delimiter != "\t"
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_VALUE))  # a setting of the whole process
        rows = csv.reader(chain([first], lines), delimiter=delimiter, quoting=quoting, strict=True)
        begin, cut = number, _Lines()
        try:
            header = next(rows, [])
            text_at, label_at = self._position(self._column, header, name, is_quoted), None
            if self._format.label is not None:
                label_at = self._position(self._format.label, header, name, is_quoted)
            begin = number + rows.line_num
            for row in rows:
                end = number + rows.line_num - 1
                if row:
                    needed = max(text_at, label_at or 0)
                    if len(row) <= needed:
                        raise self._missing_field(name, begin, header[needed], len(row), len(header), is_quoted)
                    if any(row[len(header) :]):
                        cut.add(begin, end)
                    yield _Row(begin, end, row[text_at], None if label_at is None else row[label_at])
                begin = end + 1
        except csv.Error as error:
            raise self._invalid_table(name, begin, number + rows.line_num - 1, str(error), is_quoted) from None
        if cut.count:
            self._notices.append(
                Notice(
                    f"Left out the fields after the last column in {cut.counted('row')} of {name} ({cut}): a text that "
                    "contains the delimiter may be cut. Correct these rows, or pass the right --delimiter or "
                    "--quoting.",
                    code="rows_with_extra_fields",
                    path=name,
                    count=cut.count,
                    lines=[list(span) for span in cut.spans],
                )
            )

    def _delimiter(self, header: str, name: str, kind: str | None, stated: str, is_quoted: bool) -> str:
        """Choose the delimiter: the given one, the one stated in the file, or one under which the column exists."""
        if self._format.delimiter:
            return self._format.delimiter
        if stated:
            return stated
        default = _DELIMITERS[kind or "csv"]
        needed = {self._column} | ({self._format.label} if self._format.label is not None else set())
        for delimiter in (default, *_OTHER_DELIMITERS):
            try:
                fields = _fields(header, delimiter, is_quoted)
            except csv.Error:
                continue
            if needed <= set(fields):
                if delimiter != default:
                    self._notices.append(
                        Notice(
                            f"The fields of {name} are separated by {_NAMES[delimiter]}.",
                            code="delimiter_detected",
                            path=name,
                            delimiter=delimiter,
                        )
                    )
                return delimiter
        return max((default, *_OTHER_DELIMITERS), key=header.count) if default not in header else default

    @staticmethod
    def _position(column: str, header: list[str], name: str, is_quoted: bool) -> int:
        if column not in header:
            if not is_quoted and f'"{column}"' in header:
                raise CorpusError(
                    f"{name}: the column names are in quotation marks, which are ordinary characters in this file. "
                    "Pass --quoting standard if they enclose the fields.",
                    code="quoted_header",
                    path=name,
                    column=column,
                )
            raise _unknown_column(name, None, column, header)
        if header.count(column) > 1:
            raise CorpusError(
                f"{name}: {header.count(column)} columns have the name {column!r}. Rename them in the first row.",
                code="duplicate_column",
                path=name,
                column=column,
            )
        return header.index(column)

    @staticmethod
    def _missing_field(name: str, line: int, column: str, fields: int, expected: int, is_quoted: bool) -> CorpusError:
        hint = " If quotation marks are ordinary characters in this file, pass --quoting none." if is_quoted else ""
        return CorpusError(
            f"{name}, line {line:,}: the row has no field for column {column!r} ({fields} of {expected} fields). "
            f"Correct the row.{hint}",
            code="missing_field",
            path=name,
            line=line,
            column=column,
            fields=fields,
        )

    @staticmethod
    def _invalid_table(name: str, first: int, last: int, reason: str, is_quoted: bool) -> CorpusError:
        """Return the error for a row that the csv module rejects, with its first line."""
        advice = "Correct the row."
        if is_quoted:
            advice += " If quotation marks are ordinary characters in this file, pass --quoting none."
        if "unexpected end of data" in reason:
            problem = "a quotation mark opens a field that is never closed"
        elif "expected after" in reason:
            problem = "a quotation mark that closes a field is followed by other characters"
        elif "field larger than" in reason:
            problem = f"a field has more than {_MAX_VALUE:,} characters"
            problem += ", probably because a quotation mark is never closed" if is_quoted else ""
        elif "new-line character" in reason:
            problem = "a field without quotation marks contains a carriage return"
            advice = "Remove it."
        else:
            problem = reason
        return CorpusError(
            f"{name}, {_span(first, max(first, last))}: invalid CSV or TSV: {problem}. {advice}",
            code="invalid_table",
            path=name,
            line=first,
            last_line=last,
            reason=reason,
        )

    # --- JSON

    def _checked(self, text: str, name: str, line: int) -> str:
        """Return a string of a JSON file, with lone surrogates treated as ``errors`` requires."""
        if text.isascii() or not any(map(_is_lone_surrogate, set(text))):
            return text
        if self._format.errors == "strict":
            found = next(filter(_is_lone_surrogate, text))
            raise CorpusError(
                f"{name}, line {line:,}: the text contains half a character (lone surrogate U+{ord(found):04X}), "
                "which remains when an emoji is cut. Pass --errors replace to read it as U+FFFD, or --errors skip to "
                "omit it.",
                code="lone_surrogate",
                path=name,
                line=line,
                code_point=f"U+{ord(found):04X}",
            )
        self._surrogates.append(line)
        replacement = "\ufffd" if self._format.errors == "replace" else ""
        return "".join(replacement if _is_lone_surrogate(c) else c for c in text)

    def _report_surrogates(self, name: str) -> None:
        if not self._surrogates:
            return
        handling = "replaced by U+FFFD" if self._format.errors == "replace" else "omitted"
        self._notices.append(
            Notice(
                f"{name}: half characters (lone surrogates) are {handling}; number of values: "
                f"{len(self._surrogates):,}, the first in line {self._surrogates[0]:,}.",
                code="lone_surrogates_changed",
                path=name,
                count=len(self._surrogates),
                line=self._surrogates[0],
            )
        )
        self._surrogates = []

    def _json_line_rows(self, pieces: Iterable[str], name: str) -> Iterator[_Row]:
        return self._objects(self._parsed_lines(pieces, name), name)

    @staticmethod
    def _parsed_lines(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(whole_lines(_with_line_feeds(pieces)), 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                advice = "Correct the line, or remove it. Each object must be on one line, or all in one array."
                raise _invalid_json(name, number, error, advice) from None

    def _json_rows(self, pieces: Iterable[str], name: str) -> Iterator[_Row]:
        start, pieces = _beginning(pieces)
        if start != "[":  # also the form of many .json files: one object per line
            return self._json_line_rows(pieces, name)
        return self._objects(_array_elements(pieces, name), name)

    def _objects(self, elements: Iterator[tuple[int, Any]], name: str) -> Iterator[_Row]:
        """Yield the rows of JSON objects with their line numbers."""
        first: tuple[int, list[str]] | None = None  # line and keys of the first object
        seen: set[str] = set()  # the requested columns that an object has had
        needed = [self._column] + ([self._format.label] if self._format.label is not None else [])
        for line, element in elements:
            if not isinstance(element, dict):
                value = json.dumps(element)[:_MAX_SHOWN]
                raise CorpusError(
                    f'{name}, line {line:,}: expected a JSON object such as {{"{self._column}": "..."}}, got {value}.',
                    code="not_a_json_object",
                    path=name,
                    line=line,
                    value=value,
                )
            first = first or (line, list(element))
            seen.update(column for column in needed if column in element)
            text = element.get(self._column)
            if text is not None and not isinstance(text, str):
                value = json.dumps(text)[:_MAX_SHOWN]
                raise CorpusError(
                    f"{name}, line {line:,}: {self._column!r} must be a string or null, got {value}. Convert the value "
                    "to a string, or remove the row.",
                    code="value_not_text",
                    path=name,
                    line=line,
                    column=self._column,
                    value=value,
                )
            label = None if self._format.label is None else element.get(self._format.label)
            if isinstance(label, (dict, list)):
                raise self._invalid_label(json.dumps(label), name, line)
            if label is not None and not isinstance(label, str):
                label = json.dumps(label)
            yield _Row(line, line, text and self._checked(text, name, line), label and self._checked(label, name, line))
        self._report_surrogates(name)
        for column in needed:
            if first is not None and column not in seen:
                raise _unknown_column(name, first[0], column, first[1])


def _is_lone_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _array_elements(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """Yield the elements of a JSON array with their line numbers, in memory proportional to one element."""
    decoder, source = json.JSONDecoder(), iter(pieces)
    text, position, line = "", 0, 1
    expected = "["  # the next structural character: "[" at the start, then "," or "]", or "" before an element
    can_end = False
    while True:
        # 1. Skip white space; read more text if there is none left.
        skipped = _SPACE.match(text, position)
        assert skipped is not None
        line += text.count("\n", position, skipped.end())
        position = skipped.end()
        if position == len(text):
            piece = next(source, None)
            if piece is None:
                raise _invalid_json(name, line, "the array is not closed", _CORRECT)
            text, position = piece, 0
            continue
        # 2. Read a structural character.
        if can_end and text[position] == "]":
            break
        if expected:
            if text[position] != expected:
                raise _invalid_json(name, line, f"expected {expected!r}, got {text[position]!r}", _CORRECT)
            position, can_end, expected = position + 1, expected == "[", ""
            continue
        # 3. Decode an element; if it is incomplete, read more.
        try:
            element, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            piece = next(source, None) if _may_be_incomplete(error, len(text)) else None
            if piece is None or len(text) - position > _MAX_VALUE:
                place = error.pos if isinstance(error, json.JSONDecodeError) else position
                raise _invalid_json(name, line + text.count("\n", position, place), error, _CORRECT) from None
            text, position = text[position:] + piece, 0
            continue
        yield line, element
        line += text.count("\n", position, end)
        position, can_end, expected = end, True, ","
    if text[position + 1 :].strip() or any(piece.strip() for piece in source):
        raise _invalid_json(name, line, "text after the end of the array", _CORRECT)


def _may_be_incomplete(error: Exception, length: int) -> bool:
    """Return whether more text could repair a JSON error."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - 8  # inside a literal or an escape


def _invalid_json(name: str, line: int, error: object, advice: str) -> CorpusError:
    reason = re.sub("( starting)? at$", "", error.msg) if isinstance(error, json.JSONDecodeError) else str(error)
    return CorpusError(
        f"{name}, line {line:,}: invalid JSON: {reason}. {advice}",
        code="invalid_json",
        path=name,
        line=line,
        reason=reason,
    )


def _beginning(pieces: Iterable[str]) -> tuple[str, Iterator[str]]:
    """Return the first character that is not white space, and all pieces."""
    read: list[str] = []
    source = iter(pieces)
    for piece in source:
        read.append(piece)
        if piece.strip():
            break
    return "".join(read).lstrip()[:1], chain(read, source)


def _with_line_feeds(pieces: Iterable[str]) -> Iterator[str]:
    """Convert CRs to LF if the first line ends with a lone CR, as in a file in the old format of the Macintosh."""
    read: list[str] = []
    source = iter(pieces)
    for piece in source:
        read.append(piece)
        if "\n" in piece or "\r" in piece[:-1]:
            break
    end = _LINE_BREAK.search("".join(read))
    whole = chain(read, source)
    return normalize_newlines(whole) if end is not None and end[0] == "\r" else whole


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Split a text that arrives in pieces into lines, each with its line feed, which the last line may lack."""
    pending: list[str] = []  # the parts of an incomplete line
    for piece in pieces:
        first, *rest = piece.split("\n")
        pending.append(first)
        if rest:
            yield "".join(pending) + "\n"
            yield from (line + "\n" for line in rest[:-1])
            pending = [rest[-1]]
    if any(pending):
        yield "".join(pending)


def _fields(header: str, delimiter: str, is_quoted: bool) -> list[str]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    return next(csv.reader([header], delimiter=delimiter, quoting=quoting), [])


class _Lines:
    """Counts rows, and keeps the first and last line of the first ones and of the longest one."""

    def __init__(self) -> None:
        self.count, self.spans, self.longest = 0, list[tuple[int, int]](), (0, 0)

    def __str__(self) -> str:
        """Describe the first rows: "line 3, lines 7 to 9 and others"."""
        return ", ".join(_span(*span) for span in self.spans) + (" and others" if self.count > len(self.spans) else "")

    def add(self, first: int, last: int) -> None:
        self.count += 1
        if len(self.spans) < _MAX_LINES_SHOWN:
            self.spans.append((first, last))
        if last - first > self.longest[1] - self.longest[0]:
            self.longest = (first, last)

    def counted(self, noun: str) -> str:
        """Return the number of rows with a noun."""
        return f"{self.count:,} {noun}{'' if self.count == 1 else 's'}"


def _span(first: int, last: int) -> str:
    return f"line {first:,}" if first == last else f"lines {first:,} to {last:,}"


def _unknown_column(name: str, line: int | None, column: str, known: list[str]) -> CorpusError:
    where = name if line is None else f"{name}, line {line}"
    hint = did_you_mean(column, known, repr)
    return CorpusError(
        f"{where}: no column {column!r}.{hint} Available columns: {', '.join(map(repr, known[:20])) or 'none'}.",
        code="unknown_column",
        path=name,
        line=line,
        column=column,
        columns=known[:20],
        suggestions=suggestions(column, known),
    )
