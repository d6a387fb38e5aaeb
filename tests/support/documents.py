"""Execute documentation: extract code blocks from a page, shorten training runs, run them."""

import re
import shlex
import subprocess
import sys

from click.testing import CliRunner

from charloom.cli.main import group
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORTER = (r"--minutes \d+(\.\d+)?", "--steps 3"), (r"minutes=\d+", "steps=3")  # everything else runs unchanged


def blocks(kind, page=README):
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.M | re.S)


def shortened(code):
    for long, short in SHORTER:
        code = re.sub(long, short, code)
    return code


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def run_command(command):
    """Run a command and return its output. A pipeline runs in a shell, other commands in this process."""
    if "|" in command:
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=200)
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
        return done.stdout
    done = CliRunner().invoke(group, shlex.split(command)[1:])
    assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"
    return done.stdout_bytes
