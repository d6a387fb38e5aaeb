"""Bulk scoring: score every line of text files of any size, partition by partition."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from charloom.bulk.job import BulkJob, json_row, make_job
from charloom.bulk.partitions import (
    Partition,
    check_plain_text,
    get_partition,
    line_number,
    line_text,
    lines_in,
    partition_count,
)
from charloom.data.reading.sources import resolve_sources
from charloom.data.vocabulary.characters import replacement_character
from charloom.errors import CorpusError, JobError, UnknownCharacterError
from charloom.inference.generation_options import PRECISIONS, check_whole, invalid_choice
from charloom.inference.model import Model
from charloom.inference.scoring import Score
from charloom.model.file.run_folder import find_model

PARTITION_BYTES = 4 << 20
"""Default size of a partition in bytes: about 25 seconds of work on one core, which a killed worker loses."""

UNKNOWN_LINES = ("mark", "replace", "error")

_BATCH_LINES = 4096  # lines read and scored at once
SCORE_AGAIN = "Score it again in another folder."
_MAX_BATCHED = 1 << 16  # longest line in a batch, in characters; longer lines would cause too much padding


def scoring_job(
    folder: str | os.PathLike[str],
    model: str,
    texts: Sequence[str],
    *,
    partition_bytes: int = PARTITION_BYTES,
    precision: str = "int8",
    unknown: str = "mark",
) -> BulkJob:
    r"""Create a job that scores every line of texts as a separate text, or open it if it exists.

    The ``\n`` or ``\r\n`` that ends a line is not scored, except by a line model, which scores the end of the line.
    Every line has a row, including empty lines.

    Args:
        folder: Folder of the job; created if it does not exist.
        model: A model as accepted by ``Model.load``.
        texts: Uncompressed UTF-8 files, folders of such files, or globs.
        partition_bytes: Size of a partition in bytes, in [1, 2**40].
        precision: "int8", "float32", or "auto" (float32).
        unknown: Treatment of lines with unknown characters or invalid UTF-8. "mark": they are not scored, and their
            rows contain the number of unknown characters. "replace": unknown characters are replaced (see
            ``replacement_character``), and the rows contain their number. "error": the job fails.

    Raises:
        CorpusError: If a text cannot be partitioned; see ``check_plain_text``.
        JobError: If the folder contains a different job, or the model is one of records.
        ModelFileError: If the model does not exist or is damaged.
        SettingsError: If an option is invalid.
    """
    partition_bytes = check_whole("partition_bytes", partition_bytes, 1, 1 << 40)
    for name, value, accepted in (("precision", precision, PRECISIONS), ("unknown", unknown, UNKNOWN_LINES)):
        if value not in accepted:
            raise invalid_choice(name, value, accepted)
    home, source = Path(folder).resolve(), find_model(model)
    loaded = Model.load(str(source))  # reject a damaged model before creating anything
    if loaded.rules.records is not None:
        raise JobError(
            f"{model} is a model of records, and bulk scoring reads each line as a text, so its rows would not be the "
            "losses of records. Score the records with `charloom score --per-record`, or use a model that was trained "
            "with --lines or on continuous text.",
            code="bulk_record_model",
            model=model,
            records=loaded.rules.records,
        )
    files = [_describe(path, home) for path in _files(texts, home)]
    manifest = {
        "work": "score",
        "files": files,
        "partition_bytes": partition_bytes,
        "partitions": partition_count([file["bytes"] for file in files], partition_bytes),
        "options": {"precision": "float32" if precision == "auto" else precision, "unknown": unknown},
    }
    return make_job(home, manifest, source.read_bytes())


def score_partition(job: BulkJob, model: Model, number: int) -> dict[str, Any]:
    """Score the lines of a partition, write its part, and return the entries of its summary row.

    Raises:
        CorpusError: If a line is too long.
        JobError: If the file has changed since the job was created.
        UnknownCharacterError: If a line contains an unknown character and the job's ``unknown`` is "error".
    """
    path, partition = partition_source(job, number)
    options = job.manifest["options"]
    digest, rows = hashlib.sha256(), []
    facts: dict[str, Any] = {"characters": 0, "nats": 0.0, "unscored": 0}
    lines = iter(lines_in(path, partition.start, partition.end))
    while batch := list(islice(lines, _BATCH_LINES)):
        digest.update(b"".join(line for _, line in batch))
        decoded = _decode_lines(model, batch, options["unknown"], path)
        scores = _score_lines(model, [text for text, _ in decoded], options["precision"])
        for (offset, _), (_, unknown), score in zip(batch, decoded, scores, strict=True):
            entries = _score_entries(score)
            facts["characters"] += entries["characters"]
            facts["nats"] += entries["nats"] or 0.0
            facts["unscored"] += entries["nats"] is None
            rows.append(json_row({"file": partition.file, "offset": offset, **entries, "unknown": unknown}))
    job.write_part(number, rows, **facts, source_sha256=digest.hexdigest())
    return {"lines": len(rows), **facts}


def _score_entries(score: Score | None) -> dict[str, Any]:
    if score is None or not score.characters:
        return {"characters": 0, "nats": None, "bits_per_char": None}
    nats, bits = round(score.total_nats, 4), round(score.bits_per_char, 4)
    return {"characters": score.characters, "nats": nats, "bits_per_char": bits}


def _files(texts: Sequence[str], home: Path) -> list[Path]:
    """Resolve texts to files; reject duplicates and texts that contain the job's folder ``home``."""
    files: list[Path] = []
    for source in resolve_sources(list(texts)):
        if source.path is None or source.kind != "file":
            raise CorpusError(
                f"{source.name} is not a file. Bulk scoring reads text files: pass files, folders or globs.",
                code="not_a_file",
                source=source.name,
            )
        path = source.path.resolve()
        if path.is_relative_to(home) or any(home.is_relative_to(Path(text).resolve()) for text in texts):
            raise CorpusError(
                f"The job's folder {home} is inside a folder of texts to score. Choose a folder outside it.",
                code="folder_inside_texts",
                path=str(home),
            )
        if path in files:
            raise CorpusError(
                f"{source.name} is listed twice. Pass each text once.", code="duplicate_text", source=source.name
            )
        files.append(path)
    return files


def _describe(path: Path, home: Path) -> dict[str, Any]:
    """Return the entry of a text in the manifest; its path is relative to the job's folder."""
    try:
        name = Path(os.path.relpath(path, home)).as_posix()
    except ValueError:  # Windows: on another drive
        name = str(path)
    return {"path": name, "bytes": check_plain_text(path), "modified": path.stat().st_mtime_ns}


def partition_source(job: BulkJob, number: int) -> tuple[Path, Partition]:
    """Return the file and byte range of a partition; check that the size of the file has not changed.

    Raises:
        JobError: If the file cannot be read or its size has changed.
    """
    files = job.manifest["files"]
    partition = get_partition([file["bytes"] for file in files], job.manifest["partition_bytes"], number)
    described = files[partition.file]
    path = Path(os.path.normpath(job.folder / described["path"]))
    try:
        size = path.stat().st_size
    except OSError as error:
        reason = error.strerror or str(error)
        raise JobError(
            f"Cannot read {path}: {reason}. The texts and the job's folder must be on a file system that all workers "
            "share, at the same paths.",
            code="unreadable_file",
            path=str(path),
            reason=reason,
        ) from None
    if size != described["bytes"]:
        raise JobError(
            f"{path} has changed: {size:,} bytes now, {described['bytes']:,} bytes when the job was created. "
            f"{SCORE_AGAIN}",
            code="source_changed",
            path=str(path),
            bytes=size,
            expected=described["bytes"],
        )
    return path, partition


def _decode_lines(
    model: Model, lines: Iterable[tuple[int, bytes]], unknown: str, path: Path
) -> list[tuple[str | None, int]]:
    """Decode lines to pairs (text to score, number of unknown characters); the text is None for marked lines."""
    decoded: list[tuple[str | None, int]] = []
    for offset, line in lines:
        text = line_text(line, offset)
        unknown_characters = model.vocabulary.unknown(text)
        if not unknown_characters:
            decoded.append((text, 0))
            continue
        if unknown == "error":
            raise _unknown_character_error(model, text, path, offset)
        count = sum(map(text.count, unknown_characters))
        replacements = dict.fromkeys(map(ord, unknown_characters), replacement_character(model.vocabulary))
        decoded.append((text.translate(replacements) if unknown == "replace" else None, count))
    return decoded


def _unknown_character_error(model: Model, text: str, path: Path, offset: int) -> UnknownCharacterError:
    line = line_number(path, offset)
    try:
        model.vocabulary.encode(text)
    except UnknownCharacterError as error:
        message = f'{path}, line {line:,} (byte {offset:,}): {error} With unknown="mark" such lines are not scored.'
        data = {**error.data, "path": str(path), "line": line, "offset": offset}
        return UnknownCharacterError(message, code=error.code, **data)
    raise AssertionError(f"every character of line {line} is known")


def _score_lines(model: Model, texts: Sequence[str | None], precision: str) -> list[Score | None]:
    """Score each text in a batch, very long ones separately; the score of None is None."""
    results: list[Score | None] = [None] * len(texts)
    numbered = [(i, text) for i, text in enumerate(texts) if text is not None]
    batch = [(i, text) for i, text in numbered if len(text) <= _MAX_BATCHED]
    long = [[(i, text)] for i, text in numbered if len(text) > _MAX_BATCHED]
    for group in (batch, *long):
        scores = model.score_many([text for _, text in group], precision=precision)
        for (i, _), score in zip(group, scores, strict=True):
            results[i] = score
    return results
