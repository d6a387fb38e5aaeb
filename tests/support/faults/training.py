"""Train and send a signal at random moments: ``python training.py FOLDER SIGNAL COUNT SEED``.

Each training is a forked process, in which PyTorch is already loaded. The signal arrives at a random moment of a phase.
The run is then resumed, and its result must equal that of an undisturbed run. Prints JSON.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from charloom.cli.main import main
from charloom.model.file.run_folder import checkpoint_steps
from charloom.training import run, run_files, trainer
from charloom.training.backends.torch.backend import TorchBackend
from support.training_runs import remains

PHASES = ("reading", "first step", "step", "evaluation", "sampling", "saving")
SMALL = ["hidden_size=16", "embedding_size=4", "seq_length=25", "batch_size=8", "sample_length=2000", "eval_every=10"]
ARGUMENTS = ["--steps", "40", "-q", *(part for s in [*SMALL, "checkpoint_every=9"] for part in ("--set", s))]
MAX_SECONDS = 5.0


def forked(action):
    """Run an action in a forked process; return its exit code and the seconds from the signal to its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            code = action(writer)
        finally:
            os._exit(code)
    os.close(writer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = time.monotonic()
    sent = os.read(reader, 100)
    os.close(reader)
    return status, ended - float(sent) if sent else 0.0


def disturbed(number, phase, occurrence, delay, arguments):
    """Train, and send the signal ``delay`` seconds after a phase starts for the ``occurrence``-th time."""

    def action(writer):
        def send():
            time.sleep(delay)
            os.write(writer, str(time.monotonic()).encode())
            os.kill(os.getpid(), number)

        seen = Counter()

        def watch(owner, name):
            original = getattr(owner, name)

            def wrapped(*parts, **named):
                seen[name] += 1
                if seen[name] == occurrence:
                    threading.Thread(target=send, daemon=True).start()
                return original(*parts, **named)

            setattr(owner, name, wrapped)

        owner, name = {
            "reading": (run, "prepare"),
            "first step": (TorchBackend, "step"),
            "step": (TorchBackend, "step"),
            "evaluation": (trainer.Trainer, "_evaluate"),  # not the one before the first step
            "sampling": (trainer.Trainer, "_sample"),
            "saving": (run_files.RunFiles, "save_checkpoint"),
        }[phase]
        watch(owner, name)
        return main(arguments)

    return forked(action)


def try_once(folder, number, phase, expected):
    """Disturb one training, check that nothing was lost, and return the seconds until it ended."""
    occurrence = {"step": random.randint(2, 39), "reading": 1, "first step": 1}.get(phase, random.randint(1, 4))
    target = folder / "run"
    train = ["train", str(folder / "book.txt"), "-o", str(target), *ARGUMENTS]
    code, seconds = disturbed(number, phase, occurrence, random.uniform(0, 0.004), train)
    if code == 128 + number:
        if target.exists():
            code, _ = forked(lambda _: main(["train", "--resume", str(target), "-q"]))
            assert code in (0, 2), code  # 2: the signal arrived after the training was complete
        else:
            assert phase in ("reading", "saving")  # before there was anything to resume
    else:
        assert code == 0, code  # the signal arrived too late
    if target.exists():
        assert checkpoint_steps(target), (phase, occurrence, code, [str(path) for path in target.rglob("*")])
        assert remains(target) == expected, (phase, occurrence)
        os.system(f"rm -r '{target}'")
    return seconds


def whole(folder):
    code, _ = forked(lambda _: main(["train", str(folder / "book.txt"), "-o", str(folder / "whole"), *ARGUMENTS]))
    assert code == 0
    return remains(folder / "whole")


if __name__ == "__main__":
    place, sent, count = Path(sys.argv[1]), signal.Signals[sys.argv[2]], int(sys.argv[3])
    random.seed(sys.argv[4])
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True)  # load fused AdamW before forking
    untouched = whole(place)
    times = {phase: [] for phase in PHASES}
    for i in range(count):
        phase = PHASES[i % len(PHASES)]
        times[phase].append(try_once(place, sent, phase, untouched))
    slowest = max(max(seconds) for seconds in times.values() if seconds)
    assert slowest < MAX_SECONDS, slowest
    print(json.dumps({"slowest": slowest, "phases": {phase: len(seconds) for phase, seconds in times.items()}}))
