"""Training survives faults: kills, I/O errors, flipped bits, interruptions, signals and non-finite numbers."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from charloom.errors import ModelFileError
from charloom.model.file.run_folder import checkpoint_path, checkpoint_steps
from charloom.training.checkpoint import load_checkpoint, newest_checkpoint, read_checkpoint
from charloom.training.events import EventRecord, StepRecord
from charloom.training.run import run_training
from support.errors import check_error, codes
from support.paths import SUPPORT
from support.reliability import counts
from support.training_runs import KINDS, Poison, recipe, remains, resume, train
from support.waiting import wait_for

FAULTS = SUPPORT / "faults"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
SMALL = ["--set", "hidden_size=16", "--set", "embedding_size=4", "--set", "seq_length=25", "--set", "batch_size=8"]


def run_script(name, *arguments, **environment):
    """Run a script of ``support/faults`` and return the JSON object of its last output line."""
    # child processes inherit ignored signals, for example under nohup: reset them
    done = subprocess.run(
        [sys.executable, FAULTS / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=reset_signals,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def reset_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@counts(100, 1000)
def test_kills_while_saving(tmp_path, report_trials, count):
    output = run_script("saving.py", tmp_path / "run", "kills", count)
    left = output["parts left and removed"]
    result = f"0 unreadable checkpoints, 0 with mixed steps; {left} partial files removed"
    report_trials("atomic_checkpoints", "SIGKILL at a random moment during a save", count, result)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    if not shutil.which("cc") or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, FAULTS / "faults.c", "-ldl"], check=True)
    return library


@counts(8, 0)
def test_faults_at_every_file_operation_of_a_save(tmp_path, report_trials, faults, count):
    """A count of 0 means all operations."""
    output = run_script("saving.py", tmp_path / "run", "operations", count, LD_PRELOAD=str(faults))
    kills = output.pop("KILL")
    if not count:
        assert kills > 15 and all(number == kills for number in output.values())
        report_trials(
            "atomic_checkpoints", "SIGKILL at each file operation of a save", kills, "0 unreadable checkpoints"
        )
        kinds = ", ".join(output)
        report_trials(
            "disk_errors",
            f"{kinds} at each file operation of a save",
            sum(output.values()),
            "the older or the newer checkpoint loads; no failed save reported as successful",
        )


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_save_syncs_file_renames_and_syncs_folder(tmp_path, report_trials):
    log = tmp_path / "log"
    names = "trace=write,fsync,rename,renameat,renameat2"
    command = ["strace", "-f", "-y", "-o", log, "-e", names, sys.executable, FAULTS / "saving.py"]
    done = subprocess.run([*command, tmp_path / "run", "kills", "0"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("strace may not trace here")
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if "checkpoints" in line]
    kinds = [call.partition("(")[0] for call in calls]
    assert [k for i, k in enumerate(kinds) if i == 0 or k != kinds[i - 1]] == 2 * ["write", "fsync", "rename", "fsync"]
    assert ".part" in calls[-3] and ".part" not in calls[-1]
    report_trials(
        "atomic_checkpoints",
        "order of a save's system calls, by strace",
        1,
        "write, fsync, rename, fsync of the folder",
    )


@pytest.fixture(scope="module")
def checkpoint(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    train(corpus, folder)
    return folder


@counts(1000, 10_000)
def test_flipped_bits(checkpoint, report_trials, count):
    data = checkpoint_path(checkpoint, 40).read_bytes()
    read_checkpoint(data, "it")
    random.seed(count)
    for _ in range(count):
        damaged = bytearray(data)
        position = random.randrange(len(data)) if random.random() < 0.7 else random.randrange(4000)
        damaged[position] ^= 1 << random.randrange(8)
        with pytest.raises(ModelFileError):
            read_checkpoint(bytes(damaged), "it")
    lengths = range(0, len(data), 512)
    for length in lengths:
        with pytest.raises(ModelFileError):
            read_checkpoint(data[:length], "it")
    report_trials("damaged_checkpoints", "one bit of a checkpoint flipped", count, "all detected")
    report_trials("damaged_checkpoints", "a truncated checkpoint", len(lengths), "all detected")


@counts(5, 100)
def test_resume_skips_damaged_checkpoints(checkpoint, tmp_path, report_trials, count):
    random.seed(count)
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run)
    newest, before = reversed(checkpoint_steps(run)[-2:])
    data = checkpoint_path(run, newest).read_bytes()
    for _ in range(count):
        damaged = bytearray(data)
        damaged[random.randrange(len(data))] ^= 1 << random.randrange(8)
        checkpoint_path(run, newest).write_bytes(damaged)
        _, training, notices = newest_checkpoint(run)
        assert training.facts["step"] == before and codes(notices) == ["damaged_checkpoint_skipped"]
        assert notices[0].data["step"] == newest
    report_trials(
        "damaged_checkpoints",
        "resuming when the newest checkpoint is damaged",
        count,
        "resumed from the previous checkpoint, with a warning",
    )


@counts(1, 30)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["within an epoch", "at the end of an epoch", "after an evaluation"])
def test_stopped_and_resumed_runs_are_bit_identical(corpus, whole, tmp_path, report_trials, kind, where, count):
    random.seed(f"{kind} {where} {count}")
    epoch = {"tutorial-gru": 28, "tutorial-lstm": 28}.get(kind, 26)
    for i in range(count):
        cut = {"at the end of an epoch": epoch, "after an evaluation": 10 * random.randint(1, 3)}.get(where)
        cut = cut or random.choice([step for step in range(1, 40) if step % 10 and step != epoch])
        train(corpus, tmp_path / f"{i}", kind=kind, stop_after=cut)
        resume(corpus, tmp_path / f"{i}")
        assert remains(tmp_path / f"{i}") == whole(kind), cut
        shutil.rmtree(tmp_path / f"{i}")
    report_trials("exact_resume", f"interrupted {where}, then resumed", count, "bit-identical model", variant=kind)


@pytest.mark.alone
@counts(6, 200)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals(text, tmp_path, report_trials, name, count):
    (tmp_path / "book.txt").write_text(text)
    output = run_script("training.py", tmp_path, name, count, 0)
    phases = ", ".join(f"{phase} {number}" for phase, number in output["phases"].items())
    result = f"0 steps lost, exact resume; stopped within {output['slowest']:.2f} s; trials per phase: {phases}"
    report_trials("signals", f"{name} in each phase of a training run", count, result)


@pytest.mark.alone
@counts(1, 20)
def test_second_signal_exits_immediately(text, tmp_path, report_trials, count):
    (tmp_path / "book.txt").write_text(text)
    slowest = 0.0
    for i in range(count):
        with started(tmp_path, f"run{i}", "hidden_size=512") as process:
            time.sleep(random.uniform(0, 0.3))
            process.send_signal(signal.SIGTERM)
            time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            assert process.wait(timeout=10) == 143
            slowest = max(slowest, time.monotonic() - sent)
        newest_checkpoint(tmp_path / f"run{i}")
    assert slowest < 0.5
    report_trials("signals", "a second SIGTERM", count, f"exited within {slowest:.2f} s; the last checkpoint loads")


def test_sigusr1_saves_and_sighup_stops(text, tmp_path, report_trials):
    (tmp_path / "book.txt").write_text(text)
    with started(tmp_path, "run") as process:
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: checkpoint_steps(tmp_path / "run")[-1] > 0)
        assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)  # a terminal and its shell both send it
        assert process.wait(timeout=10) == 129
    newest_checkpoint(tmp_path / "run")
    report_trials("signals", "SIGUSR1, then SIGHUP twice", 1, "saved and continued; then saved and stopped")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [20])
def test_kills_of_a_training(text, tmp_path, report_trials, count):
    """Kill a real training at random moments, and resume it each time."""
    (tmp_path / "book.txt").write_text(text)
    options = ("hidden_size=64", "checkpoint_every=5", "eval_every=20")
    train_in(tmp_path, "whole", 400, *options).wait()
    random.seed(0)
    for i in range(count):
        with started(tmp_path, f"run{i}", *options, steps=400) as process:
            time.sleep(random.uniform(0, 3))
            process.kill()
        left = charloom_in(tmp_path, "train", "--resume", f"run{i}", "-q", "--json")
        if left.returncode:
            check_error(json.loads(left.stderr.splitlines()[-1])["error"], "run_finished", steps=400)
        assert remains(tmp_path / f"run{i}") == remains(tmp_path / "whole")
    report_trials(
        "exact_resume",
        "`kill -9` of `charloom train`, then `--resume`",
        count,
        "the same model as without interruption",
    )


def charloom_in(folder, *arguments, **options):
    """Run a command to its end in a separate process."""
    command = [sys.executable, "-m", "charloom", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, **{"preexec_fn": reset_signals, **options}
    )


def train_in(folder, run, steps, *settings):
    """Start a training run in a separate process."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "charloom", "train", "book.txt", "-o", run, "--steps", str(steps)]
    with (folder / f"{run}.log").open("w") as log:  # to find the reason of a failure
        return subprocess.Popen([*command, *SMALL[2:], *chosen], cwd=folder, preexec_fn=reset_signals, stderr=log)


class started:
    """A training process that has written its first checkpoint."""

    def __init__(self, folder, run, *settings, steps=10**6):
        self.process = train_in(folder, run, steps, *(settings or ("hidden_size=16",)))
        try:
            wait_for(lambda: checkpoint_steps(folder / run))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@counts(16, 200)
def test_nonfinite_values_are_handled_everywhere(corpus, tmp_path, report_trials, monkeypatch, count):
    random.seed(count)
    real = Poison(monkeypatch, [], "", 0).step
    for i in range(count):
        where = ("loss", "gradient", "activation", "weight")[i % 4]
        value, at = random.choice([float("nan"), float("inf"), float("-inf")]), random.randint(2, 39)
        monkeypatch.setattr("charloom.training.backends.torch.backend.TorchBackend.step", real)
        poison = Poison(monkeypatch, [at], where, value)
        records = []
        for record in run_training(corpus, recipe(), str(tmp_path / f"{i}")):
            records.append(record)
            if isinstance(record, EventRecord) and record.event == "rolled back":
                poison.steps = set()
        left_out = [r.step for r in records if isinstance(r, StepRecord) and r.loss is None]
        events = [r for r in records if isinstance(r, EventRecord)]
        assert left_out[0] == at and events[0].event == "skipped"
        assert len(left_out) == 1 or where == "weight"
        for path in (tmp_path / f"{i}").rglob("*.safetensors"):
            for tensor in load_checkpoint(path)[0].weights.values():
                assert np.isfinite(tensor).all()
        shutil.rmtree(tmp_path / f"{i}")
    report_trials(
        "non_finite_numbers",
        "NaN or infinity in a loss, gradient, hidden state or weight",
        count,
        "update skipped, or rolled back to a checkpoint; none saved",
    )


@pytest.mark.slow
def test_file_size_limit_ends_with_an_error_and_keeps_the_checkpoint(text, tmp_path, report_trials):
    (tmp_path / "book.txt").write_text(text)

    def limited():
        import resource

        reset_signals()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))

    command = ["train", "book.txt", "-o", "run", "--steps", "60", *SMALL[2:], "--set", "hidden_size=64", "--json"]
    done = charloom_in(tmp_path, *command, preexec_fn=limited)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    check_error(error, "save_failed", attempts=4, reason="File too large")
    assert newest_checkpoint(tmp_path / "run")[1].facts["step"] == 0
    report_trials(
        "disk_errors",
        "a file size limit (EFBIG) during a real training run",
        1,
        "one clear error message, exit code 1",
    )
