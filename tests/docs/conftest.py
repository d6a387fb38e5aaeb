"""Fixtures of the tests that execute documents."""

import os
import sys
from pathlib import Path

import pytest

from support.documents import blocks


@pytest.fixture
def workspace(tmp_path, monkeypatch, text):
    """The folder of a reader who follows the documents: with their files, and charloom's commands on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("NO_COLOR", "1")
    quoted = "".join(
        block for kind in ("console", "python") for block in blocks(kind)
    )  # makes the vocabulary cover all characters in the README
    Path("my_book.txt").write_text(quoted + text)
    Path("my_program").write_bytes(Path(sys.executable).read_bytes()[:5000])
    names = [f"{a}{b}" for a in ("An", "Bo", "Cora", "Dor") for b in ("na", "ris", "vin", "lo", "mira")]
    Path("names.txt").write_text("\n".join(names) + "\n")
    return tmp_path
