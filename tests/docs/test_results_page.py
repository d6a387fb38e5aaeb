"""docs/results.md and docs/reliability.md match the recorded results, and every benchmark is on the page."""

import doctest
import importlib
import json
import re
import sys
from types import SimpleNamespace

import pytest

import charloom
from support.paths import ROOT
from support.reliability import GUARANTEES

BENCHMARKS = ROOT / "benchmarks"
RUN = {
    "command": "python benchmarks/startup.py",
    "date": "2026-01-02",
    "processor": "a processor",
    "cores": 2,
    "load": 0.1,
    "system": "Linux x86_64",
    "versions": {"python": "3.11.7"},
}
RATES = {"charloom, int8": 1000.0, "a peer": 250.0}
STEPS = {
    "charloom, default precision": {"seconds": 0.2, "megabytes": 100},
    "a peer": {"seconds": 0.8, "megabytes": 300},
}
LINES = {  # the JSON line of a benchmark, and excerpts of the tables generated from it
    "generation": (
        {"cases": [{"cell": "gru", "hidden": 512, "vocabulary": 65, "streams": 1, "threads": 1}
                   | {"chars_per_second": RATES}]},
        ["GRU of 512", "| a peer | 250 | 4.00 |"],
    ),
    "training": ({"cases": {"small": STEPS}}, ["small:", "| a peer | 800 | 4.00 | 300 |"]),
    "where_time_goes": ({"milliseconds": {"512 units": {"optimizer": 1.5}}}, ["| optimizer | 1.50 |"]),
    "time_to_loss": (
        {"peers": {"a peer": [[[1, 3.0], [60, 1.5]], [[1, 3.0], [62, 1.6]]]}},
        ["| a peer | 2 | 61.0 | 1.5500 |"],
    ),
    "quality": (
        {"corpus": "book", "runs": [{"steps": 9, "wall_seconds": 60.0, "one_stream": 1.4, "crops": 1.5}
                                    | {"train_loss": 1.2}]},
        ["book, seed", "| 0 | 9 | 60.0 | 1.4000 | 1.5000 | 1.2000 |"],
    ),
    "int8_cost": ({"models": {"m": {"float32": 2.0, "int8": 2.00001, "cost": 0.00001}}}, ["| m | 2.00000 | 2.00001 |"]),
    "saving": ({"recipes": {"auto": {"save_seconds": 0.01234, "megabytes": 12.3}}}, ["| auto | 0.0123 | 12.3 |"]),
    "encoding": ({"characters": 10**6, "texts": {"ascii": {"distinct": 65, "ratio": 31.0}}}, ["| ascii | 65 | 31.0 |"]),
    "indexing": (
        {"bytes": 10**9, "indexed_bytes_per_second": 15e7, "known_bytes_per_second": 9e8, "steps": 1000,
         "more_mib": -4.6},
        ["| write the index of 1,000,000,000 bytes, MB/s | 150 |", "MiB more than on the first megabyte | -4.60 |"],
    ),
    "analysis": (
        {"rates": {"score": 5e4}, "novelty": {"seconds": 3.25}, "report": 12.0},
        ["| score, characters per second | 50,000 |", "| charloom report, s | 12.0 |"],
    ),
    "serving": (
        {"model": "m", "streams": {"characters_per_second": 190000.0, "p99": None}, "share_of_engine_rate": 0.57},
        ["- streams: characters per second 190,000\n", "- share of the engine's rate: 0.57"],
    ),
    "startup": (
        {"rounds": 3, "import numpy": {"seconds": 0.15, "megabytes": 30.0}, "after_numpy": {"import charloom": 0.001}},
        ["| import numpy | 0.15 | 30.0 |", "| import charloom | 0.001 |"],
    ),
}  # fmt: skip


MODULES = ("pages", "recorded_tables", "reported_tables", "reproduction_tables", "reliability_tables", "record")


@pytest.fixture
def modules(monkeypatch):
    """The modules in benchmarks/ that generate the pages, newly imported."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name)


@pytest.fixture
def record(modules, monkeypatch, tmp_path):
    """`record.py` with empty folders for results and pages."""
    for name in ("recorded_tables", "record"):
        monkeypatch.setattr(getattr(modules, name), "RESULTS", tmp_path / "results")
    monkeypatch.setattr(modules.pages, "DOCS", tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (0.25, 9.0, 9.0))
    return modules.record


def recorded(record, monkeypatch, *arguments, line='{"benchmark": "saving", "recipes": {}}'):
    """Run `record.py` with a shell command that prints `line` instead of the benchmark."""
    program = ["sh", "-c", f"echo a table; echo '{line}'"]
    monkeypatch.setattr("sys.argv", ["record.py", *arguments])
    popen = record.subprocess.Popen
    monkeypatch.setattr(record.subprocess, "Popen", lambda command, **more: popen(program, **more))
    record.main()


def test_result_is_recorded_and_shown(record, monkeypatch, capsys, tmp_path):
    for _ in range(2):
        recorded(record, monkeypatch, "saving", "--quick")
    assert capsys.readouterr().out.count("a table\n") == 2
    lines = (record.RESULTS / "saving.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    run = json.loads(lines[1])["run"]
    assert run["command"] == "python benchmarks/saving.py --quick" and run["load"] == 0.2
    assert run["versions"]["charloom"] == charloom.__version__
    assert (tmp_path / "results.md").read_text(encoding="utf-8").count(run["command"]) == 1
    assert (tmp_path / "reliability.md").exists()


@pytest.mark.parametrize(("name", "line", "load", "reason"), [
    ("nothing", "{}", 0, "nothing"),
    ("saving", '{"benchmark": "startup"}', 0, "'startup'"),
    ("saving", '{"benchmark": "saving"}', 999, "load"),
])  # fmt: skip
def test_unusable_results_are_not_recorded(record, monkeypatch, name, line, load, reason):
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    with pytest.raises(SystemExit, match=reason):
        recorded(record, monkeypatch, name, line=line)
    assert not record.RESULTS.exists()


def write(folder, name, *lines):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("name", ["results.md", "reliability.md"])
def test_page_is_rendered_from_template_and_results(modules, name):
    assert modules.pages.render(name) == (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_doctests_pass(modules):
    for module in (modules.recorded_tables, modules.reported_tables):
        done = doctest.testmod(module)
        assert done.attempted and not done.failed


def test_every_recorded_result_is_on_the_page(modules):
    template = (BENCHMARKS / "templates" / "results.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^\{\{ (\w+) (.*) \}\}$", template, re.M)
    shown = {kind: {name for block, names in blocks if block == kind for name in names.split()} for kind, _ in blocks}
    assert shown["recorded"] == set(modules.recorded_tables.TABLES)
    assert shown["reported"] == set(modules.reported_tables.records())
    assert shown["reproduced"] == set(modules.reproduction_tables.PARTS)


def test_every_guarantee_is_on_the_page(modules):
    template = (BENCHMARKS / "templates" / "reliability.md").read_text(encoding="utf-8")
    names = re.findall(r"^\{\{ guarantee (\w+) \}\}$", template, re.M)
    assert names == list(GUARANTEES)
    assert {trial["guarantee"] for trial in modules.reliability_tables.trials()} <= {*GUARANTEES, "failed"}


def test_every_benchmark_is_on_the_page(modules):
    code = {path.stem: path.read_text(encoding="utf-8") for path in BENCHMARKS.glob("*.py")}
    names = {name for name, text in code.items() if re.search(rf'"benchmark": "{name}"', text)}
    reported_only = {"reproduce", "bulk", "gpu", "scaling", "tuning", "gru_implementations"}
    assert names - reported_only == set(modules.recorded_tables.TABLES) == set(LINES)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name in reported_only:
        assert name in names and re.search(rf"benchmarks/{name}\.py|make {name}", page), name


def test_reported_results_have_command_machine_and_date(modules):
    for name, record in modules.reported_tables.records().items():
        assert all(record[key] for key in ("command", "machine", "date")), name
        assert ("values" in record) != ("rows" in record), name
        assert all(len(row) == len(record["columns"]) for row in record.get("rows", [])), name


@pytest.mark.parametrize("name", LINES)
def test_line_of_a_benchmark_is_rendered_as_tables(modules, tmp_path, name):
    line, expected = LINES[name]
    write(tmp_path, name, {"benchmark": name, **line, "run": RUN})
    section = modules.recorded_tables.section(name, tmp_path)
    assert all(part in section for part in ("a processor", "2026-01-02", *expected)), section


def test_newest_result_of_each_machine_is_shown(modules, tmp_path):
    line = {"benchmark": "startup"} | LINES["startup"][0]
    runs = [("one", "2026-01-01", 1.0), ("one", "2026-01-03", 2.0), ("two", "2026-01-02", 3.0)]
    write(tmp_path, "startup", *(
        line | {"import numpy": {"seconds": s, "megabytes": 1}, "run": RUN | {"processor": p, "date": d}}
        for p, d, s in runs
    ))  # fmt: skip
    section = modules.recorded_tables.section("startup", tmp_path)
    assert re.findall(r"(one|two), cores|\| import numpy \| (\S+)", section) == [
        ("one", ""), ("", "2.00"), ("two", ""), ("", "3.00"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "benchmark"), [("nothing", "nothing"), ("startup", "saving")])
def test_lines_of_another_benchmark_are_rejected(modules, tmp_path, name, benchmark):
    write(tmp_path, name, {"benchmark": benchmark, "run": RUN})
    with pytest.raises(SystemExit, match=benchmark):
        modules.recorded_tables.section(name, tmp_path)


def test_failed_tests_are_named_on_the_page(modules, monkeypatch):
    assert modules.reliability_tables.failures() == ""
    trial = {"guarantee": "failed", "attempt": "test_kills"}
    monkeypatch.setattr(modules.reliability_tables, "trials", lambda: [trial])
    assert "test_kills" in modules.reliability_tables.failures()
