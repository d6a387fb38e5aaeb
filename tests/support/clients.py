"""Clients of the server that are too heavy for everybody: `make clients` installs them apart."""

import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT


def python_with(module):
    """Return a Python that has a client too heavy for everybody: `make clients` installs it apart; or skip."""
    for python in (sys.executable, ROOT / ".venv-clients" / "bin" / "python"):
        found = shutil.which(python) and subprocess.run([python, "-c", f"import {module}"], capture_output=True)
        if found and found.returncode == 0:
            return str(python)
    pytest.skip(f"{module} is not installed: run `make clients`")
    return None
