"""Write the list of packages in docs/architecture.md: `python docs/packages.py`.

The order is that of the contract `layers` in pyproject.toml; each line is the first line of a module's docstring.
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "charloom"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- packages: begin, written by docs/packages.py -->\n", "<!-- packages: end -->\n"


def layers():
    """Return the packages and modules at the top of charloom, lowest layer first; those of one layer together."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (names,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    return [layer.split(" | ") for layer in reversed(names)]


def packages():
    """Return the packages' tree as Markdown."""
    return "```text\nsrc/charloom/\n" + "".join(_lines()) + "```\n"


def with_packages(page):
    """Return the text of docs/architecture.md with its list of packages as the code has it."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{packages()}{END}{rest.split(END)[1]}"


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
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _tree(inner, depth + 1)


def _line(path, depth):
    code = path / "__init__.py" if path.is_dir() else path
    about = ast.get_docstring(ast.parse(code.read_text(encoding="utf-8"))).splitlines()[0]
    name = f"{'  ' * depth}{path.name}{'/' if path.is_dir() else ''}"
    plain = about.replace("``", "")
    return f"{name:<32} {plain}\n"


if __name__ == "__main__":
    PAGE.write_text(with_packages(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
