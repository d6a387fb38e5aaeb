"""The wheel as people get it: what it links to, and that it works where nothing else is installed."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest

from test_docs import ROOT

pytestmark = pytest.mark.slow
RUNTIME = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Build a wheel, with or without a compiler."""

    def make(name, **environment):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return next(folder.glob("charloom-*.whl"))

    return make


def installed(wheel, folder):
    """Return the `charloom` of a new virtual environment that holds nothing but the wheel and what it needs."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    return python


def test_the_wheel_links_to_the_runtime_alone_and_generates_without_torch(build, tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    wheel = build("native")
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if "_engine" in name and name.endswith((".so", ".pyd"))]
        assert len(modules) == 1
        archive.extract(modules[0], tmp_path)
    if shutil.which("readelf"):
        found = subprocess.run(["readelf", "-d", tmp_path / modules[0]], capture_output=True, text=True, check=True)
        assert set(re.findall(r"NEEDED.*\[(.+)\]", found.stdout)) <= RUNTIME
    python = installed(wheel, tmp_path / "venv")
    script = "import charloom, sys; charloom.load('shakespeare').generate(length=9); assert 'torch' not in sys.modules"
    subprocess.run([python, "-c", script], check=True, cwd=tmp_path)
    engine = subprocess.run([python, "-m", "charloom", "doctor"], capture_output=True, text=True, cwd=tmp_path).stdout
    assert "native" in engine


def test_without_a_compiler_the_wheel_is_pure_and_writes_the_same(build, tmp_path):
    wheel = build("pure", CXX="/nowhere/c++")
    assert wheel.name.endswith("-py3-none-any.whl")
    python = installed(wheel, tmp_path / "venv")
    command = [python, "-m", "charloom", "generate", "-n", "50", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    from charloom import load

    assert done.stdout == load("shakespeare").generate("", 50, seed=1) + "\n"
