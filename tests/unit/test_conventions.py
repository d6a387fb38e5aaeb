"""Conventions of the project that no other tool checks."""

import ast
import json
import re
import tomllib

import pytest

import charloom
from support.paths import MODULES, ROOT, SOURCE, module_path

OUTSIDE = {"print", "sys.argv", "sys.exit", "sys.stdout", "sys.stderr"}
SOCKETS = {"socket", "socketserver", "http.server"}
MAY_USE_THEM = ("cli", "serve", "terminal", "__main__")  # packages and modules at the top of charloom


@pytest.mark.parametrize("path", MODULES, ids=module_path)
def test_only_the_outer_packages_print_read_arguments_and_open_sockets(path):
    if path.relative_to(SOURCE).parts[0].removesuffix(".py") in MAY_USE_THEM:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # a module that is run as a program of its own may read its arguments, where it is only that
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if __name__ == '__main__'")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            assert ast.unparse(node) not in OUTSIDE
        elif isinstance(node, ast.Import):
            assert not SOCKETS & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in SOCKETS


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


def test_every_public_name_is_charlooms_own():
    assert charloom.__all__ == sorted(charloom.__all__)
    for public in set(charloom.__all__) - {"__version__"}:
        found = getattr(charloom, public)
        assert found.__name__ == public and found.__module__.partition(".")[0] == "charloom"
        assert found.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = charloom.nothing


def test_the_version_is_the_changelogs():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert charloom.__version__ == newest


def test_constraints_pin_what_the_project_accepts():
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(requirements.Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name != "charloom":
            assert requirement.specifier.contains(pinned[name]), f"{requirement}: {pinned[name]} is pinned"
