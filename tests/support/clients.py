"""Large clients of the server, which `make clients` installs in a separate environment."""

import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT


def python_with(module):
    """Return a Python interpreter in which a module is installed, or skip the test."""
    for python in (sys.executable, ROOT / ".venv-clients" / "bin" / "python"):
        result = shutil.which(python) and subprocess.run([python, "-c", f"import {module}"], capture_output=True)
        if result and result.returncode == 0:
            return str(python)
    pytest.skip(f"{module} is not installed: run `make clients`")
    return None
