"""Paths in the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "charloom"
MODULES = sorted(SOURCE.rglob("*.py"))
SUPPORT = ROOT / "tests" / "support"
DATA = ROOT / "tests" / "data"


def module_path(path):
    """Return a module's path relative to ``SOURCE``, to identify a test case."""
    return path.relative_to(SOURCE).as_posix()
