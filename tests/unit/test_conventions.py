"""Conventions of the project that no other tool checks."""

import ast
import json
import re
import tomllib
from itertools import chain

import pytest

import charloom
from support.paths import MODULES, ROOT, SOURCE, module_path

OUTER_NAMES = {"print", "sys.argv", "sys.exit", "sys.stdout", "sys.stderr"}
SOCKETS = {"socket", "socketserver", "http.server"}
OUTER_PACKAGES = ("cli", "serve", "terminal", "__main__")  # packages and modules at the top of charloom


@pytest.mark.parametrize("path", MODULES, ids=module_path)
def test_only_outer_packages_print_read_arguments_or_open_sockets(path):
    if path.relative_to(SOURCE).parts[0].removesuffix(".py") in OUTER_PACKAGES:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # a module may read arguments in the part that runs only when it is executed as a program
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if __name__ == '__main__'")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            assert ast.unparse(node) not in OUTER_NAMES
        elif isinstance(node, ast.Import):
            assert not SOCKETS & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in SOCKETS


CODE_RUNNERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def project_code():
    """Yield (name, code) of all Python outside tests, including code blocks of documents and notebooks."""
    for folder in ("src", "benchmarks", "examples", "docs", "attacks", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
            yield path.relative_to(ROOT).as_posix(), block
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def code_execution(code):
    """Yield the modules, functions and options in a program that can execute code from data."""
    lines = [line for line in code.splitlines() if not line.startswith(("%", "!"))]  # IPython commands
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


def test_project_never_executes_code_from_files():
    programs = list(project_code())
    assert len(programs) > len(MODULES) + 20
    for name, code in programs:
        assert not list(code_execution(code)), name


@pytest.mark.parametrize("code", [
    "import pickle", "from pickle import loads", "import torch\ntorch.load('x')", "eval('1')", "exec('1')",
    "np.load('x', allow_pickle=True)", "import marshal", "def f():\n    import shelve", "f(weights_only=False)",
])  # fmt: skip
def test_code_execution_is_detected(code):
    assert list(code_execution(code))


def test_public_names_are_defined_in_charloom():
    assert charloom.__all__ == sorted(charloom.__all__)
    for public in set(charloom.__all__) - {"__version__"}:
        value = getattr(charloom, public)
        assert value.__name__ == public and value.__module__.partition(".")[0] == "charloom"
        assert value.__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = charloom.nothing


def test_version_is_the_newest_in_the_changelog():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert charloom.__version__ == newest


def test_constraints_satisfy_the_requirements():
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in map(requirements.Requirement, chain.from_iterable(lists)):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name != "charloom":
            assert requirement.specifier.contains(pinned[name]), f"{requirement}: {pinned[name]} is pinned"
