"""Corpora that are not in the repository."""

import os
from pathlib import Path

import pytest


def corpora_file(name):
    """Return a file from the folder CHARLOOM_CORPORA, or skip the test."""
    path = Path(os.environ.get("CHARLOOM_CORPORA", "")) / name
    if not path.is_file():
        pytest.skip(f"{name} is not on this machine: set CHARLOOM_CORPORA to a folder that contains it")
    return path
