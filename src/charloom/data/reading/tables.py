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
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextFormat
from charloom.errors import CorpusError, Notice

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
_COMPRESSED = (".gz", ".xz", ".zst", ".bz2")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_OTHER_DELIMITERS = (";", "\t", ",", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_FIELD_LIMIT = 2**31 - 1  # characters; the largest limit that the csv module accepts on every platform
_MAX_ELEMENT = 1 << 26  # characters of one element of a JSON array
_MAX_LABELS = 1_000
_MAX_LABEL = 1_000  # characters
_MAX_SHOWN = 40  # characters of a value shown in an error message
_MAX_LINES_SHOWN = 3
_SPACE = re.compile(r"\s*")


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
            kind = {"{": "jsonl", "[": "json"}.get(start, "csv")
        if kind == "json":
            rows = self._json_rows(pieces, name)
        elif kind == "jsonl":
            rows = self._json_line_rows(pieces, name)
        else:
            rows = self._csv_rows(pieces, name, kind)
        return self._texts(rows, name)

    def _texts(self, rows: Iterator[_Row], name: str) -> Iterator[str]:
        """Yield the texts of rows, and report skipped and changed values."""
        empty: list[int] = []
        joined: list[tuple[int, int]] = []
        num_empty = num_joined = 0
        yield ""  # so that a table without rows is not taken for a skipped file
        for row in rows:
            text = row.text
            if text is None or (not self._format.lines and not text.strip()):
                num_empty += 1
                empty += [row.first] * (len(empty) < _MAX_LINES_SHOWN)
                continue
            if "\n" in text or "\r" in text:
                num_joined += 1
                joined += [(row.first, row.last)] * (len(joined) < _MAX_LINES_SHOWN)
            yield self._as_line(text) if self._format.lines else self._as_record(text, row, name)
        if num_empty:
            self._notices.append(
                Notice(
                    f"Skipped {num_empty:,} rows of {name} without a text in column {self._column!r} "
                    f"({_lines_shown([(line, line) for line in empty], num_empty)}).",
                    code="rows_without_text_skipped",
                    path=name,
                    count=num_empty,
                    lines=empty,
                )
            )
        if num_joined and self._format.lines:
            self._notices.append(
                Notice(
                    f"Replaced the line breaks in {num_joined:,} values of {name} by spaces, because each value is one "
                    f"line ({_lines_shown(joined, num_joined)}).",
                    code="line_breaks_replaced",
                    path=name,
                    count=num_joined,
                    lines=[list(span) for span in joined],
                )
            )

    @staticmethod
    def _as_line(text: str) -> str:
        return " ".join(text.splitlines() if "\n" in text or "\r" in text else [text]) + "\n"

    def _as_record(self, text: str, row: _Row, name: str) -> str:
        text = "".join(normalize_newlines([text])).strip("\n")
        for mark in (RECORD_MARK, LABEL_MARK):
            if mark in text:
                raise CorpusError(
                    f"{name}, line {row.first:,}: the text contains U+{ord(mark):04X}, which charloom uses to mark "
                    "records. Remove it from the file.",
                    code="record_mark_in_text",
                    path=name,
                    line=row.first,
                    code_point=f"U+{ord(mark):04X}",
                )
        if self._format.label is None:
            return text + RECORD_MARK
        return f"{self._check_label(row, name)}{LABEL_MARK}{text}{RECORD_MARK}"

    def _check_label(self, row: _Row, name: str) -> str:
        label = row.label
        if not label or not label.isprintable() or len(label) > _MAX_LABEL:
            shown = "no label" if not label else repr(label[:_MAX_SHOWN])
            raise CorpusError(
                f"{name}, line {row.first:,}: column {self._format.label!r} has {shown}, but each row needs a label: 1 "
                f"to {_MAX_LABEL:,} printable characters. Correct or remove the row.",
                code="invalid_label",
                path=name,
                line=row.first,
                column=self._format.label,
                value=label and label[:_MAX_SHOWN],
            )
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

    # --- CSV and TSV

    def _csv_rows(self, pieces: Iterable[str], name: str, kind: str) -> Iterator[_Row]:
        lines = whole_lines(_with_line_feeds(pieces))
        first = next(lines, "")
        number = 1  # of the header's line
        stated = re.fullmatch(r"sep=(.)\n?", first)
        if stated:
            first, number = next(lines, ""), 2
        is_quoted = kind == "csv" if self._format.quoting == "auto" else self._format.quoting == "standard"
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
        delimiter = self._delimiter(first, name, kind, stated[1] if stated else "", quoting)
        csv.field_size_limit(_FIELD_LIMIT)  # a setting of the process, which only limits the length of fields
        rows = csv.reader(chain([first], lines), delimiter=delimiter, quoting=quoting, strict=True)
        begin = number
        try:
            header = next(rows, [])
            text_at, label_at = self._position(self._column, header, name), None
            if self._format.label is not None:
                label_at = self._position(self._format.label, header, name)
            begin = number + rows.line_num
            for row in rows:
                end = number + rows.line_num - 1
                if row:
                    needed = max(text_at, label_at or 0)
                    if len(row) <= needed:
                        raise self._missing_field(name, begin, header[needed], len(row), len(header), is_quoted)
                    yield _Row(begin, end, row[text_at], None if label_at is None else row[label_at])
                begin = end + 1
        except csv.Error as error:
            raise self._invalid_table(name, begin, number + rows.line_num - 1, str(error)) from None

    def _delimiter(self, header: str, name: str, kind: str, stated: str, quoting: Literal[0, 3]) -> str:
        """Choose the delimiter: the given one, the one stated in the file, or one under which the column exists."""
        if self._format.delimiter:
            return self._format.delimiter
        if stated:
            return stated
        default = _DELIMITERS[kind]
        needed = {self._column} | ({self._format.label} if self._format.label is not None else set())
        for delimiter in (default, *_OTHER_DELIMITERS):
            try:
                fields = next(csv.reader([header], delimiter=delimiter, quoting=quoting), [])
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

    def _position(self, column: str, header: list[str], name: str) -> int:
        if column not in header:
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
    def _invalid_table(name: str, first: int, last: int, reason: str) -> CorpusError:
        """Return the error for a row that the csv module rejects, with its first line."""
        if "unexpected end of data" in reason:
            problem = "a quotation mark opens a field that is never closed"
        elif "expected after" in reason:
            problem = "a quotation mark that closes a field is followed by other characters"
        elif "new-line character" in reason:
            problem = "a field without quotation marks contains a carriage return"
        else:
            problem = reason
        where = f"line {first:,}" if last <= first else f"lines {first:,} to {last:,}"
        return CorpusError(
            f"{name}, {where}: invalid CSV or TSV: {problem}. Correct the row. If quotation marks are ordinary "
            "characters in this file, pass --quoting none.",
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
                f"{name}: half characters (lone surrogates) in {len(self._surrogates):,} values are {handling}, the "
                f"first in line {self._surrogates[0]:,}.",
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
                raise _invalid_json(name, number, error) from None

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
                raise _invalid_json(name, line, "the array is not closed")
            text, position = piece, 0
            continue
        # 2. Read a structural character.
        if can_end and text[position] == "]":
            break
        if expected:
            if text[position] != expected:
                raise _invalid_json(name, line, f"expected {expected!r}, got {text[position]!r}")
            position, can_end, expected = position + 1, expected == "[", ""
            continue
        # 3. Decode an element; if it is incomplete, read more.
        try:
            element, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            piece = next(source, None) if _may_be_incomplete(error, len(text)) else None
            if piece is None or len(text) - position > _MAX_ELEMENT:
                raise _invalid_json(name, line, error) from None
            text, position = text[position:] + piece, 0
            continue
        yield line, element
        line += text.count("\n", position, end)
        position, can_end, expected = end, True, ","
    if text[position + 1 :].strip() or any(piece.strip() for piece in source):
        raise _invalid_json(name, line, "text after the end of the array")


def _may_be_incomplete(error: Exception, length: int) -> bool:
    """Return whether more text could repair a JSON error."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - 8  # inside a literal or an escape


def _invalid_json(name: str, line: int, reason: object) -> CorpusError:
    return CorpusError(
        f"{name}, line {line:,}: invalid JSON: {reason}. Correct the line, or remove it.",
        code="invalid_json",
        path=name,
        line=line,
        reason=str(reason),
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
    """Convert lone CRs to LF if the first line ends with one, as in a file in the old format of the Macintosh."""
    read: list[str] = []
    source = iter(pieces)
    for piece in source:
        read.append(piece)
        if "\n" in piece or "\r" in piece[:-1]:
            break
    start = "".join(read)
    end = re.search(r"\r\n?|\n", start)
    whole = chain(read, source)
    return normalize_newlines(whole) if end is not None and end[0] == "\r" else _with_lf(whole)


def _with_lf(pieces: Iterable[str]) -> Iterator[str]:
    """Convert CR LF to LF in a text that arrives in pieces."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held).replace("\r\n", "\n") if held else text.replace("\r\n", "\n")
    if held:
        yield held


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


def _lines_shown(spans: list[tuple[int, int]], count: int) -> str:
    """Describe the first lines of ``count`` rows: "line 3, lines 7 to 9 and others"."""
    shown = [f"line {a:,}" if a == b else f"lines {a:,} to {b:,}" for a, b in spans]
    return ", ".join(shown) + (" and others" if count > len(spans) else "")


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
