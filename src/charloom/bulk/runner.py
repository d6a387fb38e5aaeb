"""Bulk work without any framework: one partition by its number, and all that are missing one after the other.

Whatever spreads partitions over processes and machines needs ``run_partition`` alone, which takes and returns plain
data: see ``charloom.bulk.dask``.
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

_WORK = {"score": score_partition, "write": generate_partition}
_REFUSED = "refused"


def run_partition(folder: str, digest: str, number: int) -> dict[str, Any]:
    """Do one partition with one thread, and leave its part; it is not done again where its part is there.

    Args:
        folder: Of the job, as this process sees it.
        digest: Of the job's manifest.
        number: Which.

    Returns:
        How much was done, as plain data; or, under "refused", the kind and the message of a ``CharloomError``.

    Raises:
        OSError: If a disk fails: it may be tried again.
    """
    try:
        job, model = _loaded(folder, digest)
        if job.ending(number) is not None:
            return {}
        return _WORK[job.manifest["work"]](job, model, number)
    except CharloomError as error:
        return {_REFUSED: [type(error).__name__, str(error)]}


def raise_if_failed(result: dict[str, Any]) -> None:
    """Raise the error that ``run_partition`` returned, if it did."""
    if _REFUSED in result:
        kind, message = result[_REFUSED]
        raise getattr(errors, kind, CharloomError)(message)


def run_in_process(job: BulkJob, progress: ProgressCallback | None = None) -> None:
    """Do all partitions whose parts are missing, in this process.

    Raises:
        CharloomError: If one cannot be done; what was done until then stays.
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
def _loaded(folder: str, digest: str) -> tuple[BulkJob, Model]:
    """Return a job and its model, which a worker keeps from one partition to the next."""
    job = read_job(Path(folder))
    if job.digest != digest:
        raise JobError(
            f"The job in {folder} is another one here. All workers must see the same folder at the same path."
        )
    job.check_model()
    return job, Model(load_model(job.model_path), threads=1)
