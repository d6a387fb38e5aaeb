"""Run bulk jobs on Dask, across processes and machines.

Dask decides which worker does which partition, and has another one do it when a worker is lost. Between its processes
go the folder's name, a digest, a number, and back a few more numbers. What Dask sends it sends as pickles, so that
whoever reaches its ports can run programs there: they are for this machine, or for a network of one's own.
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

_AHEAD = 2  # partitions submitted per thread: one running, one waiting
_RETRIES = 3  # of a partition whose disk failed; so often, too, it may take its worker with it


def run_on_dask(
    job: BulkJob,
    *,
    workers: int | None = None,
    address: str | None = None,
    client: Any = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Process all missing partitions.

    Args:
        job: The job.
        workers: How many processes of one thread to start here, reached from this machine alone.
        address: Or that of a scheduler, such as "tcp://10.0.0.1:8786"; its workers must see the job's folder and its
            texts at the same paths, and have one thread each.
        client: Or a ``distributed.Client``.
        progress: Called with the number of finished partitions and their total.

    Raises:
        CharloomError: If a partition cannot be done, or ends every worker that tries; what was done until then stays.
        MissingExtraError: If dask or distributed is not installed.
        OSError: If a disk fails, or the scheduler cannot be reached.
        SettingsError: If not exactly one of workers, address and client is given.
    """
    if sum(given is not None for given in (workers, address, client)) != 1:
        raise SettingsError("Pass exactly one of workers, address and client.", code="conflicting_options")
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise SettingsError(
            f"workers must be at least 1 process, got {workers!r}.",
            code="invalid_setting",
            name="workers",
            value=json_value(workers),
            minimum=1,
        )
    require_extra("Spreading bulk work by Dask", "bulk", "distributed")
    with _connected(workers, address, client) as connected:
        _run_missing(job, connected, progress)
    job.finish()


def _run_missing(job: BulkJob, client: Any, progress: ProgressCallback | None) -> None:
    """Submit missing partitions so that every thread is busy, but no more than that."""
    report = progress or (lambda _done, _total: None)
    missing = job.missing()
    done, waiting = job.partitions - len(missing), iter(missing)
    report(done, job.partitions)
    running = _distributed().as_completed(loop=client.loop)

    def fill() -> None:
        threads = max(1, sum(client.ncores().values()))
        for number in islice(waiting, max(0, _AHEAD * threads - running.count())):
            running.add(_submit(client, job, number))

    fill()
    for future in running:
        raise_if_failed(_result(future))
        done += 1
        report(done, job.partitions)
        fill()


def _submit(client: Any, job: BulkJob, number: int) -> Any:
    # a key of its own each time: whether it is done is told by the part, not by what a scheduler remembers
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
    """Return Dask's module, which takes a second to load."""
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
