"""What charloom promises, as measured: tests tell it how often they tried, and a full run writes docs/promises.md."""

import datetime
import platform
from pathlib import Path

import pytest

PROMISES = {
    1: "Checkpoints are atomic and durable",
    2: "Damage is noticed, and survived",
    3: "Going on is exact",
    4: "A signal ends in a checkpoint",
    5: "Full disks and I/O errors neither lose data nor lie",
    6: "No number that is not finite goes unnoticed",
    7: "Opening a model file never runs code, hangs or crashes",
    8: "Bad requests cost little",
    9: "Local means local",
    10: "Streams stop when nobody listens",
    11: "Text survives unchanged, and what is unknown is explained",
    12: "A corpus of any size gives a result or a reason",
}
_KEPT = pytest.StashKey[list]()
_HEAD = """# Promises, and how often they were tried

Written by `{command}` on {date} (Python {python}, {machine}, two cores). Each line is a test that passed;
`make test` tries the same less often. What failed is said.

| promise | what was tried | how often | result |
|---|---|---:|---|
"""


def counts(fast, full):
    """Try it so often in ``make test``, and so often in ``make test-full``."""
    slow = pytest.param(full, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("count", [fast, slow])


def pytest_addoption(parser):
    parser.addoption("--promises", metavar="FILE", help="write what was promised and tried to this file")


def pytest_configure(config):
    config.stash[_KEPT] = []


@pytest.fixture
def promise(request):
    """Tell that a promise was kept: (its number, what was tried, how often, what came of it)."""
    kept = []
    yield lambda *row: kept.append(row)
    passed = request.node.stash.get(_PASSED, True)  # skipped: nothing was tried
    request.config.stash[_KEPT] += kept if passed else [(0, request.node.name, 1, "**failed**")]


_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = not report.failed
    return report


def pytest_sessionfinish(session, exitstatus):
    path = session.config.getoption("--promises")
    if not path:
        return
    most = {}
    for number, tried, count, result in session.config.stash[_KEPT]:
        if count >= most.get((number, tried), (0, ""))[0]:
            most[number, tried] = count, result
    rows = [
        f"| {number}. {PROMISES.get(number, 'Not kept')} | {tried} | {count:,} | {result} |\n"
        for (number, tried), (count, result) in sorted(most.items())
    ]
    facts = {"date": datetime.date.today(), "python": platform.python_version(), "machine": platform.machine()}
    Path(path).write_text(_HEAD.format(command="make test-full", **facts) + "".join(rows), encoding="utf-8")
