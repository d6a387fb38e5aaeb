"""Open malformed model files in a separate process and print one JSON object per file about what happened.

    python attacks/opening.py files FOLDER               open every file of a folder
    python attacks/opening.py mutated FOLDER FIRST COUNT  open COUNT randomly changed files

Opening a file must only read that file. An audit hook, which cannot be removed once installed, records everything else
that Python imports, compiles, executes, starts, connects to or writes. A file that opens must be usable: both engines
generate and score with it, and ``charloom info`` shows it.
"""

import contextlib
import faulthandler
import json
import os
import re
import sys
import time
import warnings
from pathlib import Path

import charloom.inference.engines.native
import charloom.inference.engines.numpy  # noqa: F401
from charloom.cli.commands.info import _format_model, describe_model
from charloom.errors import ModelFileError
from charloom.inference.engines.factory import ENGINE
from charloom.inference.model import Model
from charloom.model.file.model_file import save_model
from charloom.native import engine as compiled
from charloom.training.checkpoint import load_checkpoint
from draft import Draft
from mutate import mutated

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HANGS = 20  # seconds after which the process prints its traceback and exits
recorded = []
recording = False
opened = ""


def record(event, arguments):
    """Record every audit event except reading the file that is being opened."""
    if not recording:
        return
    if event == "open":
        name, mode, flags = arguments  # one event with the file's name, one with its descriptor
        if (name == opened or isinstance(name, int)) and mode in (None, "r") and not flags & WRITES:
            return
    recorded.append(f"{event} {str(arguments)[:100]}")


def open_file(path):
    """Open a file and return the result, with the time, the memory and the audit events of opening it."""
    global recording, opened
    recorded.clear()
    opened = str(path)
    saved, result = None, {}
    before = memory(peak=False)
    began = time.perf_counter()
    recording = True
    try:
        saved, _ = load_checkpoint(path)
    except ModelFileError as error:
        result |= {"refused": str(error), "code": error.code, "data": error.data}
    except BaseException as error:
        result["raised"] = repr(error)
    finally:
        recording = False
    result |= {"seconds": time.perf_counter() - began, "events": [*recorded], "memory": memory() - before}
    if saved is not None:
        result["used"] = use(saved, path)
    return result


def use(saved, path):
    """Generate, score and show with a model.

    Returns:
        The number of engines and precisions that worked; 0 if all of them reported that sums overflow.
    """
    text = (saved.vocabulary.characters * 20)[:20]
    count = 0
    for name in ("numpy", *(("native",) if compiled else ())):
        os.environ[ENGINE] = name
        for precision in ("int8", "float32"):
            model = Model(saved)
            try:
                model.engine(precision)
            except ModelFileError as error:
                assert error.code == "weights_too_large", error
                continue
            written = model.generate(length=20, seed=1, precision=precision)
            score = model.score(text, precision=precision)
            assert len(written) == 20 and score.total_nats >= 0, (written, score)
            for extreme in ({"temperature": 1e-300, "repetition_penalty": 0.01}, {"top_p": 1e-300, "min_p": 1.0}):
                assert len(model.generate(length=5, seed=1, precision=precision, **extreme)) == 5
            count += 1
    shown = _format_model(describe_model(str(path)))
    assert all(c.isprintable() or c == "\n" for c in shown), shown
    assert model._repr_html_()
    save_model(path.with_suffix(".again"), saved)
    path.with_suffix(".again").unlink()
    return count


def memory(peak=True):
    """Return this process's memory in bytes, or its peak since ``reset_peak``; 0 if the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)[1])


def reset_peak():
    """Reset the peak memory to the current memory, if Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def warm_up(folder):
    """Open and use valid files; return the events recorded while the first one was opened.

    A large file is read with threads, whose modules are imported once, and using a model imports modules, too. This
    function triggers those imports before the audited files are opened.
    """
    path, events = folder / "good", []
    for draft in (Draft(checkpoint=True), Draft(hidden=600)):
        path.write_bytes(draft.data())
        events.append(open_file(path))
    path.unlink()
    return events[0]["events"]


def main():
    """Open the files named on the command line."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("error")
    sys.addaudithook(record)
    first = warm_up(folder)
    reset_peak()
    print(json.dumps({"baseline": memory(), "first": first}), flush=True)
    if what == "files":
        for path in sorted(folder.glob("*.safetensors")):
            reset_peak()
            print(json.dumps({"file": path.name, **open_with_timeout(path)}), flush=True)
        return
    path = folder / "mutated.safetensors"
    first, count = map(int, sys.argv[3:5])
    for number in range(first, first + count):
        data, done = mutated(number)
        path.write_bytes(data)
        print(json.dumps({"number": number, "done": done, "size": len(data), **open_with_timeout(path)}), flush=True)


def open_with_timeout(path):
    """Open a file; end the process if that takes too long."""
    faulthandler.dump_traceback_later(HANGS, exit=True)
    result = open_file(path)
    faulthandler.cancel_dump_traceback_later()
    return result


if __name__ == "__main__":
    main()
