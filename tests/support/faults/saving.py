"""Save checkpoints while the process is killed or file operations fail: ``python saving.py FOLDER KIND COUNT``.

KIND is "kills" (COUNT kills at random moments) or "operations" (a kill, and each of several errors, at every file
operation of a save; ``faults.c`` must be preloaded). After each, the newest checkpoint must be complete. Prints JSON.
"""

import errno
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from charloom._util.atomic_io import remove_parts
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CharloomError
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.file.run_folder import CHECKPOINTS, METRICS, checkpoint_steps
from charloom.training.checkpoint import SavedTraining, checkpoint_bytes, newest_checkpoint
from charloom.training.run_files import RunFiles

ARCHITECTURE = Architecture(5, "gru", embedding_size=16, hidden_size=128)
FACTS = {"corpus": "none", "corpus_sha256": "", "corpus_characters": 0, "recipe": "auto", "settings": {}}
TRAINING_FACTS = {
    "position": [0, 0],
    "rate_factor": 1.0,
    "finished": False,
    "history": {},
    "seconds": 0.0,
    "device": "cpu",
}
ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EACCES", "EROFS")
ARM, DISARM = -77, -78


def save(files, step):
    """Save a checkpoint in which every number equals the step."""
    shapes = ARCHITECTURE.parameter_shapes()
    weights = {name: np.full(shape, step, np.float32) for name, shape in shapes.items()}
    averages = {
        f"optimizer.{kind}.{name}": np.full((1,) if kind == "step" else value.shape, step + 0.5, np.float32)
        for name, value in weights.items()
        for kind in ("step", "exp_avg", "exp_avg_sq")
    }
    model = SavedModel(ARCHITECTURE, Vocabulary("abcde"), weights, FACTS | {"step": step})
    files.append(METRICS, f'{{"step": {step}}}\n')
    training = TRAINING_FACTS | {"step": step, "files": files.lengths()}
    files.save_checkpoint(step, model, SavedTraining(training, averages))


def newest(run):
    """Return the step of the newest checkpoint, and check that all its parts belong to that step."""
    model, training, notices = newest_checkpoint(run)
    step = training.facts["step"]
    assert not notices, notices
    assert model.facts["step"] == step and all((w == step).all() for w in model.weights.values())
    assert all((t == step + 0.5).all() for t in training.tensors.values())
    lines = (run / METRICS).read_bytes()[: training.facts["files"][METRICS]].decode().splitlines()
    assert json.loads(lines[-1])["step"] == step
    return step


def begin(folder):
    run = Path(folder)
    (run / CHECKPOINTS).mkdir(parents=True)
    files = RunFiles(run, 1, checkpoint_bytes(ARCHITECTURE.num_parameters))
    save(files, 1)
    return run, files


def kills(folder, count):
    """Kill a process that saves continuously, at random moments. Only the checkpoint being saved may be lost."""
    run, files = begin(folder)
    left_over = 0
    for _ in range(count):
        reader, writer = os.pipe()
        start = newest(run)
        child = os.fork()
        if child == 0:
            files.truncate({METRICS: (run / METRICS).stat().st_size})
            for step in range(start + 1, start + 10**6):
                save(files, step)
                os.write(writer, b".")
        os.close(writer)
        time.sleep(random.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        completed = start + len(os.read(reader, 1 << 16))
        os.close(reader)
        assert newest(run) in (completed, completed + 1)
        parts = [*run.rglob(".*.part")]
        assert len(parts) <= 1
        left_over += len(parts)
        remove_parts(run / CHECKPOINTS)
    files.truncate({METRICS: (run / METRICS).stat().st_size})
    save(files, newest(run) + 1)
    assert len(checkpoint_steps(run)) == 1  # older ones that a kill left are removed too
    return {"kills": count, "parts left and removed": left_over}


def operations(folder, count):
    """Kill and fail at each file operation of a save, or with ``count`` at a random selection of them."""
    run, files = begin(folder)
    counts = dict.fromkeys(("KILL", *ERRORS), 0)
    for kind in counts:
        number = 0 if kind == "KILL" else getattr(errno, kind)
        for at in range(1, 1000):
            if count and random.random() > count / 250:
                continue
            before = newest(run)
            files.truncate({METRICS: (run / METRICS).stat().st_size})
            child = os.fork()
            if child == 0:
                os._exit(_one_save(files, before + 1, at, number))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            after = newest(run)
            assert after in (before, before + 1)
            assert status != 0 or after == before + 1, "it reported success"
            remove_parts(run / CHECKPOINTS)
            remove_parts(run)
            if status == 9:  # no fault happened: this save has fewer operations
                break
            counts[kind] += 1
    return counts


def _one_save(files, step, at, number):
    """Return 0 if the save succeeded despite the fault, 1 if it reported an error, 9 if no fault happened."""
    os.write(ARM, f"{at} {number}".encode())
    try:
        save(files, step)
        status = 0
    except (OSError, CharloomError):
        status = 1
    return status if os.write(DISARM, b"") else 9


if __name__ == "__main__":
    print(json.dumps({"kills": kills, "operations": operations}[sys.argv[2]](sys.argv[1], int(sys.argv[3]))))
