"""Run bulk jobs on Dask, across processes and machines.

Dask assigns partitions to workers and reassigns the partitions of lost workers. A task consists of the path of the
job's folder, a digest and a partition number; its result is a few numbers. Dask exchanges pickles: anyone who can
connect to its ports can run code, so they must be reachable from this machine or a trusted network only.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import Any
from uuid import uuid4

from charloom._util.extras import require_extra
from charloom._util.progress import ProgressCallback
from charloom.bulk.job import BulkJob
from charloom.bulk.runner import raise_if_failed, run_partition
from charloom.errors import CharloomError, SettingsError
from charloom.inference.generation_options import json_value

_AHEAD = 2  # partitions submitted per thread: one running, one queued
_RETRIES = 3  # retries of a partition after a disk error


def run_on_dask(
    job: BulkJob,
    *,
    workers: int | None = None,
    address: str | None = None,
    client: Any = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Process all missing partitions of a job on Dask workers; pass exactly one of workers, address and client.

    Args:
        job: The job.
        workers: Number of single-threaded worker processes to start on this machine.
        address: Address of a running scheduler, such as "tcp://10.0.0.1:8786". Its workers must have one thread each,
            and see the job's folder and texts at the same paths.
        client: A ``distributed.Client``.
        progress: Called with the number of finished partitions and the total.

    Raises:
        CharloomError: If a partition fails or crashes every worker that processes it. Finished partitions are kept.
        MissingExtraError: If dask or distributed is not installed.
        OSError: If a disk fails or the scheduler is unreachable.
        SettingsError: If not exactly one of workers, address and client is passed.
    """
    if sum(option is not None for option in (workers, address, client)) != 1:
        raise SettingsError("Pass exactly one of workers, address and client.", code="conflicting_options")
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise SettingsError(
            f"workers must be at least 1 process, got {workers!r}.",
            code="invalid_setting",
            name="workers",
            value=json_value(workers),
            minimum=1,
        )
    require_extra("Running bulk jobs on Dask", "bulk", "distributed")
    with _connected(workers, address, client) as connected:
        _run_missing(job, connected, progress)
    job.finish()


def _run_missing(job: BulkJob, client: Any, progress: ProgressCallback | None) -> None:
    """Submit missing partitions, at most ``_AHEAD`` per thread at a time, and wait for their results."""
    report = progress or (lambda _done, _total: None)
    missing = job.missing()
    done, unsubmitted = job.partitions - len(missing), iter(missing)
    report(done, job.partitions)
    running = _distributed().as_completed(loop=client.loop)

    def fill() -> None:
        threads = max(1, sum(client.ncores().values()))
        for number in islice(unsubmitted, max(0, _AHEAD * threads - running.count())):
            running.add(_submit(client, job, number))

    fill()
    for future in running:
        raise_if_failed(_result(future))
        done += 1
        report(done, job.partitions)
        fill()


def _submit(client: Any, job: BulkJob, number: int) -> Any:
    # a unique key: Dask must not return a cached result of an earlier run, because the part may have been deleted
    key = f"charloom-{uuid4().hex}-{number}"
    return client.submit(run_partition, str(job.folder), job.digest, number, key=key, retries=_RETRIES, pure=False)


def _result(future: Any) -> dict[str, Any]:
    try:
        result: dict[str, Any] = future.result()
    except _distributed().KilledWorker:
        number = future.key.rpartition("-")[2]
        raise CharloomError(
            f"Partition {number} crashed every worker that processed it. Check that each worker has enough memory for "
            "the model and the partition, or create the job again in another folder with smaller partitions.",
            code="worker_crashed",
            partition=int(number),
        ) from None
    return result


def _distributed() -> Any:
    """Import ``distributed`` on demand: the import takes a second."""
    return import_module("distributed")


@contextmanager
def _connected(workers: int | None, address: str | None, client: Any) -> Iterator[Any]:
    if client is not None:
        yield client
        return
    distributed = _distributed()
    if workers is None:
        with distributed.Client(address) as connected:
            yield connected
        return
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected
