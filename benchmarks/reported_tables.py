"""Tables of `results/reported.jsonl`: results measured before `record.py` existed, or by scripts it does not run.

Each line has an `id`, the command, the machine, the date and the figures as they were published: one row in `values`,
or a table in `columns` and `rows`. A fact that was not kept is "not recorded".
"""

import json
import math
from functools import cache
from pathlib import Path

REPORTED = Path(__file__).parent / "results" / "reported.jsonl"


@cache
def records():
    """Return the reported results by id."""
    lines = REPORTED.read_text(encoding="utf-8").splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


def value(name, column, row=None):
    """Return one published figure as text.

    Args:
        name: The id of the result.
        column: The column.
        row: First cell of the row, for a table; without it, the first row is used.
    """
    record = records()[name]
    if "values" in record:
        return cell(record["values"][column])
    place = record["columns"].index(column)
    return cell(next(cells[place] for cells in record["rows"] if row in (None, cell(cells[0]))))


def cell(content):
    """Format a cell exactly as its figure was published.

    >>> [cell(1275), cell(1.4412), cell("697 (2.10 x)"), cell(None)]
    ['1,275', '1.4412', '697 (2.10 x)', '']
    """
    if content is None:
        return ""
    return f"{content:,}" if isinstance(content, int) else str(content)


def machine_name(record):
    """Return the short name of a record's machine; the page describes each machine once."""
    return record["machine"].partition(":")[0]


def section(names):
    """Return the Markdown of one table, or of several single results as one table."""
    chosen = [records()[name] for name in names]
    if "rows" in chosen[0]:
        (record,) = chosen
        return "\n".join([facts(record), "", *table(record["columns"], record["rows"])])
    values = [with_bits(record["values"]) for record in chosen]
    columns = list(dict.fromkeys(column for row in values for column in row))
    rows = [
        [record["what"], *(row.get(column) for column in columns), machine_name(record), command(record)]
        for record, row in zip(chosen, values, strict=True)
    ]
    return "\n".join(table(["what", *columns, "machine", "command"], rows))


def with_bits(values):
    """Add bits per character after the held-out loss, which is in nats per character."""
    columns = {}
    for column, content in values.items():
        columns[column] = content
        if column == "held-out loss":
            columns["bits per character"] = f"{content / math.log(2):.2f}"
    return columns


def facts(record):
    """Say how a table was measured: command, machine, date, method."""
    machine = machine_name(record)
    parts = [command(record), f"machine {machine}" if machine == "not recorded" else machine, f"date {record['date']}"]
    method = record.get("method")
    return f"{', '.join(parts)}{f'; {method}' if method else ''}."


def command(record):
    text = record["command"]
    return text if text == "not recorded" else f"`{text}`"


def table(columns, rows):
    """Yield the lines of a Markdown table; columns of numbers are right-aligned."""
    yield f"| {' | '.join(columns)} |"
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    yield f"|{'|'.join('---:' if is_numeric else '---' for is_numeric in numeric)}|"
    yield from (f"| {' | '.join(map(cell, row))} |" for row in rows)
