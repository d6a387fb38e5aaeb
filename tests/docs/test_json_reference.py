"""docs/reference/json.md documents every key that a command prints with ``--json`` and that a run folder contains."""

import json
import re
from pathlib import Path

import pytest

from charloom import errors
from charloom.cli.main import COMMANDS
from charloom.model.file.run_folder import CHECKPOINTS, METRICS, MODEL, RECIPE, SAMPLES
from support.paths import ROOT, SOURCE

PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
GOLDEN = Path(ROOT, "tests", "golden", "data")
OPAQUE = {"settings", "files"}  # objects whose keys are names of settings and files


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def sections():
    """Return the text of each section by its heading."""
    parts = re.split(r"^#+ (.+)$", PAGE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(heading):
    """Return the keys in the tables of a section."""
    cells = re.findall(r"^\| (`[^|]*`) \|", sections()[heading], re.M)
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def keys(value, prefix=""):
    """Yield the path of every key of a JSON value, as the page writes it."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item, f"{prefix}[]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            if key not in OPAQUE:
                yield from keys(inner, path)


def printed():
    """Return the keys that the commands in the golden data print, by the heading of their section."""
    result = {}
    for name, output in golden("outputs").items():
        heading = re.match(r"\w+", name)[0]
        if heading == "plan" or "only the plan" in name:
            heading = "train --plan"
        if heading == "doctor":
            output = dict.fromkeys(output["keys"]) | {"devices": dict.fromkeys(output["devices"])}
        if heading == "info" and "models" in output:
            result[heading] |= {"models", *(key.removeprefix("[].") for key in keys(output["models"]))}
            continue
        result.setdefault(heading, set()).update(keys(output))
    result["tune"] = set(keys(golden("tuning_output")["output"]))
    return {heading: {key.removeprefix("[].") for key in inner} for heading, inner in result.items()}


@pytest.mark.parametrize("heading", printed())
def test_every_key_in_the_golden_data_is_documented(heading):
    assert printed()[heading] <= documented(heading)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"serve"}))
def test_every_documented_key_is_printed_or_in_the_source(command):
    known = printed().get(command, set())
    module = {"import": "import_"}.get(command, command)
    names = (f"commands/{module}.py", "novelty.py")
    files = [*(SOURCE / "cli" / name for name in names), SOURCE / "tuning" / "report.py"]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    assert documented(command)
    for key in documented(command) - known:
        leaf = re.split(r"[.\]]+", key)[-1].removesuffix("[")
        assert f'"{leaf}"' in code or key in printed()["info"], key


def test_keys_and_events_of_metrics_are_documented():
    rows = golden("run_folders")["rows"]
    changed = {"steps"}  # of "plan changed", which occurs only in runs with a time limit
    assert set().union(*rows.values()) | changed == documented("metrics.jsonl")
    events = set(re.findall(r"`([a-z ]+)`: ", sections()["metrics.jsonl"]))
    assert rows.keys() - {"evaluation"} <= events
    code = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "training").glob("*.py"))
    assert all(f'"{event}"' in code for event in events)


def test_files_of_a_run_folder_are_documented():
    assert documented("Run folder") == {MODEL, f"{CHECKPOINTS}/", RECIPE, METRICS, SAMPLES}
    assert {name for run in golden("run_folders")["recipes"].values() for name in run["files"]} == {
        name.removesuffix("/") for name in documented("Run folder")
    }


def test_exit_codes_of_all_errors_are_documented():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert kinds
    listed = set(map(int, re.findall(r"^\| (\d+) \|", sections()["Exit codes"], re.M)))
    assert {kind.exit_code for kind in kinds} | {0} == listed
