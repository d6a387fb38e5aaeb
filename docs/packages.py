"""Write the lists of packages and files in docs/architecture.md: `python docs/packages.py`.

Packages are listed in the order of the contract `layers` in pyproject.toml. Each Python module is described by the
first line of its docstring, and each C++ or JavaScript file by the first sentence of its leading comment.
"""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "charloom"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- packages: begin, written by docs/packages.py -->\n", "<!-- packages: end -->\n"
BEGIN_FILES, END_FILES = "<!-- files: begin, written by docs/packages.py -->\n", "<!-- files: end -->\n"


def layers():
    """Return the layers of charloom, lowest first, each as a list of top-level packages and modules."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (names,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    return [layer.split(" | ") for layer in reversed(names)]


def packages():
    """Return the tree of Python packages as Markdown."""
    return "```text\nsrc/charloom/\n" + "".join(_lines()) + "```\n"


def other_files():
    """Return the trees of C++ files and browser assets as Markdown."""
    trees = (ROOT / "native", SOURCE / "web" / "assets")
    return "".join(f"```text\n{tree.relative_to(ROOT)}/\n{''.join(_commented(tree, 1))}```\n" for tree in trees)


def with_packages(page):
    """Return the text of docs/architecture.md with its lists replaced by current ones."""
    for begin, end, tree in ((BEGIN, END, packages()), (BEGIN_FILES, END_FILES, other_files())):
        before, rest = page.split(begin)
        page = f"{before}{begin}{tree}{end}{rest.split(end)[1]}"
    return page


def _lines():
    yield from (_line(SOURCE / name, 1) for name in ("__init__.py", "__main__.py"))
    for layer in layers():
        for name in layer:
            folder = SOURCE / name
            yield from _tree(folder, 1) if folder.is_dir() else [_line(folder.with_suffix(".py"), 1)]


def _tree(folder, depth):
    yield _line(folder, depth)
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield _line(path, depth + 1)
    for subpackage in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _tree(subpackage, depth + 1)


def _commented(folder, depth):
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir():
            yield f"{'  ' * depth}{path.name}/\n"
            yield from _commented(path, depth + 1)
        elif path.suffix in (".cpp", ".h", ".js"):
            comment = re.match(r"(?:\"use strict\";\n)?((?://.*\n)*)", path.read_text(encoding="utf-8"))[1]
            sentence = re.split(r"(?<=[.])\s", " ".join(re.findall(r"// ?(.*)", comment)) + " ")[0].rstrip(".")
            name = f"{'  ' * depth}{path.name}"
            sentence = "" if sentence.startswith("Source:") else sentence
            yield f"{name:<32} {sentence}".rstrip() + "\n"


def _line(path, depth):
    code = path / "__init__.py" if path.is_dir() else path
    summary = ast.get_docstring(ast.parse(code.read_text(encoding="utf-8"))).splitlines()[0].replace("``", "")
    name = f"{'  ' * depth}{path.name}{'/' if path.is_dir() else ''}"
    return f"{name:<32} {summary}\n"


if __name__ == "__main__":
    PAGE.write_text(with_packages(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
