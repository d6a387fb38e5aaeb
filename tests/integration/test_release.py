"""The release as people get it: sdist and wheel, each in an environment that holds nothing else.

Everything here builds or installs, which takes minutes. `smoke.py` is what runs in the environments; the package's own
tests are run from the unpacked sdist, those that need no PyTorch.
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
    """This process' environment without what would let another Python find charloom here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def ran(*command, cwd=None, **more):
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, encoding="utf-8", env=environment(**more)
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def call(*command, **more):
    return ran(*command, **more).stdout


def empty(folder, python=sys.executable):
    """Return the Python of a new virtual environment."""
    call(python, "-m", "venv", folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def smoke(python, folder, engine, **more):
    return call(python, ROOT / "tests" / "smoke.py", "--engine", engine, cwd=folder, **more)


@pytest.fixture
def no_compiler(tmp_path):
    """An environment from which no compiler, CMake or Ninja can be reached."""
    folder = tmp_path / "nothing"
    folder.mkdir()
    return {"PATH": str(folder), "CC": "false", "CXX": "false"}


@pytest.fixture
def compiler():
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """What `make dist` makes: the sdist, and the wheel that is made of the sdist."""
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
    """Every file of the project that git does not ignore, relative to the folder."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT / folder)
    return {name for name in listed.split("\0") if name and (ROOT / folder / name).exists()}


def test_the_version_is_from_one_place(dist):
    sdist, wheel = dist
    assert sdist.name == f"charloom-{VERSION}.tar.gz"
    assert wheel.name.startswith(f"charloom-{VERSION}-")
    literal = re.compile(rf"""version\s*[=:]\s*["']?{re.escape(VERSION)}\b""")
    places = [name for name in tracked() if name.endswith((".py", ".toml", ".cff", ".txt", ".yml"))]
    named = [name for name in places if literal.search((ROOT / name).read_text(encoding="utf-8"))]
    assert set(named) <= {"plugins/llm-charloom/pyproject.toml"}  # a package of its own
    assert f'__version__ = "{VERSION}"' in (ROOT / "src/charloom/_version.py").read_text(encoding="utf-8")


def test_the_sdist_is_the_checkout(unpacked):
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert found - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".ci/")} - {".gitignore"}


def test_the_wheel_is_the_package_and_links_to_the_runtime_alone(compiler, dist, tmp_path):
    with zipfile.ZipFile(dist[1]) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"charloom-{VERSION}.dist-info/")}
        (module,) = (name for name in names if name.startswith("charloom/native/_engine.") and "pyi" not in name)
        archive.extract(module, tmp_path)
    assert names - {module} == {f"charloom/{name}" for name in tracked("src/charloom")}
    assert "charloom/py.typed" in names
    if shutil.which("readelf"):
        found = call("readelf", "-d", tmp_path / module)
        assert set(re.findall(r"NEEDED.*\[(.+)\]", found)) <= RUNTIME


def test_the_wheel_needs_no_compiler(compiler, dist, tmp_path, no_compiler):
    python = empty(tmp_path / "venv")
    call(python, "-m", "pip", "install", "--only-binary", ":all:", dist[1], **no_compiler)
    smoke(python, tmp_path, "native", **no_compiler)


def test_the_tests_of_the_sdist_pass_with_the_wheel(dist, unpacked, tmp_path, no_compiler):
    python = empty(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[1], "hypothesis", "pytest", "pytest-timeout", **no_compiler)
    files = [f"tests/unit/test_{name}.py" for name in WITHOUT_TORCH]
    told = call(python, "-m", "pytest", "-m", "not slow", "-q", *files, cwd=unpacked, **no_compiler)
    assert int(re.search(r"(\d+) passed", told)[1]) > 500
    where = call(python, "-c", "import charloom; print(charloom.__file__)", cwd=unpacked)
    assert Path(where).is_relative_to(tmp_path)  # not the sources beside the tests


def test_the_sdist_with_a_compiler(compiler, dist, tmp_path):
    python = empty(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[0])
    smoke(python, tmp_path, "native")


def test_the_sdist_without_a_compiler_says_so_and_writes_the_same(dist, tmp_path, no_compiler):
    python = empty(tmp_path / "venv")
    done = ran(python, "-m", "pip", "install", "--verbose", dist[0], **no_compiler)
    assert "built without its native engine" in done.stdout + done.stderr  # pip's verbose output is of both kinds
    smoke(python, tmp_path, "numpy", **no_compiler)
    written = call(python, "-m", "charloom", "generate", "-n", "50", "--seed", "1", cwd=tmp_path)
    assert written == charloom.load("shakespeare").generate("", 50, seed=1) + "\n"


def later_pythons():
    """Return the Pythons after this one that are on the path: {version: program}."""
    found = {version: shutil.which(f"python{version}") for version in LATER}
    asked = {v: p and subprocess.run([p, "--version"], capture_output=True, text=True) for v, p in found.items()}
    return {v: found[v] for v, done in asked.items() if done and done.returncode == 0}


@pytest.fixture(scope="module")
def wheel_of_later_pythons(dist, tmp_path_factory):
    """The wheel that the first Python from 3.12 on makes of the sdist."""
    folder = tmp_path_factory.mktemp("later")
    first = next(iter(later_pythons().values()))
    python = empty(folder / "venv", first)
    call(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, dist[0])
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("version", LATER)
def test_one_wheel_serves_all_later_pythons(compiler, request, tmp_path, version, no_compiler):
    if version not in later_pythons():
        pytest.skip(f"no Python {version} on the path")
    wheel = request.getfixturevalue("wheel_of_later_pythons")
    assert "-cp312-abi3-" in wheel.name
    python = empty(tmp_path / "venv", later_pythons()[version])
    call(python, "-m", "pip", "install", "--only-binary", ":all:", wheel, **no_compiler)
    assert f"Python {version}." in smoke(python, tmp_path, "native", **no_compiler)


def test_the_types_of_the_wheel_reach_a_users_program(dist, tmp_path):
    python = empty(tmp_path / "venv")
    call(python, "-m", "pip", "install", dist[1])
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file", os.devnull]
    (tmp_path / "right.py").write_text(PROGRAM)
    call(*check, "right.py", cwd=tmp_path)
    (tmp_path / "wrong.py").write_text(PROGRAM.replace("length=9", 'length="9"').replace("bits: float", "bits: str"))
    done = subprocess.run([*check, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert re.findall(r"wrong.py:\d+: error: .*\[([a-z-]+)\]", done.stdout) == ["arg-type", "assignment"]
