"""Read one column of a CSV, TSV or JSON Lines file as lines."""

import csv
import json
from collections.abc import Iterable, Iterator

from charloom._util.suggest import did_you_mean
from charloom.errors import CorpusError

_FORMATS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
_COMPRESSED = (".gz", ".xz", ".zst", ".bz2")


def read_column(pieces: Iterable[str], name: str, column: str, notices: list[str]) -> Iterator[str]:
    """Yield the values of a column, each with a line feed behind it.

    Args:
        pieces: The text of the file.
        name: The file's; its ending says what it is.
        column: CSV's and TSV's first row names the columns; JSON lines are objects with a field of that name.
        notices: What was done is appended.

    Raises:
        CorpusError: If the file has no such column, a value is no text, or it is none of these formats.
    """
    stem = name.lower()
    for compressed in _COMPRESSED:
        stem = stem.removesuffix(compressed)
    ending = next((one for one in _FORMATS if stem.endswith(one)), None)
    if ending is None:
        raise CorpusError(
            f"--column reads files that end with {', '.join(_FORMATS)} (or those with "
            f"{', '.join(_COMPRESSED)} behind); {name} is none of them."
        )
    lines = whole_lines(pieces)
    values = _separated(lines, name, column, _FORMATS[ending]) if _FORMATS[ending] else _fields(lines, name, column)
    joined = 0
    for value in values:
        joined += "\n" in value or "\r" in value
        yield " ".join(value.splitlines() if "\n" in value or "\r" in value else [value]) + "\n"
    if joined:
        notices.append(f"Joined the lines of {joined:,} values of {name} that had several: each value is one line.")


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text, each with its line feed; the last may have none."""
    held: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        held.append(first)
        if others:
            yield "".join(held) + "\n"
            yield from (line + "\n" for line in others[:-1])
            held = [others[-1]]
    if any(held):
        yield "".join(held)


def _separated(lines: Iterator[str], name: str, column: str, delimiter: str) -> Iterator[str]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            raise CorpusError(_no_column(name, column, header))
        place = header.index(column)
        for row in rows:
            if row and len(row) <= place:
                raise CorpusError(f"{name}, line {rows.line_num}, has {len(row)} fields, and none for {column!r}.")
            if row:
                yield row[place]
    except csv.Error as error:
        raise CorpusError(f"{name}, line {rows.line_num}, is not valid: {error}.") from None


def _fields(lines: Iterator[str], name: str, column: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{name}, line {number}, is not JSON: {error}.") from None
        if not isinstance(row, dict) or column not in row:
            known = list(row) if isinstance(row, dict) else []
            raise CorpusError(_no_column(f"{name}, line {number},", column, known))
        if not isinstance(row[column], str):
            raise CorpusError(f"{name}, line {number}: {column!r} is {json.dumps(row[column])[:40]}, which is no text.")
        yield row[column]


def _no_column(where: str, column: str, known: list[str]) -> str:
    hint = did_you_mean(column, known, repr)
    return f"{where} has no column {column!r}.{hint} It has {', '.join(map(repr, known[:20])) or 'none'}."
