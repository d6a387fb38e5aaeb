"""Model files that mean harm, or mean nothing: each is refused with the reason, at once, and nothing else happens.

``attacks/`` makes them; they are opened in a process of its own, because what hears of everything that Python does
(an audit hook) cannot be taken out again.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import ModelFileError
from charloom.model.architecture import Architecture
from charloom.model.file import model_file
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.initializers import initial_weights
from charloom.native import engine as compiled
from support.models import tiny_saved
from support.paths import ROOT
from support.reliability import counts

ATTACKS = ROOT / "attacks"
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(os.name != "posix", reason="pipes, links and memory are told as POSIX has them"),
]

MOST_SECONDS = 1.0
MOST_MEMORY = 64 << 20  # bytes, beside twice the file
ENGINES = 4 if compiled else 2  # each in two precisions


def run(script, *arguments):
    """Run a script of ``attacks``; return what it tells of each file."""
    command = [sys.executable, ATTACKS / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=arguments[1], check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-3000:]}"
    before, *found = lines
    assert not before["first"] and (before["baseline"] or sys.platform != "linux"), before
    return found


def check(found, size):
    """Check what came of opening a file, whatever it was."""
    assert "raised" not in found, found
    assert not found["heard"], found
    assert found["seconds"] <= MOST_SECONDS, found
    assert found["memory"] <= 2 * size + MOST_MEMORY, found
    reason = found.get("refused", "")
    assert reason.isprintable() and len(reason) < 600, found


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder of bad files, and what is known of each."""
    folder = tmp_path_factory.mktemp("bad")
    done = subprocess.run([sys.executable, ATTACKS / "make.py", folder], capture_output=True, text=True, check=True)
    return folder, json.loads(done.stdout)


def test_every_bad_file_is_refused_for_its_own_reason(bad_files, report_trials):
    folder, known = bad_files
    found = run("opening.py", "files", folder)
    assert {one["file"] for one in found} == set(known)
    for one in found:
        path = folder / one["file"]
        check(one, path.stat().st_size if path.is_file() else 0)
        assert re.search(known[one["file"]]["reason"], one.get("refused", "opened")), one
    assert not [*folder.rglob("OWNED")]
    assert len(found) >= 140
    slowest, most = max(one["seconds"] for one in found), max(one["memory"] for one in found)
    limits = f"within {slowest:.2f} s and {most / 1e6:.0f} MB of memory"
    result = f"each refused with the expected reason, {limits}; no code executed"
    report_trials("hostile_model_files", "hand-made bad files, each with a different fault", len(found), result)


@counts(2_000, 100_000)
def test_changed_files_are_refused_or_of_use(tmp_path, report_trials, count):
    found = run("opening.py", "mutated", tmp_path, 0, count)
    assert len(found) == count
    for one in found:
        check(one, one["size"])
        assert "refused" in one or one["used"] in (0, ENGINES), one
    used, overflow = (sum(one.get("used", -1) == n for one in found) for n in (ENGINES, 0))
    assert count / 50 < used < count / 2, "changes that are all refused, or none, try little"
    reasons = {
        re.sub(r"[\d,]+|'[^']*'|\(.*\)", "", one["refused"].partition("use: ")[2]) for one in found if "refused" in one
    }
    assert len(reasons) > 30, reasons
    slowest = max(one["seconds"] for one in found)
    result = (
        f"{count - used - overflow:,} refused, within {slowest:.2f} s; {used:,} load and work in every engine; "
        f"{overflow:,} are refused by the engines because sums overflow; no code executed"
    )
    report_trials(
        "hostile_model_files", "valid files with random changes, with and without new checksums", count, result
    )
    assert [*tmp_path.iterdir()] == [tmp_path / "mutated.safetensors"]


def test_the_audit_hook_hears(tmp_path, monkeypatch):
    """What listens while files are opened hears an import, a file that is written, and another that is read."""
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import opening
from charloom.errors import ModelFileError
def load(path):
    import this_is_not_there
def write(path): open("new", "w")
def peek(path): open(opening.__file__)
def code(path): eval("1")
opening.sys.addaudithook(opening.hear)
for bad in (load, write, peek, code):
    opening.load_checkpoint = bad
    try: found = opening.open_it("some path")
    except TypeError: found = {"heard": opening.heard}  # it returned no model
    assert found["heard"], bad
"""
    done = subprocess.run([sys.executable, "-c", code, ATTACKS], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_model_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m"
    save_model(path, tiny_saved())
    monkeypatch.setattr(model_file.os, "sysconf", lambda name: 30)  # 900 bytes
    monkeypatch.setattr(model_file, "_tensor", None)
    with pytest.raises(ModelFileError, match="GB of memory"):
        load_model(path)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "m"
    architecture = Architecture(7, hidden_size=64)  # larger than what is read ahead
    saved = SavedModel(architecture, Vocabulary("\n abcde"), initial_weights(architecture, 1))
    save_model(path, saved)
    read, size = model_file._tensor, path.stat().st_size

    def cut(file, name, place):
        os.truncate(path, size - 8)
        return read(file, name, place)

    monkeypatch.setattr(model_file, "_tensor", cut)
    with pytest.raises(ModelFileError, match="became shorter"):
        load_model(path)
