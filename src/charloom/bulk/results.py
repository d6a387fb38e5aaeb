"""Collect the results of a bulk job: all rows in one file, or lines filtered by score."""

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
    """Counts of the lines that went through a filter.

    Attributes:
        kept: Lines that were kept.
        outside: Lines whose perplexity was out of range.
        unscored: Lines without a score: fewer than two characters, or unknown ones.
    """

    kept: int = 0
    outside: int = 0
    unscored: int = 0


def filter_lines(
    job: BulkJob, least: float = 0.0, most: float = math.inf, unscored: bool = False, counts: FilterCounts | None = None
) -> Iterator[bytes]:
    r"""Yield the lines whose perplexity per character is in a range, in order and unchanged.

    Args:
        job: A finished job.
        least: Minimum perplexity of a line that is kept.
        most: Maximum perplexity of a line that is kept.
        unscored: Whether lines without a score are kept.
        counts: Counts the lines, if given.

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
    r"""Write the lines of ``kept_lines`` to a file, each with a ``\n`` at its end; it is there whole or not at all.

    Raises:
        InputError: If the file exists already.
        JobError: As ``kept_lines`` does.
    """
    counts = FilterCounts()
    with _new_file(path) as file:
        for line in filter_lines(job, least, most, unscored, counts):
            file.write(line if line.endswith(b"\n") else line + b"\n")
    return counts


def write_rows(job: BulkJob, path: Path) -> int:
    """Write the rows of all parts to one file of JSON lines, in order, and return their number.

    Raises:
        InputError: If the file exists already.
        JobError: If a part is not there, or is damaged.
    """
    written = 0
    with _new_file(path) as file:
        for number in range(job.partitions):
            rows = job.part_rows(number)
            file.writelines(row + b"\n" for row in rows)
            written += len(rows)
    return written


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name when it is complete; unlike ``write_atomically``, in pieces."""
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
