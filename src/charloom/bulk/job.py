"""The folder of a bulk job: what is to be done, and the parts that are done.

JOB/manifest.json           the job: its work, its files or how many texts, its options, the digest of its model
JOB/model.safetensors       the model, a copy of the file that was named
JOB/parts/00000012.jsonl    what became of partition 12: a row of JSON for each line or text, then one that ends it

A part is written whole or not at all, and says in its last row how many rows and bytes stand before it. What a killed
writer leaves has another name and never counts. A partition always gives the same part, whoever makes it and how often:
whoever is the last to put it in its place changes nothing.
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

_END = "end"  # the key of a part's last row
_LAST_ROW = 1024  # bytes in which it fits
_AGAIN = "Run the job in another folder."
_MORE = "Name another folder for this job, or ask for what that folder was made with."


class BulkJob:
    """A job whose folder is there.

    Args:
        folder: Its folder.
        manifest: What ``manifest.json`` holds.

    Attributes:
        folder: As given.
        manifest: As given.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest: two jobs that have the same do the same."""
        return hashlib.sha256(_as_bytes(self.manifest)).hexdigest()

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return int(self.manifest["partitions"])

    @property
    def model_path(self) -> Path:
        """Where the copy of the model lies."""
        return self.folder / MODEL

    def part_path(self, number: int) -> Path:
        """Return where the part of a partition is or will be."""
        return self.folder / PARTS / f"{number:08d}.jsonl"

    def missing(self) -> list[int]:
        """Return the partitions whose part is not there, or is not whole: cut short, or another partition's."""
        return [number for number in range(self.partitions) if self.ending(number) is None]

    def ending(self, number: int) -> dict[str, Any] | None:
        """Return what the last row of a part says, of which nothing else is read; None if the part is not whole."""
        path = self.part_path(number)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _LAST_ROW))
                last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n"
            end = json.loads(last)[_END]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_whole = end.get("partition") == number and end.get("bytes") == size - len(last)
        return dict(end) if is_whole else None

    def write_part(self, number: int, rows: Sequence[bytes], **facts: Any) -> None:
        """Write the part of a partition, whole or not at all.

        Args:
            number: The partition.
            rows: JSON, one each.
            **facts: What the last row shall say besides: plain JSON data.

        Raises:
            OSError: If it cannot be written.
        """
        data = b"".join(row + b"\n" for row in rows)
        end = {"partition": number, "rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_atomically(self.part_path(number), data + json.dumps({_END: end | facts}).encode() + b"\n")

    def part_rows(self, number: int) -> list[bytes]:
        """Return the rows of a part, as JSON, verified.

        Raises:
            JobError: If it is not there, or is damaged.
        """
        end, path = self.ending(number), self.part_path(number)
        if end is None:
            raise JobError(f"{path} is not there or not whole: the job is not done. Run it again, which adds the rest.")
        data = path.read_bytes()[: end["bytes"]]
        if hashlib.sha256(data).hexdigest() != end["sha256"]:
            raise JobError(
                f"{path} is damaged: its digest is not the one it was written with. Remove it, and run again."
            )
        return data.split(b"\n")[:-1]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all parts in the order of the lines or texts; memory holds one part.

        Raises:
            JobError: If a part is not there, or is damaged.
        """
        for number in range(self.partitions):
            yield from map(json.loads, self.part_rows(number))

    def total(self, key: str) -> float:
        """Return the sum of a number that the last rows of all parts that are there tell, such as "rows"."""
        endings = (self.ending(number) for number in range(self.partitions))
        found: float = sum(end[key] for end in endings if end is not None)
        return found

    def check_model(self) -> None:
        """Raise ``JobError`` if the copy of the model is not there, or not what the manifest says."""
        try:
            found = hashlib.sha256(self.model_path.read_bytes()).hexdigest()
        except OSError as error:
            raise JobError(f"{self.model_path} cannot be read: {error.strerror or error}. {_AGAIN}") from None
        if found != self.manifest["model_sha256"]:
            raise JobError(f"{self.model_path} is not the model that this job was made with. {_AGAIN}")

    def finish(self) -> None:
        """Check that all parts are there, and remove what killed writers have left.

        Raises:
            JobError: If a part is missing after all were said to be written.
        """
        if missing := self.missing():
            raise JobError(
                f"{len(missing)} parts that were said to be written are not in {self.folder}. All workers must see the "
                "same folder at the same path: put it on a file system that they share."
            )
        remove_parts(self.folder / PARTS)
        remove_parts(self.folder)


def make_job(folder: Path, manifest: Mapping[str, Any], model: bytes) -> BulkJob:
    """Make the folder of a job, or open it where the same job is in it already.

    Args:
        folder: Empty, absent, or of this job.
        manifest: Plain JSON data; "partitions" among it.
        model: The bytes of the model file.

    Raises:
        JobError: If another job, or anything else, is in the folder, or it cannot be made.
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
        raise JobError(f"The folder {folder} cannot be used: {error.strerror or error}. Name another.") from None
    return job


def read_job(folder: Path) -> BulkJob:
    """Return the job in a folder.

    Raises:
        JobError: If there is none, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format_version"] != FORMAT_VERSION or not isinstance(manifest["partitions"], int):
            raise ValueError("it is of another version")
    except FileNotFoundError:
        raise JobError(f"There is no bulk job in {folder}: it holds no {MANIFEST}. Name the folder of one.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"{path} cannot be read ({error}). Move {folder} away, and run the job anew.") from None
    return BulkJob(folder, manifest)


def json_row(row: Mapping[str, Any]) -> bytes:
    """Return a row as JSON: letters as they are, halves of characters as escapes."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row).encode("ascii")


def _as_bytes(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"


def _check_unused(folder: Path) -> None:
    """Raise ``JobError`` if there is anything in a folder but what making a job begins with."""
    if not folder.exists():
        return
    begun = {PARTS, MODEL}
    found = [path.name for path in folder.iterdir() if path.name not in begun and not path.name.startswith(".")]
    if found or ((folder / PARTS).exists() and any((folder / PARTS).iterdir())):
        raise JobError(f"{folder} holds something that is not this job's ({', '.join(found) or PARTS}). Name another.")


def _check_same(folder: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key in {**asked, **there}:
        if there.get(key) != asked.get(key):
            raise JobError(f"{folder} is the folder of another job: {_difference(key, there, asked)}. {_MORE}")


def _difference(key: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return what differs, as near to the leaf as it can be told."""
    old, new = there.get(key), asked.get(key)
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(name for name in {**old, **new} if old.get(name) != new.get(name))
        return f"{key}: {_difference(inner, old, new)}"
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        i = next(i for i in range(len(old)) if old[i] != new[i])
        return f"{key}: {_difference(str(i), {str(i): old[i]}, {str(i): new[i]})}"
    return f"{key} is {_short(old)} there, and {_short(new)} is asked for"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
