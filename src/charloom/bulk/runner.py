"""Run the partitions of a bulk job in this process.

``run_partition`` takes and returns plain data, so that a framework such as Dask can run it on other processes and
machines; see ``charloom.bulk.dask``.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import charloom.errors as errors
from charloom._util.progress import ProgressCallback
from charloom.bulk.generation import generate_partition
from charloom.bulk.job import BulkJob, read_job
from charloom.bulk.scoring import score_partition
from charloom.errors import CharloomError, JobError
from charloom.inference.model import Model
from charloom.model.file.model_file import load_model

_TASKS = {"score": score_partition, "write": generate_partition}
_ERROR = "error"


def run_partition(folder: str, digest: str, number: int) -> dict[str, Any]:
    """Process one partition with one thread and write its part, unless the part exists.

    Args:
        folder: Folder of the job, as this process sees it.
        digest: Digest of the job's manifest.
        number: Number of the partition.

    Returns:
        Statistics of the partition, such as its number of characters; empty if the part exists. If a ``CharloomError``
        was raised, its class name, message, code and data under the key "error".

    Raises:
        OSError: If a disk fails; the caller may retry the partition.
    """
    try:
        job, model = _load_job(folder, digest)
        if job.summary(number) is not None:
            return {}
        return _TASKS[job.manifest["work"]](job, model, number)
    except CharloomError as error:
        return {_ERROR: [type(error).__name__, str(error), error.code, error.data]}


def raise_if_failed(result: dict[str, Any]) -> None:
    """Raise the error in a result of ``run_partition``, if there is one."""
    if _ERROR in result:
        kind, message, code, data = result[_ERROR]
        raise getattr(errors, kind, CharloomError)(message, code=code, **data)


def run_in_process(job: BulkJob, progress: ProgressCallback | None = None) -> None:
    """Process all missing partitions in this process.

    Raises:
        CharloomError: If a partition fails. Finished partitions are kept.
        OSError: If a disk fails.
    """
    missing = job.missing()
    for done, number in enumerate(missing, job.partitions - len(missing)):
        if progress is not None:
            progress(done, job.partitions)
        raise_if_failed(run_partition(str(job.folder), job.digest, number))
    if progress is not None:
        progress(job.partitions, job.partitions)
    job.finish()


@lru_cache(maxsize=1)
def _load_job(folder: str, digest: str) -> tuple[BulkJob, Model]:
    """Load a job and its model; they are cached for the next partitions of the same job."""
    job = read_job(Path(folder))
    if job.digest != digest:
        raise JobError(
            f"{folder} contains a different job on this worker. The folder must be on a file system that all workers "
            "share, at the same path.",
            code="folder_not_shared",
            path=folder,
        )
    job.check_model()
    return job, Model(load_model(job.model_path), threads=1)
