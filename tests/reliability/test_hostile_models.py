"""Malformed and malicious model files are rejected quickly with the expected error, and opening them has no effect.

The scripts in ``attacks/`` create the files and open them in a separate process, because the audit hook that records
everything Python does cannot be removed once installed.
"""

import json
import os
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
from support.errors import raises_code
from support.models import tiny_saved
from support.paths import ROOT
from support.reliability import counts

ATTACKS = ROOT / "attacks"
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(os.name != "posix", reason="pipes, links and memory are tested as POSIX defines them"),
]

MAX_SECONDS = 1.0
MAX_MEMORY = 64 << 20  # bytes, in addition to twice the file size
ENGINES = 4 if compiled else 2  # each in two precisions


def run_attack(script, *arguments):
    """Run a script of ``attacks``; return the results it prints, one per file."""
    command = [sys.executable, ATTACKS / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=arguments[1], check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-3000:]}"
    before, *results = lines
    assert not before["first"] and (before["baseline"] or sys.platform != "linux"), before
    return results


def check_result(result, size):
    """Check the properties that hold for every file: no other exception, no side effect, bounded time and memory."""
    assert "raised" not in result, result
    assert not result["events"], result
    assert result["seconds"] <= MAX_SECONDS, result
    assert result["memory"] <= 2 * size + MAX_MEMORY, result
    if "refused" in result:
        assert result["refused"].isprintable() and len(result["refused"]) < 600, result
        assert len(json.dumps(result["data"])) < 2000, result


def is_expected(result, expected):
    """Return whether a result is one of the expected errors, written as in ``attacks/registry.py``."""
    values = [item for value in result.get("data", {}).values() for item in (value if type(value) is list else [value])]
    for alternative in expected.split("|"):
        code, _, value = alternative.partition(" ")
        if result.get("code") == code and (not value or value in map(str, values)):
            return True
    return False


@pytest.fixture(scope="module")
def malformed_files(tmp_path_factory):
    """A folder of malformed files, and the explanation and expected error of each."""
    folder = tmp_path_factory.mktemp("malformed")
    done = subprocess.run([sys.executable, ATTACKS / "make.py", folder], capture_output=True, text=True, check=True)
    return folder, json.loads(done.stdout)


def test_each_malformed_file_is_rejected_with_its_error(malformed_files, report_trials):
    folder, known = malformed_files
    results = run_attack("opening.py", "files", folder)
    assert {result["file"] for result in results} == set(known)
    for result in results:
        path = folder / result["file"]
        check_result(result, path.stat().st_size if path.is_file() else 0)
        assert is_expected(result, known[result["file"]]["expected"]), (known[result["file"]], result)
    assert not [*folder.rglob("OWNED")]
    assert len(results) >= 140
    slowest, largest = max(r["seconds"] for r in results), max(r["memory"] for r in results)
    limits = f"within {slowest:.2f} s and {largest / 1e6:.0f} MB of memory"
    summary = f"each refused with the expected reason, {limits}; no code executed"
    report_trials("hostile_model_files", "hand-made bad files, each with a different fault", len(results), summary)


@counts(2_000, 100_000)
def test_randomly_changed_files_are_rejected_or_usable(tmp_path, report_trials, count):
    results = run_attack("opening.py", "mutated", tmp_path, 0, count)
    assert len(results) == count
    for result in results:
        check_result(result, result["size"])
        assert "refused" in result or result["used"] in (0, ENGINES), result
    used, overflow = (sum(result.get("used", -1) == n for result in results) for n in (ENGINES, 0))
    assert count / 50 < used < count / 2, "if nearly all changes are rejected, or nearly none, the test covers little"
    refused = [result for result in results if "refused" in result]
    reasons = {(result["code"], result["data"].get("name", result["data"].get("part"))) for result in refused}
    assert len(reasons) > 30, reasons
    slowest = max(result["seconds"] for result in results)
    summary = (
        f"{count - used - overflow:,} refused, within {slowest:.2f} s; {used:,} load and work in every engine; "
        f"{overflow:,} are refused by the engines because sums overflow; no code executed"
    )
    report_trials(
        "hostile_model_files", "valid files with random changes, with and without new checksums", count, summary
    )
    assert [*tmp_path.iterdir()] == [tmp_path / "mutated.safetensors"]


def test_audit_hook_records_side_effects(tmp_path):
    """The audit hook records an import, a written file, another file that is read, and executed code."""
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import opening
from charloom.errors import ModelFileError
def load(path):
    import this_is_not_there
def write(path): open("new", "w")
def peek(path): open(opening.__file__)
def code(path): eval("1")
opening.sys.addaudithook(opening.record)
for loader in (load, write, peek, code):
    opening.load_checkpoint = loader
    try: result = opening.open_file("some path")
    except TypeError: result = {"events": opening.recorded}  # it returned no model
    assert result["events"], loader
"""
    done = subprocess.run([sys.executable, "-c", code, ATTACKS], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_model_larger_than_memory_is_rejected_before_reading_tensors(tmp_path, monkeypatch):
    path = tmp_path / "m"
    save_model(path, tiny_saved())
    monkeypatch.setattr(model_file.os, "sysconf", lambda name: 30)  # 900 bytes
    monkeypatch.setattr(model_file, "_read_tensor", None)
    with raises_code("model_too_large", ModelFileError, available_bytes=900):
        load_model(path)


def test_file_truncated_while_reading_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "m"
    architecture = Architecture(7, hidden_size=64)  # larger than the read-ahead buffer
    saved = SavedModel(architecture, Vocabulary("\n abcde"), initial_weights(architecture, 1))
    save_model(path, saved)
    read, size = model_file._read_tensor, path.stat().st_size

    def truncate_first(file, name, slot):
        os.truncate(path, size - 8)
        return read(file, name, slot)

    monkeypatch.setattr(model_file, "_read_tensor", truncate_first)
    with raises_code("truncated_while_reading", ModelFileError):
        load_model(path)
