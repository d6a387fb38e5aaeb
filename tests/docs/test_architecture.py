"""docs/architecture.md lists the packages as they are, and names functions that exist."""

import importlib.util

from support.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"


def test_the_list_of_packages_is_the_codes():
    spec = importlib.util.spec_from_file_location("packages", ROOT / "docs" / "packages.py")
    packages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packages)
    page = PAGE.read_text(encoding="utf-8")
    assert packages.with_packages(page) == page, "run: python docs/packages.py"
