"""The folder of a bulk job: its description, and the partitions that are done.

JOB/manifest.json           the task, its files or number of texts, its options, the digest of its model
JOB/model.safetensors       the model, a copy of the file that was named
JOB/parts/00000012.jsonl    the result of partition 12: a row of JSON for each line or text, then a summary row

A part is written atomically, and its summary row states the number of rows and bytes before it. What a killed writer
leaves has another name and is ignored. Work is idempotent: a partition always gives the same part, so that it does not
matter which worker computes it, or how often.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charloom._util.atomic_io import remove_parts, write_atomically
from charloom.errors import JobError
from charloom.model.file.run_folder import MODEL

MANIFEST = "manifest.json"
PARTS = "parts"
FORMAT_VERSION = 1

_END = "end"  # the key of the summary row
_MAX_SUMMARY = 1024  # bytes
_AGAIN = "Create the job again in another folder."
_OTHER_FOLDER = "Pass another folder, or the options that the folder was created with."


class BulkJob:
    """A bulk job.

    Args:
        folder: Its folder.
        manifest: The content of ``manifest.json``.

    Attributes:
        folder: Its folder.
        manifest: The content of ``manifest.json``.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest: jobs with the same digest give the same results."""
        return hashlib.sha256(_as_bytes(self.manifest)).hexdigest()

    @property
    def partitions(self) -> int:
        """Number of partitions."""
        return int(self.manifest["partitions"])

    @property
    def model_path(self) -> Path:
        """Path of the copy of the model."""
        return self.folder / MODEL

    def part_path(self, number: int) -> Path:
        """Return the path of the part of a partition."""
        return self.folder / PARTS / f"{number:08d}.jsonl"

    def missing(self) -> list[int]:
        """Return the partitions without a complete part."""
        return [number for number in range(self.partitions) if self.summary(number) is None]

    def summary(self, number: int) -> dict[str, Any] | None:
        """Return the summary row of a part without reading the rest; None if the part is missing or incomplete."""
        path = self.part_path(number)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _MAX_SUMMARY))
                last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n"
            end = json.loads(last)[_END]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_whole = end.get("partition") == number and end.get("bytes") == size - len(last)
        return dict(end) if is_whole else None

    def write_part(self, number: int, rows: Sequence[bytes], **facts: Any) -> None:
        """Write the part of a partition atomically.

        Args:
            number: The partition.
            rows: JSON, one for each line or text.
            **facts: Further entries of the summary row: plain JSON data.

        Raises:
            OSError: If it cannot be written.
        """
        data = b"".join(row + b"\n" for row in rows)
        end = {"partition": number, "rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_atomically(self.part_path(number), data + json.dumps({_END: end | facts}).encode() + b"\n")

    def part_rows(self, number: int) -> list[bytes]:
        """Return the rows of a part, as JSON, after checking their digest.

        Raises:
            JobError: If it is not there, or is damaged.
        """
        end, path = self.summary(number), self.part_path(number)
        if end is None:
            raise JobError(
                f"The job is incomplete: {path} is missing or truncated. Run the job again to finish it.",
                code="incomplete_job",
                path=str(path),
            )
        data = path.read_bytes()[: end["bytes"]]
        if hashlib.sha256(data).hexdigest() != end["sha256"]:
            raise JobError(
                f"{path} is damaged: its SHA-256 does not match. Delete it and run the job again.",
                code="damaged_part",
                path=str(path),
            )
        return data.split(b"\n")[:-1]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all parts in order; one part is in memory at a time.

        Raises:
            JobError: If a part is not there, or is damaged.
        """
        for number in range(self.partitions):
            yield from map(json.loads, self.part_rows(number))

    def total(self, key: str) -> float:
        """Return the sum of an entry, such as "rows", over the summary rows of all parts."""
        summaries = (self.summary(number) for number in range(self.partitions))
        total: float = sum(summary[key] for summary in summaries if summary is not None)
        return total

    def check_model(self) -> None:
        """Raise ``JobError`` if the copy of the model is missing or does not match the manifest."""
        try:
            digest = hashlib.sha256(self.model_path.read_bytes()).hexdigest()
        except OSError as error:
            reason = error.strerror or str(error)
            raise JobError(
                f"Cannot read {self.model_path}: {reason}. {_AGAIN}",
                code="unreadable_file",
                path=str(self.model_path),
                reason=reason,
            ) from None
        if digest != self.manifest["model_sha256"]:
            raise JobError(
                f"{self.model_path} is not the model that the job was created with. {_AGAIN}",
                code="model_changed",
                path=str(self.model_path),
            )

    def finish(self) -> None:
        """Check that all parts exist, and remove what killed writers left.

        Raises:
            JobError: If a part is missing.
        """
        if missing := self.missing():
            raise JobError(
                f"{len(missing)} parts that workers wrote are missing from {self.folder}. The folder must be on a file "
                "system that all workers share, at the same path.",
                code="folder_not_shared",
                path=str(self.folder),
                parts=len(missing),
            )
        remove_parts(self.folder / PARTS)
        remove_parts(self.folder)


def make_job(folder: Path, manifest: Mapping[str, Any], model: bytes) -> BulkJob:
    """Create the folder of a job, or open it if it contains the same job.

    Args:
        folder: Empty, absent, or of this job.
        manifest: Plain JSON data with the key "partitions".
        model: The bytes of the model file.

    Raises:
        JobError: If the folder contains another job or anything else, or cannot be created.
    """
    described = {"format_version": FORMAT_VERSION, **manifest, "model_sha256": hashlib.sha256(model).hexdigest()}
    described = json.loads(json.dumps(described))  # a tuple is a list when it is read again
    try:
        if (folder / MANIFEST).exists():
            job = read_job(folder)
            _check_same(folder, job.manifest, described)
        else:
            _check_unused(folder)
            job = BulkJob(folder, described)
            (folder / PARTS).mkdir(parents=True, exist_ok=True)
            write_atomically(job.model_path, model)
            write_atomically(folder / MANIFEST, _as_bytes(described))
    except OSError as error:
        reason = error.strerror or str(error)
        raise JobError(
            f"Cannot use the folder {folder}: {reason}. Pass another folder.",
            code="unusable_folder",
            path=str(folder),
            reason=reason,
        ) from None
    return job


def read_job(folder: Path) -> BulkJob:
    """Open the job in a folder.

    Raises:
        JobError: If there is none, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format_version"] != FORMAT_VERSION or not isinstance(manifest["partitions"], int):
            raise ValueError("unsupported format version")
    except FileNotFoundError:
        raise JobError(
            f"{folder} is not the folder of a bulk job: it contains no {MANIFEST}.",
            code="job_not_found",
            path=str(folder),
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(
            f"Cannot read the job description {path}: {error}. Move {folder} elsewhere and create the job again.",
            code="damaged_job",
            path=str(path),
            reason=str(error),
        ) from None
    return BulkJob(folder, manifest)


def json_row(row: Mapping[str, Any]) -> bytes:
    """Encode a row as JSON in UTF-8; in ASCII with escapes if it contains lone surrogates."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row).encode("ascii")


def _as_bytes(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"


def _check_unused(folder: Path) -> None:
    """Raise ``JobError`` if a folder contains anything but the beginnings of a job."""
    if not folder.exists():
        return
    begun = {PARTS, MODEL}
    foreign = [path.name for path in folder.iterdir() if path.name not in begun and not path.name.startswith(".")]
    if foreign or ((folder / PARTS).exists() and any((folder / PARTS).iterdir())):
        files = foreign or [PARTS]
        raise JobError(
            f"{folder} contains other files ({', '.join(files)}). Pass an empty or new folder.",
            code="folder_not_empty",
            path=str(folder),
            files=files,
        )


def _check_same(folder: Path, there: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    for key in {**requested, **there}:
        if there.get(key) != requested.get(key):
            keys, existing, new = _difference(key, there, requested)
            name = ".".join(keys)
            raise JobError(
                f"{folder} contains a different job: its {name} is {_short(existing)}, but {_short(new)} was "
                f"requested. {_OTHER_FOLDER}",
                code="job_mismatch",
                path=str(folder),
                name=name,
                existing=existing,
                requested=new,
            )


def _difference(key: str, there: Mapping[str, Any], requested: Mapping[str, Any]) -> tuple[list[str], Any, Any]:
    """Find the innermost difference between two manifests: its keys from the outside in, and both values."""
    old, new = there.get(key), requested.get(key)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = ({str(i): value for i, value in enumerate(values)} for values in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(name for name in {**old, **new} if old.get(name) != new.get(name))
        keys, old, new = _difference(inner, old, new)
        return [key, *keys], old, new
    return [key], old, new


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
