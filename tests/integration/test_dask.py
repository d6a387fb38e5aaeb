"""Bulk jobs on Dask: the same rows as in one process, even if workers or all processes are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import charloom
from charloom.bulk.dask import _connected, run_on_dask
from charloom.bulk.generation import generation_job
from charloom.bulk.runner import run_in_process
from charloom.bulk.scoring import scoring_job
from charloom.errors import UnknownCharacterError
from support.errors import raises_code
from support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def book(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text)
    return tmp_path


def parts(job):
    return [job.part_path(number).read_bytes() for number in range(job.partitions)]


def score(folder, **options):
    return scoring_job(folder, "shakespeare", ["book.txt"], partition_bytes=600, **options)


def test_two_workers_write_the_same_parts_as_one_process(book):
    for name, make in (("scored", score), ("generated", generate)):
        local, remote, reported = make(f"{name}-local"), make(f"{name}-remote"), []
        run_in_process(local)
        run_on_dask(remote, workers=2, progress=lambda *counts, reported=reported: reported.append(counts))
        assert parts(remote) == parts(local)
        assert reported == [(done, remote.partitions) for done in range(remote.partitions + 1)]


def generate(folder):
    return generation_job(folder, "shakespeare", 40, length=50, partition_texts=7)


def test_an_error_on_a_worker_is_raised_in_the_client(book, text):
    (book / "book.txt").write_text(text + "a \u2603\n")
    job = score("job", unknown="error")
    path, line = str(book.resolve() / "book.txt"), text.count("\n") + 1
    with raises_code("unknown_character", UnknownCharacterError, path=path, line=line):
        run_on_dask(job, workers=1)
    assert job.missing() == [job.partitions - 1]


def test_the_partition_of_a_killed_worker_is_processed_by_another(book):
    from distributed import Client, LocalCluster

    job, killed = score("job"), []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())

        def kill(done, _total):
            if done == 2 and not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

        run_on_dask(job, client=client, progress=kill)
    local = score("local")
    run_in_process(local)
    assert killed and parts(job) == parts(local)


def test_local_workers_listen_on_localhost_only():
    import psutil

    with _connected(2, None, None) as client:
        pids = {os.getpid(), *client.run(os.getpid).values()}
        listening = [
            socket.laddr.ip
            for pid in pids
            for socket in psutil.Process(pid).net_connections("inet")
            if socket.status == psutil.CONN_LISTEN
        ]
    assert len(pids) == 3 and len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


def example(*arguments):
    return [sys.executable, str(ROOT / "examples" / "bulk_score.py"), *arguments]


def test_a_killed_and_restarted_job_scores_every_line_once(book, text):
    (book / "book.txt").write_text(text * 12)
    command = example("shakespeare", "book.txt", "-o", "job", "--workers", "2", "--partition-mb", "0.002")
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while len(done := list(Path("job/parts").glob("*.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in done}
    again = subprocess.run([*command, "--rows", "rows.jsonl"], capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    total = len(list(Path("job/parts").glob("*.jsonl")))
    assert len(before) < total and not list(Path("job/parts").glob(".*"))
    assert {path: path.stat().st_mtime_ns for path in done} == before
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    lines = text.splitlines(keepends=True) * 12
    offsets = [0]
    for line in lines[:-1]:
        offsets.append(offsets[-1] + len(line))  # the text is ASCII
    assert [row["offset"] for row in rows] == offsets
    model = charloom.load("shakespeare")
    for row, line in list(zip(rows, lines, strict=True))[:4]:
        assert row["nats"] == round(model.score(line.rstrip("\n"), precision="int8").total_nats, 4)


def test_the_example_reports_user_errors_without_a_traceback(book):
    for arguments, name in ((["shakespear", "book.txt"], "shakespear"), (["shakespeare", "bok.txt"], "bok.txt")):
        done = subprocess.run(example(*arguments, "-o", "job"), capture_output=True, text=True, timeout=100)
        assert done.returncode == 2 and name in done.stderr and "Traceback" not in done.stderr
