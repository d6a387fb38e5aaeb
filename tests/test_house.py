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

# Data walks through the wings in this order; a module imports only from its own wing and from wings before it.
WINGS = [
    "errors", "native", "text", "model", "runtime", "plan", "training", "report", "interop", "serve", "cli",
]  # fmt: skip
DOORS = ("cli", "serve")


def wing(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def name(path):
    return path.relative_to(SOURCE).as_posix()


def imports(path):
    """Every module that a file imports, inside functions too, but not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", [m for m in MODULES if wing(m) in WINGS], ids=name)
def test_a_module_imports_only_from_its_own_wing_and_those_before_it(path):
    allowed = WINGS[: WINGS.index(wing(path)) + 1]
    for module in imports(path):
        may_knock = wing(path) in ("training", "report", "interop", "cli")
        assert module != "charloom" or may_knock, "the door is for the public"
        if module.startswith("charloom."):
            assert module.split(".")[1] in allowed, f"{name(path)} imports {module}"


def test_every_module_has_a_wing():
    assert {wing(path) for path in MODULES} <= {*WINGS, "__init__", "__main__"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_training_imports_torch(path):
    if wing(path) != "training":
        assert not [m for m in imports(path) if m.split(".")[0] == "torch"]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_doors_print_and_read_arguments(path):
    if wing(path) in (*DOORS, "__main__"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name | ast.Attribute):
            assert ast.unparse(node) not in ("print", "sys.argv", "sys.exit", "sys.stdout", "sys.stderr")
    assert not {"socket", "socketserver", "http.server"} & set(imports(path))


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


def code_of_the_repository():
    """Every Python file there is, tests among them: (name, code)."""
    yield from ((path, code) for path, code in code_of_the_project() if path.endswith(".py"))
    for path in sorted((ROOT / "tests").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_rooms_stay_small():
    looked_at = list(code_of_the_repository())
    assert len(looked_at) > len(MODULES) + 100
    for where, code in looked_at:
        assert code.count("\n") <= 400, where
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{where}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_room_has_a_name_that_says_nothing(path):
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")


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
