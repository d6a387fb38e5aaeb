"""Clients of the server with many dependencies, which `make clients` installs in a separate environment."""

import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT


def python_with(module):
    """Return a Python interpreter that can import a module, or skip the test."""
    for python in (sys.executable, ROOT / ".venv-clients" / "bin" / "python"):
        done = shutil.which(python) and subprocess.run([python, "-c", f"import {module}"], capture_output=True)
        if done and done.returncode == 0:
            return str(python)
    pytest.skip(f"{module} is not installed: run `make clients`")
    return None
