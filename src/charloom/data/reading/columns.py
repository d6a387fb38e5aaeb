"""Read one column of a CSV, TSV or JSON Lines file as lines."""

import csv
import json
from collections.abc import Iterable, Iterator

from charloom._util.suggest import did_you_mean, suggestions
from charloom.errors import CorpusError, Notice

_FORMATS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
_COMPRESSED = (".gz", ".xz", ".zst", ".bz2")
_MAX_SHOWN = 40  # characters of a value shown in an error message


def read_column(pieces: Iterable[str], name: str, column: str, notices: list[str]) -> Iterator[str]:
    """Yield the values of a column, each followed by a line feed; line breaks inside a value become spaces.

    Args:
        pieces: The text of the file.
        name: Name of the file; its suffix determines the format.
        column: Name of the column, as in the first row of a CSV or TSV file, or of the field of JSON Lines objects.
        notices: A notice is appended if line breaks were replaced.

    Raises:
        CorpusError: If the format is not supported, the file is invalid or has no such column, or a value is not text.
    """
    stem = name.lower()
    for compressed in _COMPRESSED:
        stem = stem.removesuffix(compressed)
    suffix = next((suffix for suffix in _FORMATS if stem.endswith(suffix)), None)
    if suffix is None:
        raise CorpusError(
            f"--column cannot read {name}: it supports files that end with {', '.join(_FORMATS)}, optionally followed "
            f"by {', '.join(_COMPRESSED)}.",
            code="unsupported_table_format",
            path=name,
            accepted=list(_FORMATS),
        )
    lines = whole_lines(pieces)
    delimiter = _FORMATS[suffix]
    values = _csv_values(lines, name, column, delimiter) if delimiter else _json_values(lines, name, column)
    joined = 0  # values whose line breaks were replaced
    for value in values:
        joined += "\n" in value or "\r" in value
        yield " ".join(value.splitlines() if "\n" in value or "\r" in value else [value]) + "\n"
    if joined:
        notices.append(
            Notice(
                f"Replaced the line breaks in {joined:,} values of {name} by spaces, because each value is one line.",
                code="line_breaks_replaced",
                path=name,
                count=joined,
            )
        )


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


def _csv_values(lines: Iterator[str], name: str, column: str, delimiter: str) -> Iterator[str]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            raise _unknown_column(name, None, column, header)
        index = header.index(column)
        for row in rows:
            if row and len(row) <= index:
                raise CorpusError(
                    f"{name}, line {rows.line_num}: the row has no field for column {column!r} "
                    f"({len(row)} of {len(header)} fields).",
                    code="missing_field",
                    path=name,
                    line=rows.line_num,
                    column=column,
                    fields=len(row),
                )
            if row:
                yield row[index]
    except csv.Error as error:
        raise CorpusError(
            f"{name}, line {rows.line_num}: invalid CSV or TSV: {error}.",
            code="invalid_table",
            path=name,
            line=rows.line_num,
            reason=str(error),
        ) from None


def _json_values(lines: Iterator[str], name: str, column: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{name}, line {number}: invalid JSON: {error}.",
                code="invalid_json",
                path=name,
                line=number,
                reason=str(error),
            ) from None
        if not isinstance(row, dict) or column not in row:
            known = list(row) if isinstance(row, dict) else []
            raise _unknown_column(name, number, column, known)
        if not isinstance(row[column], str):
            value = json.dumps(row[column])[:_MAX_SHOWN]
            raise CorpusError(
                f"{name}, line {number}: {column!r} must be a string, got {value}.",
                code="value_not_text",
                path=name,
                line=number,
                column=column,
                value=value,
            )
        yield row[column]


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
