"""Open bad model files in a process of its own, which tells what came of it, one JSON object a line.

    python attacks/opening.py files FOLDER          every file of a folder
    python attacks/opening.py mutated FOLDER FROM COUNT

While a file is opened nothing else may happen than that it is read: an audit hook, which cannot be taken out again,
hears of everything that Python imports, compiles, executes, starts, connects to or writes. What opens must be of use:
both engines write and score with it, and its facts are shown.
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
from charloom.cli.commands.info import look, page_of
from charloom.errors import ModelFileError
from charloom.inference.engines.factory import ENGINE
from charloom.inference.model import Model
from charloom.model.file.model_file import save_model
from charloom.native import engine as compiled
from charloom.training.checkpoint import load_checkpoint
from draft import Draft
from mutate import mutated

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HANGS = 20  # seconds after which the process is ended and tells where it was
heard = []
listening = False
opened = ""


def hear(event, arguments):
    """Keep whatever happens besides reading the file that is opened."""
    if not listening:
        return
    if event == "open":
        name, mode, flags = arguments  # the file by its name, and once more by its number
        if (name == opened or isinstance(name, int)) and mode in (None, "r") and not flags & WRITES:
            return
    heard.append(f"{event} {str(arguments)[:100]}")


def open_it(path):
    """Return what came of opening a file."""
    global listening, opened
    heard.clear()
    opened = str(path)
    saved, found = None, {}
    before = memory(peak=False)
    began = time.perf_counter()
    listening = True
    try:
        saved, _ = load_checkpoint(path)
    except ModelFileError as error:
        found["refused"] = str(error)
    except BaseException as error:
        found["raised"] = repr(error)
    finally:
        listening = False
    found |= {"seconds": time.perf_counter() - began, "heard": [*heard], "memory": memory() - before}
    if saved is not None:
        found["used"] = use(saved, path)
    return found


def use(saved, path):
    """Write, score and show with a model; return how many engines did, 0 if its sums overflow and they say so."""
    text = (saved.vocabulary.characters * 20)[:20]
    count = 0
    for name in ("numpy", *(("native",) if compiled else ())):
        os.environ[ENGINE] = name
        for precision in ("int8", "float32"):
            model = Model(saved)
            try:
                model.engine(precision)
            except ModelFileError as error:
                assert "overflow" in str(error)
                continue
            written = model.generate(length=20, seed=1, precision=precision)
            score = model.score(text, precision=precision)
            assert len(written) == 20 and score.total_nats >= 0, (written, score)
            for harsh in ({"temperature": 1e-300, "repetition_penalty": 0.01}, {"top_p": 1e-300, "min_p": 1.0}):
                assert len(model.generate(length=5, seed=1, precision=precision, **harsh)) == 5
            count += 1
    shown = page_of(look(str(path)))
    assert all(c.isprintable() or c == "\n" for c in shown), shown
    assert model._repr_html_()
    save_model(path.with_suffix(".again"), saved)
    path.with_suffix(".again").unlink()
    return count


def memory(peak=True):
    """Return the memory of this process in bytes, or the largest since ``forget_peak``; 0 where that is not told."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)[1])


def forget_peak():
    """Let the largest memory be that of now, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def warm_up(folder):
    """Open and use good files; return what was heard while the first was opened.

    A large one is read with threads, which are imported once, and what is used may import, too: that is done now.
    """
    path, first = folder / "good", []
    for draft in (Draft(checkpoint=True), Draft(hidden=600)):
        path.write_bytes(draft.data())
        first.append(open_it(path))
    path.unlink()
    return first[0]["heard"]


def main():
    """Open what was asked for."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("error")
    sys.addaudithook(hear)
    first = warm_up(folder)
    forget_peak()
    print(json.dumps({"baseline": memory(), "first": first}), flush=True)
    if what == "files":
        for path in sorted(folder.glob("*.safetensors")):
            forget_peak()
            print(json.dumps({"file": path.name, **watched(path)}), flush=True)
        return
    path = folder / "mutated.safetensors"
    first, count = map(int, sys.argv[3:5])
    for number in range(first, first + count):
        data, done = mutated(number)
        path.write_bytes(data)
        print(json.dumps({"number": number, "done": done, "size": len(data), **watched(path)}), flush=True)


def watched(path):
    """Open a file; end the process if that takes too long."""
    faulthandler.dump_traceback_later(HANGS, exit=True)
    found = open_it(path)
    faulthandler.cancel_dump_traceback_later()
    return found


if __name__ == "__main__":
    main()
