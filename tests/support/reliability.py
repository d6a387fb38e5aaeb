"""Records how often each reliability guarantee was tried.

`--reliability=FILE` writes the trials of a test run to a file of JSON lines. `make test-full` writes
benchmarks/results/reliability.jsonl; benchmarks/pages.py assembles docs/reliability.md from it.
"""

import datetime
import json
import platform
from pathlib import Path

import pytest

GUARANTEES = (
    "atomic_checkpoints",
    "damaged_checkpoints",
    "exact_resume",
    "signals",
    "disk_errors",
    "non_finite_numbers",
    "hostile_model_files",
    "hostile_requests",
    "local_server",
    "streams",
    "unusual_texts",
    "corpus_sizes",
)
PROPERTY = "reliability trials"


def counts(fast, full):
    """Parametrize `count`: `fast` trials in `make test`, `full` trials in `make test-full`."""
    slow = pytest.param(full, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("count", [fast, slow])


def pytest_addoption(parser):
    parser.addoption(
        "--reliability", metavar="FILE", help="write the trials of each guarantee to this file (JSON lines)"
    )


def pytest_configure(config):
    path = config.getoption("--reliability")
    if path and not hasattr(config, "workerinput"):  # a worker of pytest-xdist only sends reports
        config.pluginmanager.register(TrialWriter(Path(path)))


@pytest.fixture
def report_trials(request):
    """Report trials of a guarantee: (guarantee, attempt, count, result, variant="", added=False).

    If several tests report the same attempt and variant, the largest count is kept; with `added` they are parts of
    one attempt and their counts are summed.
    """
    trials = []
    request.node.user_properties.append((PROPERTY, trials))  # reports carry it from a worker to the main process

    def report(guarantee, attempt, count, result, variant="", added=False):
        assert guarantee in GUARANTEES, guarantee
        trials.append((guarantee, attempt, variant, int(count), result, added))

    return report


class TrialWriter:
    """Collects the trials from test reports and writes them at the end of the session."""

    def __init__(self, path):
        self.path, self.trials = path, []

    def pytest_runtest_logreport(self, report):
        if report.when != "call" or report.skipped:  # skipped: nothing was tried
            return
        for name, trials in report.user_properties:
            if name == PROPERTY:
                test = report.nodeid.rpartition("::")[2].partition("@")[0]
                self.trials += trials if report.passed else [("failed", test, "", 1, "the test failed", False)]

    def pytest_sessionfinish(self):
        merged = {}
        for guarantee, attempt, variant, count, result, added in self.trials:
            before = merged.get((guarantee, attempt, variant), (0, ""))[0]
            if added or count >= before:
                merged[guarantee, attempt, variant] = (before + count if added else count), result
        order = {name: number for number, name in enumerate(GUARANTEES)}
        lines = [
            {
                "guarantee": guarantee, "attempt": attempt, "variant": variant, "count": count, "result": result,
                "command": "make test-full", "date": datetime.date.today().isoformat(),
                "python": platform.python_version(), "machine": platform.machine(),
            }
            for (guarantee, attempt, variant), (count, result)
            in sorted(merged.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0][1:]))
        ]  # fmt: skip
        lines += self._lines_of_benchmarks()
        self.path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

    def _lines_of_benchmarks(self):
        """Return the trials in the file that a benchmark measured instead of a test; they stay."""
        old = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [line for line in map(json.loads, old) if line["command"].startswith("python benchmarks/")]
