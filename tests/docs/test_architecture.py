"""docs/architecture.md lists all packages and names existing functions and files."""

import importlib.util
import re

from support.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"


def test_package_list_matches_the_source():
    spec = importlib.util.spec_from_file_location("packages", ROOT / "docs" / "packages.py")
    packages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packages)
    page = PAGE.read_text(encoding="utf-8")
    assert packages.with_packages(page) == page, "run: python docs/packages.py"


def test_named_functions_and_files_exist():
    page = PAGE.read_text(encoding="utf-8")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "native").rglob("*.*")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    prose = re.sub(r"```.*?```", "", page, flags=re.S)
    functions = set(re.findall(r"`(?:\w+\.)*(\w+)\(\)`", prose))
    assert len(functions) > 15
    for function in functions - {"backward"}:  # PyTorch's
        assert f"def {function}(" in code, function
    files = set(re.findall(r"`([\w/.]+(?:\.(?:py|h|cpp|md)|/))`", prose))
    assert len(files) > 40
    names = {path.name for path in sources}
    for file in files:
        roots = (ROOT, ROOT / "src" / "charloom", ROOT / "src" / "charloom" / "web" / "assets", ROOT / "native")
        assert file in names or any((root / file).exists() for root in roots), file
