"""The release as users install it: the sdist and the wheel, each in an empty virtual environment.

Everything here builds or installs, which takes minutes. `smoke.py` runs in the environments. The tests that need no
PyTorch also run from the unpacked sdist.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import charloom
from support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
VERSION = charloom.__version__
RUNTIME = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}
WITHOUT_TORCH = [
    "activations", "batching", "corpus", "engines", "generation", "memorization", "model_file", "ngrams",
    "numpy_engine", "planner", "quantization", "recipes", "sampling", "scoring", "session", "settings",
    "stop_conditions", "text_format", "vocabulary",
]  # fmt: skip
LATER = ("3.12", "3.13", "3.14")
PROGRAM = """
import charloom

model: charloom.Model = charloom.load("shakespeare")
text: str = model.generate("ROMEO: ", length=9, seed=1)
bits: float = model.score(text).bits_per_char
"""


def environment(**more):
    """Return this process' environment without Python's variables, which could make this checkout importable."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def ran(*command, cwd=None, **more):
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, encoding="utf-8", env=environment(**more)
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def call(*command, **more):
    return ran(*command, **more).stdout


def new_environment(folder, python=sys.executable):
    """Create an empty virtual environment and return its Python."""
    call(python, "-m", "venv", folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def smoke(python, folder, engine, **more):
    return call(python, ROOT / "tests" / "smoke.py", "--engine", engine, cwd=folder, **more)


@pytest.fixture
def no_compiler(tmp_path):
    """Environment variables with which no compiler, CMake or Ninja is found."""
    folder = tmp_path / "nothing"
    folder.mkdir()
    return {"PATH": str(folder), "CC": "false", "CXX": "false"}


@pytest.fixture
def compiler():
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """What `make dist` builds: the sdist, and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def unpacked(dist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(dist[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"charloom-{VERSION}"


def tracked(folder="."):
    """Return all files that git does not ignore, relative to the folder."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT / folder)
    return {name for name in listed.split("\0") if name and (ROOT / folder / name).exists()}


def test_version_is_defined_in_one_file(dist):
    sdist, wheel = dist
    assert sdist.name == f"charloom-{VERSION}.tar.gz"
    assert wheel.name.startswith(f"charloom-{VERSION}-")
    literal = re.compile(rf"""version\s*[=:]\s*["']?{re.escape(VERSION)}\b""")
    places = [name for name in tracked() if name.endswith((".py", ".toml", ".cff", ".txt", ".yml"))]
    named = [name for name in places if literal.search((ROOT / name).read_text(encoding="utf-8"))]
    assert set(named) <= {"plugins/llm-charloom/pyproject.toml"}  # a separate package
    assert f'__version__ = "{VERSION}"' in (ROOT / "src/charloom/_version.py").read_text(encoding="utf-8")


def test_sdist_contains_the_checkout(unpacked):
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert files - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".ci/")} - {".gitignore"}


def test_wheel_contains_the_package_and_links_only_to_the_runtime(compiler, dist, tmp_path):
    with zipfile.ZipFile(dist[1]) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"charloom-{VERSION}.dist-info/")}
        (module,) = (name for name in names if name.startswith("charloom/native/_engine.") and "pyi" not in name)
        archive.extract(module, tmp_path)
    assert names - {module} == {f"charloom/{name}" for name in tracked("src/charloom")}
    assert "charloom/py.typed" in names
    if shutil.which("readelf"):
        dynamic_section = call("readelf", "-d", tmp_path / module)
        assert set(re.findall(r"NEEDED.*\[(.+)\]", dynamic_section)) <= RUNTIME


def test_wheel_installs_without_a_compiler(compiler, dist, tmp_path, no_compiler):
    python = new_environment(tmp_path / "venv")
    call(python, "-m", "pip", "install", "--only-binary", ":all:", dist[1], **no_compiler)
    smoke(python, tmp_path, "native", **no_compiler)


def test_tests_from_the_sdist_pass_with_the_wheel(dist, unpacked, tmp_path, no_compiler):
    python = new_environment(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[1], "hypothesis", "pytest", "pytest-timeout", **no_compiler)
    files = [f"tests/unit/test_{name}.py" for name in WITHOUT_TORCH]
    output = call(python, "-m", "pytest", "-m", "not slow", "-q", *files, cwd=unpacked, **no_compiler)
    assert int(re.search(r"(\d+) passed", output)[1]) > 500
    location = call(python, "-c", "import charloom; print(charloom.__file__)", cwd=unpacked)
    assert Path(location).is_relative_to(tmp_path)  # not the sources next to the tests


def test_sdist_installs_with_a_compiler(compiler, dist, tmp_path):
    python = new_environment(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[0])
    smoke(python, tmp_path, "native")


def test_sdist_without_a_compiler_warns_and_generates_the_same_text(dist, tmp_path, no_compiler):
    python = new_environment(tmp_path / "venv")
    done = ran(python, "-m", "pip", "install", "--verbose", dist[0], **no_compiler)
    assert "built without its native engine" in done.stdout + done.stderr  # pip writes to both
    smoke(python, tmp_path, "numpy", **no_compiler)
    written = call(python, "-m", "charloom", "generate", "-n", "50", "--seed", "1", cwd=tmp_path)
    assert written == charloom.load("shakespeare").generate("", 50, seed=1) + "\n"


def later_pythons():
    """Return the newer Pythons on the path: {version: program}."""
    programs = {version: shutil.which(f"python{version}") for version in LATER}
    checks = {v: p and subprocess.run([p, "--version"], capture_output=True, text=True) for v, p in programs.items()}
    return {v: programs[v] for v, done in checks.items() if done and done.returncode == 0}


@pytest.fixture(scope="module")
def wheel_of_later_pythons(dist, tmp_path_factory):
    """The wheel that the oldest Python from 3.12 on builds from the sdist."""
    folder = tmp_path_factory.mktemp("later")
    first = next(iter(later_pythons().values()))
    python = new_environment(folder / "venv", first)
    call(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, dist[0])
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("version", LATER)
def test_one_wheel_serves_all_later_pythons(compiler, request, tmp_path, version, no_compiler):
    if version not in later_pythons():
        pytest.skip(f"no Python {version} on the path")
    wheel = request.getfixturevalue("wheel_of_later_pythons")
    assert "-cp312-abi3-" in wheel.name
    python = new_environment(tmp_path / "venv", later_pythons()[version])
    call(python, "-m", "pip", "install", "--only-binary", ":all:", wheel, **no_compiler)
    assert f"Python {version}." in smoke(python, tmp_path, "native", **no_compiler)


def test_type_hints_of_the_wheel_reach_user_programs(dist, tmp_path):
    python = new_environment(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[1])
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file", os.devnull]
    (tmp_path / "right.py").write_text(PROGRAM)
    call(*check, "right.py", cwd=tmp_path)
    (tmp_path / "wrong.py").write_text(PROGRAM.replace("length=9", 'length="9"').replace("bits: float", "bits: str"))
    done = subprocess.run([*check, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert re.findall(r"wrong.py:\d+: error: .*\[([a-z-]+)\]", done.stdout) == ["arg-type", "assignment"]
