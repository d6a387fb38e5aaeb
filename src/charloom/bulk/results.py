"""Collect the results of a bulk job: all rows in one file, or the lines filtered by perplexity."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charloom.bulk.job import BulkJob
from charloom.bulk.partitions import lines_in
from charloom.bulk.scoring import SCORE_AGAIN, partition_source
from charloom.errors import JobError
from charloom.inference.scoring import perplexity
from charloom.model.file.run_folder import check_new_file


@dataclass
class FilterCounts:
    """Numbers of lines that a filter kept and removed.

    Attributes:
        kept: Number of kept lines.
        outside: Number of lines whose perplexity was out of range.
        unscored: Number of lines without a score: they have fewer than two characters, or unknown characters.
    """

    kept: int = 0
    outside: int = 0
    unscored: int = 0


def filter_lines(
    job: BulkJob, least: float = 0.0, most: float = math.inf, unscored: bool = False, counts: FilterCounts | None = None
) -> Iterator[bytes]:
    r"""Yield the lines whose perplexity per character is in [least, most], in order and unchanged.

    Args:
        job: A finished scoring job.
        least: Minimum perplexity.
        most: Maximum perplexity.
        unscored: Whether to keep lines without a score.
        counts: Updated with the number of kept and removed lines, if given.

    Raises:
        JobError: If a part is missing or damaged, or a file has changed since it was scored.
    """
    counts = FilterCounts() if counts is None else counts
    for number in range(job.partitions):
        path, partition = partition_source(job, number)
        rows = list(map(json.loads, job.part_rows(number)))
        lines = [line for _, line in lines_in(path, partition.start, partition.end)]
        end = job.summary(number)
        if end is None or hashlib.sha256(b"".join(lines)).hexdigest() != end["source_sha256"]:
            raise JobError(
                f"{path} has changed since it was scored. {SCORE_AGAIN}", code="source_changed", path=str(path)
            )
        for row, line in zip(rows, lines, strict=True):
            if row["nats"] is None:
                counts.unscored += 1
                is_kept = unscored
            else:
                is_kept = least <= perplexity(row["nats"] / row["characters"]) <= most
                counts.outside += not is_kept
            if is_kept:
                counts.kept += 1
                yield line


def write_filtered(
    job: BulkJob, path: Path, least: float = 0.0, most: float = math.inf, unscored: bool = False
) -> FilterCounts:
    r"""Write the lines of ``filter_lines`` to a new file atomically, each with a ``\n`` at its end.

    Raises:
        InputError: If the file exists.
        JobError: If a part is missing or damaged, or a file has changed since it was scored.
    """
    counts = FilterCounts()
    with _new_file(path) as file:
        for line in filter_lines(job, least, most, unscored, counts):
            file.write(line if line.endswith(b"\n") else line + b"\n")
    return counts


def write_rows(job: BulkJob, path: Path) -> int:
    """Write the rows of all parts, in order, to a new JSON Lines file, and return their number.

    Raises:
        InputError: If the file exists.
        JobError: If a part is missing, incomplete or damaged.
    """
    count = 0
    with _new_file(path) as file:
        for number in range(job.partitions):
            rows = job.part_rows(number)
            file.writelines(row + b"\n" for row in rows)
            count += len(rows)
    return count


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file, and rename it to ``path`` when it is complete; its content can be written in pieces."""
    check_new_file(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
