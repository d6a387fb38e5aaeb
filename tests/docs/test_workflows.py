"""The workflows, which cannot run here: the targets and files they use exist, versions agree, and no secret is used."""

import re
import tomllib

import pytest
import yaml

from support.paths import ROOT

WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def steps(name):
    return [step for job in yaml.safe_load(WORKFLOWS[name])["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", ["tests", "wheels"])
def test_workflows_are_read_only_and_pin_versions(name):
    assert yaml.safe_load(WORKFLOWS[name])["permissions"] == {"contents": "read"}
    assert "secrets." not in WORKFLOWS[name]
    for step in steps(name):
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"[\w./-]+@(v\d+|release/v1)", step.get("uses", "actions/checkout@v1"))


@pytest.mark.parametrize("name", ["tests", "wheels"])
def test_workflows_call_existing_targets_and_files(name):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    commands = "\n".join(step["run"] for step in steps(name) if "run" in step)
    paths = re.findall(r"(?:tests|src)/\w[\w/]*\.py", commands)
    for folder, stems in re.findall(r"(tests/\w+)/test_\{(.+?)\}\.py", commands):
        paths += [f"{folder}/test_{stem}.py" for stem in stems.split(",")]
    assert paths and [path for path in paths if not (ROOT / path).exists()] == []
    for call in re.findall(r"^make (.+)$", commands, re.M):
        assert set(call.split()) <= targets


def test_contributing_names_existing_targets_and_files():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {"install", "check", "dist", "record"} <= set(re.findall(r"\bmake\s+([a-z-]+)", page)) <= targets
    for path in re.findall(r"`((?:tests|src|benchmarks|docs|plugins|\.github)/[\w./-]+[\w/])`", page):
        assert (ROOT / path).exists(), path


def test_python_versions_agree():
    project = PROJECT["project"]
    minimum = project["requires-python"].removeprefix(">=")
    classifiers = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    tested = yaml.safe_load(WORKFLOWS["tests"])["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert min(classifiers, key=lambda version: int(version[2:])) == minimum == tested[0]
    assert set(classifiers) <= set(tested)
    stable = PROJECT["tool"]["scikit-build"]["wheel"][
        "py-api"
    ]  # one wheel from this version on, and one for each earlier version
    wheels = [build.removesuffix("-*") for build in PROJECT["tool"]["cibuildwheel"]["build"]]
    assert wheels == [f"cp3{minor}" for minor in range(int(minimum[2:]), int(stable.removeprefix("cp3")) + 1)]


def test_only_tags_are_published_and_without_a_password():
    publish = yaml.safe_load(WORKFLOWS["wheels"])["jobs"]["publish"]
    assert "refs/tags/v" in publish["if"] and publish["needs"] == ["sdist", "wheels"]
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"] == "pypi"
