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
PROPERTY = "promises kept"
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
    path = config.getoption("--promises")
    if path and not hasattr(config, "workerinput"):  # a worker of pytest-xdist only sends reports
        config.pluginmanager.register(Kept(Path(path)))


@pytest.fixture
def promise(request):
    """Tell that a promise was kept: (its number, what was tried, how often, what came of it).

    Of several tests that tell of the same the largest count is written; those with ``added`` are parts of one, and
    their counts are added.
    """
    kept = []
    request.node.user_properties.append((PROPERTY, kept))  # reports carry it from a worker to the main process

    def tell(number, tried, count, result, added=False):
        kept.append((int(number), str(tried), int(count), str(result), added))

    return tell


class Kept:
    """Collects what the reports of tests say, and writes it to a file at the end."""

    def __init__(self, path):
        self.path, self.rows = path, []

    def pytest_runtest_logreport(self, report):
        if report.when != "call" or report.skipped:  # skipped: nothing was tried
            return
        for name, kept in report.user_properties:
            if name == PROPERTY:
                failed = report.nodeid.rpartition("::")[2].partition("@")[0]
                self.rows += kept if report.passed else [(0, failed, 1, "**failed**", False)]

    def pytest_sessionfinish(self):
        most = {}
        for number, tried, count, result, added in self.rows:
            before = most.get((number, tried), (0, ""))[0]
            if added or count >= before:
                most[number, tried] = (before + count if added else count), result
        rows = [
            f"| {number}. {PROMISES.get(number, 'Not kept')} | {tried} | {count:,} | {result} |\n"
            for (number, tried), (count, result) in sorted(most.items())
        ]
        facts = {"date": datetime.date.today(), "python": platform.python_version(), "machine": platform.machine()}
        self.path.write_text(_HEAD.format(command="make test-full", **facts) + "".join(rows), encoding="utf-8")
