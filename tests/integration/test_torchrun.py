"""Training with torchrun on one machine and on two simulated hosts: results, errors, signals and lost processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps, read_metrics
from charloom.training.checkpoint import load_checkpoint
from support.ports import free_port

pytestmark = [pytest.mark.alone, pytest.mark.slow]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SETTINGS = {
    "hidden_size": 48, "embedding_size": 8, "seq_length": 25, "batch_size": 6, "precision": "float32",
    "dropout_output": 0.2, "eval_every": 20, "checkpoint_every": 10, "sample_length": 40,
}  # fmt: skip
SET = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture
def workdir(tmp_path, monkeypatch, text):
    """Change to a folder that contains a text."""
    (tmp_path / "weaving.txt").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def torchrun(size, *arguments):
    where = ["--nproc-per-node", str(size), "--master-port", str(free_port())]
    return [*TORCHRUN, *where, "-m", "charloom", "train", *arguments]


def alone(*arguments):
    return [sys.executable, "-m", "charloom", "train", *arguments]


def done(command, code=0):
    """Run a command to its end, check its exit code, and return its stdout and stderr."""
    completed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (completed.returncode == 0) == (code == 0), completed.stderr
    if code:
        assert f"exitcode  : {code} " in completed.stderr, completed.stderr
    return completed.stdout, completed.stderr


def errors_in(output):
    """Return the errors that commands with ``--json`` printed."""
    return [json.loads(line)["error"] for line in output.splitlines() if line.startswith('{"error"')]


def error_codes(output):
    return [error["code"] for error in errors_in(output)]


def losses(run):
    return [(line["step"], line["train_loss"], line["val_loss"]) for line in read_metrics(Path(run))]


def same_curve(completed, expected):
    assert [step for step, *_ in completed] == [step for step, *_ in expected]
    for (_, *one), (_, *other) in zip(completed, expected, strict=True):
        assert [x for x in one if x is not None] == pytest.approx([x for x in other if x is not None], rel=2e-5)


@contextmanager
def running_until(command, run, steps, **options):
    """Start a training run, and wait until its run folder has a checkpoint of at least ``steps`` steps."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, **options)
    try:
        until = time.monotonic() + 100
        while (saved := checkpoint_steps(Path(run))) == [] or saved[-1] < steps:
            assert process.poll() is None and time.monotonic() < until, process.communicate()[1]
            time.sleep(0.02)
        yield process
    finally:
        for child in [*psutil.Process().children(recursive=True)]:
            child.kill()
        process.communicate()


def process_of(parent, rank):
    """Return the process of a rank that torchrun started."""
    for child in psutil.Process(parent).children(recursive=True):
        if child.environ().get("RANK") == str(rank) and "charloom" in child.cmdline():
            return child
    raise AssertionError(f"no process has rank {rank}")


def test_two_processes_produce_the_run_of_one(workdir):
    printed, output = done(torchrun(2, "weaving.txt", "--steps", "60", "-o", "two", "--json", *SET))
    done(alone("weaving.txt", "--steps", "60", "-o", "one", "--quiet", *SET))
    same_curve(losses("two"), losses("one"))
    assert json.loads(printed)["steps"] == 60, "only the first process prints the result"
    assert output.count("Done after 60 steps") == 1 and "2 processes, the first on: CPU with 1 thread" in output
    assert sorted(p.name for p in Path("two").iterdir()) == sorted(p.name for p in Path("one").iterdir())
    assert Path("two/samples.txt").read_text().startswith("--- step 20\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_loses_no_checkpoint(workdir, rank):
    more = "weaving.txt", "--steps", "400", *SET
    done(alone(*more, "-o", "undisturbed", "--quiet"))
    with running_until(torchrun(2, *more, "-o", "run", "--json"), "run", 110) as process:
        process_of(process.pid, rank).kill()
        _, output = process.communicate(timeout=60)
        assert process.returncode == 1
    assert 'Traceback (most recent call last):\n  File "' + str(Path(sys.executable).parents[1]) not in output
    if rank == 1:
        assert error_codes(output) == ["lost_process"], "the remaining process reports it once"
    saved = checkpoint_steps(Path("run"))
    assert saved[-1] >= 110
    for step in saved:
        load_checkpoint(checkpoint_path(Path("run"), step))
    for size in (1, 3):
        shutil.copytree("run", f"on-{size}")
        done(torchrun(size, "--resume", f"on-{size}", "--quiet"))
        same_curve(losses(f"on-{size}"), losses("undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_stops_all_processes(workdir, number):
    more = "weaving.txt", "--steps", "400", *SET
    with running_until(torchrun(2, *more, "-o", "run"), "run", 50) as process:
        process.send_signal(number)
        _, output = process.communicate(timeout=60)
        assert process.returncode != 0
    assert output.count("Stopped after") == 1
    steps = int(re.search(r"Stopped after (\d+) steps", output)[1])
    assert checkpoint_steps(Path("run"))[-1] == steps
    done(alone(*more, "-o", "undisturbed", "--quiet"))
    done(torchrun(2, "--resume", "run", "--quiet"))
    same_curve(losses("run"), losses("undisturbed"))


def test_all_processes_plan_the_same_steps(workdir):
    printed, output = done(torchrun(2, "weaving.txt", "--minutes", "0.05", "-o", "run", "--json"))
    assert json.loads(printed)["steps"] > 0 and "planned:" in output


@pytest.mark.parametrize(("arguments", "value"), [
    (["nowhere.txt"], "nowhere.txt"),
    (["weaving.txt", "--set", "batch_sise=3"], "batch_sise"),
    (["weaving.txt", "--set", "batch_size=1"], 1),
    (["weaving.txt", "-o", "."], "."),
    (["--resume", "nothing"], "nothing"),
])  # fmt: skip
def test_error_is_reported_by_one_process(workdir, arguments, value):
    _, output = done(torchrun(2, *arguments, "--json"), code=2)
    (error,) = errors_in(output)
    assert error["code"] != "lost_process" and value in error.values(), error


def test_different_text_on_one_node_is_reported_there(workdir, tmp_path):
    """Two torchrun commands, as on two machines, each in a separate folder."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "weaving.txt").write_text("Quite another text.\n" * 300)
    port = str(free_port())
    nodes = [
        [*TORCHRUN, "--nnodes", "2", "--node-rank", str(node), "--master-addr", "127.0.0.1", "--master-port", port,
         "-m", "charloom", "train", "weaving.txt", "--steps", "20", "-o", "run", *SET]
        for node in (0, 1)
    ]  # fmt: skip
    folders = [tmp_path, tmp_path / "b"]
    started = [
        subprocess.Popen(node, cwd=folder, stderr=subprocess.PIPE, text=True)
        for node, folder in zip(nodes, folders, strict=True)
    ]
    output = [process.communicate(timeout=100)[1] for process in started]
    assert all(process.returncode != 0 for process in started)
    text, other = ((folder / "weaving.txt").read_text() for folder in folders)
    assert "process 2 of 2" in output[1] and all(f"{len(one):,} chars" in output[1] for one in (text, other))
    assert not (tmp_path / "run").exists()


NETNS = shutil.which("ip") and hasattr(os, "geteuid") and os.geteuid() == 0
HOSTS = {"loom-a": "10.77.0.1", "loom-b": "10.77.0.2"}


@pytest.fixture
def network():
    """Create two network namespaces connected by a virtual cable, which act as two hosts."""
    run = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: E731
    if not NETNS:
        pytest.skip("network namespaces need ip, and root")
    try:
        for host in HOSTS:
            run("netns", "add", host)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()}")
    try:
        run("link", "add", "loom-a", "netns", "loom-a", "type", "veth", "peer", "name", "loom-b", "netns", "loom-b")
        for host, address in HOSTS.items():
            run("-n", host, "addr", "add", f"{address}/24", "dev", host)
            run("-n", host, "link", "set", host, "up")
            run("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def on_hosts(folders, *arguments):
    """Start torchrun on each host, in separate folders; return the processes."""
    started = []
    for node, (host, folder) in enumerate(zip(HOSTS, folders, strict=True)):
        command = [
            "ip", "netns", "exec", host, *TORCHRUN, "--nnodes", "2", "--node-rank", str(node),
            "--master-addr", HOSTS["loom-a"], "--master-port", "29400", "-m", "charloom", "train", *arguments,
        ]  # fmt: skip
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": host}
        started.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True))
    return started


def test_training_on_two_hosts_survives_the_loss_of_one(workdir, network, text):
    folders = [workdir / "a", workdir / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "weaving.txt").write_text(text, encoding="utf-8")
    more = "weaving.txt", "--steps", "300", *SET
    done(alone(*more, "-o", "undisturbed", "--quiet"))

    started = on_hosts(folders, *more, "-o", "run", "--json")
    run = folders[0] / "run"
    until = time.monotonic() + 100
    while (saved := checkpoint_steps(run)) == [] or saved[-1] < 60:
        assert time.monotonic() < until and all(process.poll() is None for process in started)
        time.sleep(0.02)
    process_of(started[1].pid, 1).kill()
    output = [process.communicate(timeout=100)[1] for process in started]
    assert error_codes(output[0]) == ["lost_process"]
    assert not (folders[1] / "run").exists(), "the second host writes no files"
    for step in checkpoint_steps(run):
        load_checkpoint(checkpoint_path(run, step))

    for process in on_hosts(folders, "weaving.txt", "--resume", "run"):
        assert process.communicate(timeout=100) and process.returncode == 0
    same_curve(losses(run), losses("undisturbed"))
