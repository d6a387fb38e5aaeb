"""The folder of a bulk job: its description, its model and its finished parts.

JOB/manifest.json           the task, the files or the number of texts, the options, the digest of the model
JOB/model.safetensors       a copy of the model
JOB/parts/00000012.jsonl    the part (result) of partition 12: a JSON row for each line or text, then a summary row

Parts are written atomically: to a temporary name, then renamed. The temporary files of killed workers are ignored. The
summary row states the number of rows and bytes before it, which reveals truncated files. Partitions are idempotent: a
partition always gives the same part, on any worker and after any number of runs.
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
_MAX_SUMMARY = 1024  # maximum size of a summary row, in bytes
_AGAIN = "Create the job again in another folder."
_OTHER_FOLDER = "Pass another folder, or the options that the folder was created with."


class BulkJob:
    """A bulk job.

    Args:
        folder: Folder of the job.
        manifest: Content of ``manifest.json``.

    Attributes:
        folder: Folder of the job.
        manifest: Content of ``manifest.json``.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest; jobs with the same digest give the same results."""
        return hashlib.sha256(_as_bytes(self.manifest)).hexdigest()

    @property
    def partitions(self) -> int:
        """Number of partitions."""
        return int(self.manifest["partitions"])

    @property
    def model_path(self) -> Path:
        """Path of the job's copy of the model."""
        return self.folder / MODEL

    def part_path(self, number: int) -> Path:
        """Return the path of the part of a partition."""
        return self.folder / PARTS / f"{number:08d}.jsonl"

    def missing(self) -> list[int]:
        """Return the numbers of the partitions without a complete part."""
        return [number for number in range(self.partitions) if self.summary(number) is None]

    def summary(self, number: int) -> dict[str, Any] | None:
        """Read the summary row of a part, not the rest of it; return None if the part is missing or incomplete."""
        path = self.part_path(number)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _MAX_SUMMARY))
                last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n"
            end = json.loads(last)[_END]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_complete = end.get("partition") == number and end.get("bytes") == size - len(last)
        return dict(end) if is_complete else None

    def write_part(self, number: int, rows: Sequence[bytes], **facts: Any) -> None:
        """Write the part of a partition atomically.

        Args:
            number: Number of the partition.
            rows: JSON rows, one for each line or text.
            **facts: Additional entries of the summary row, JSON data.

        Raises:
            OSError: If the part cannot be written.
        """
        data = b"".join(row + b"\n" for row in rows)
        end = {"partition": number, "rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_atomically(self.part_path(number), data + json.dumps({_END: end | facts}).encode() + b"\n")

    def part_rows(self, number: int) -> list[bytes]:
        """Read the rows of a part, as JSON, and verify their digest.

        Raises:
            JobError: If the part is missing, incomplete or damaged.
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
        """Yield the result rows of all parts, which are the job's output files, in order.

        Only one part is in memory at a time. The keys of a row are listed in docs/guides/scaling.md.

        Raises:
            JobError: If a part is missing, incomplete or damaged.
        """
        for number in range(self.partitions):
            yield from map(json.loads, self.part_rows(number))

    def total(self, key: str) -> float:
        """Sum an entry of the summary rows, such as "rows", over all parts."""
        summaries = (self.summary(number) for number in range(self.partitions))
        total: float = sum(summary[key] for summary in summaries if summary is not None)
        return total

    def check_model(self) -> None:
        """Verify the copy of the model; raises ``JobError`` if it is missing or does not match the manifest."""
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
        """Check that all parts exist, and remove temporary files of killed workers.

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
        folder: Folder of the job: empty, nonexistent, or created for the same job.
        manifest: JSON data with the key "partitions".
        model: Content of the model file.

    Raises:
        JobError: If the folder contains a different job or other files, or cannot be created.
    """
    requested = {"format_version": FORMAT_VERSION, **manifest, "model_sha256": hashlib.sha256(model).hexdigest()}
    requested = json.loads(json.dumps(requested))  # for the comparison: JSON turns tuples into lists
    try:
        if (folder / MANIFEST).exists():
            job = read_job(folder)
            _check_same(folder, job.manifest, requested)
        else:
            _check_unused(folder)
            job = BulkJob(folder, requested)
            (folder / PARTS).mkdir(parents=True, exist_ok=True)
            write_atomically(job.model_path, model)
            write_atomically(folder / MANIFEST, _as_bytes(requested))  # last: a job without a manifest is incomplete
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
        JobError: If the folder contains no job, or the manifest is damaged.
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
    """Encode a row as JSON: in UTF-8, or in ASCII with escapes if it contains lone surrogates."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row).encode("ascii")


def _as_bytes(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"


def _check_unused(folder: Path) -> None:
    """Raise ``JobError`` if a folder contains anything but the files of a job whose creation was interrupted."""
    if not folder.exists():
        return
    expected = {PARTS, MODEL}
    foreign = [path.name for path in folder.iterdir() if path.name not in expected and not path.name.startswith(".")]
    if foreign or ((folder / PARTS).exists() and any((folder / PARTS).iterdir())):
        files = foreign or [PARTS]
        raise JobError(
            f"{folder} contains other files ({', '.join(files)}). Pass an empty or new folder.",
            code="folder_not_empty",
            path=str(folder),
            files=files,
        )


def _check_same(folder: Path, existing: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise ``JobError`` with the first difference if two manifests differ."""
    for key in {**requested, **existing}:
        if existing.get(key) != requested.get(key):
            keys, old, new = _difference(key, existing, requested)
            name = ".".join(keys)
            raise JobError(
                f"{folder} contains a different job: its {name} is {_short(old)}, but {_short(new)} was "
                f"requested. {_OTHER_FOLDER}",
                code="job_mismatch",
                path=str(folder),
                name=name,
                existing=old,
                requested=new,
            )


def _difference(key: str, existing: Mapping[str, Any], requested: Mapping[str, Any]) -> tuple[list[str], Any, Any]:
    """Find the innermost difference below a key: return the path of keys to it, the old and the new value."""
    old, new = existing.get(key), requested.get(key)
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
