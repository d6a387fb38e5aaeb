"""Where the repository's files are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "charloom"
MODULES = sorted(SOURCE.rglob("*.py"))
SUPPORT = ROOT / "tests" / "support"
DATA = ROOT / "tests" / "data"


def module_path(path):
    """Name a module by its path below ``SOURCE``."""
    return path.relative_to(SOURCE).as_posix()
