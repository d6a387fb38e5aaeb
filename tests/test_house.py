"""The walls of the house: who may import whom, who may print, what the door offers, how large a room may grow."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import charloom

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "charloom"
MODULES = sorted(SOURCE.rglob("*.py"))


def name(path):
    return path.relative_to(SOURCE).as_posix()


CODE_RUNNERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def code_of_the_project():
    """Every Python file but the tests' own, and the Python in documents: (name, code)."""
    for folder in ("src", "benchmarks", "examples", "docs", "attacks", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
            yield path.relative_to(ROOT).as_posix(), block
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def what_runs_code(code):
    """Return the names in a program that make code of data: modules, functions, options."""
    lines = [line for line in code.splitlines() if not line.startswith(("%", "!"))]  # a notebook's own commands
    tree = ast.parse("\n".join(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ({name.split(".")[0] for name in names} & CODE_RUNNERS)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("eval", "exec", "__import__", "torch.load", "compile"):
                yield called
            if "weights_only" in options or options.get("allow_pickle", "False") != "False":
                yield f"{called} of objects"


def test_nothing_that_can_run_code_from_a_file_is_used():
    looked_at = list(code_of_the_project())
    assert len(looked_at) > len(MODULES) + 20
    for where, code in looked_at:
        assert not list(what_runs_code(code)), where


@pytest.mark.parametrize("code", [
    "import pickle", "from pickle import loads", "import torch\ntorch.load('x')", "eval('1')", "exec('1')",
    "np.load('x', allow_pickle=True)", "import marshal", "def f():\n    import shelve", "f(weights_only=False)",
])  # fmt: skip
def test_what_can_run_code_is_seen(code):
    assert list(what_runs_code(code))


def test_the_door_offers_exactly_what_it_lists():
    assert charloom.__all__ == sorted(charloom.__all__)
    for public in charloom.__all__:
        assert getattr(charloom, public) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = charloom.nothing


def test_what_is_public_is_documented():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), name(path)


def test_the_version_is_the_changelogs():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert charloom.__version__ == newest


def test_torch_is_pinned_and_its_range_is_open():
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["train"] == ["torch>=2.6,<3"]
