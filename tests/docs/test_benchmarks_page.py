"""The page of benchmarks is what the kept lines say, and every benchmark has a place on it."""

import doctest
import importlib
import json
import re
import sys

import pytest

import charloom
from support.paths import ROOT

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
STEPS = {"charloom, as it chooses": {"seconds": 0.2, "megabytes": 100}, "a peer": {"seconds": 0.8, "megabytes": 300}}
LINES = {  # what a benchmark prints in the end, and what the page must make of it
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
        ["| index of 1,000,000,000 bytes, MB/s | 150 |", "1,000 steps, MiB more than on its first megabyte | -4.60 |"],
    ),
    "looking": (
        {"rates": {"score": 5e4}, "novelty": {"seconds": 3.25}, "report": 12.0},
        ["| score, characters a second | 50,000 |", "| charloom report, s | 12.0 |"],
    ),
    "serving": (
        {"model": "m", "streams": {"characters_a_second": 190000.0, "p99": None}, "share_of_the_engine": 0.57},
        ["- streams: characters a second 190,000\n", "- share of the engine: 0.57"],
    ),
    "startup": (
        {"rounds": 3, "import numpy": {"seconds": 0.15, "megabytes": 30.0}, "after_numpy": {"import charloom": 0.001}},
        ["| import numpy | 0.15 | 30.0 |", "| import charloom | 0.001 |"],
    ),
}  # fmt: skip


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("page")
    sys.modules.pop("page")


@pytest.fixture
def record(page, monkeypatch, tmp_path):
    """`record.py`, which keeps what it is told in an empty folder."""
    record = importlib.import_module("record")
    for module in (page, record):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
        monkeypatch.setattr(module, "DOCUMENT", tmp_path / "benchmarks.md")
    monkeypatch.setattr("os.getloadavg", lambda: (0.25, 9.0, 9.0))
    yield record
    sys.modules.pop("record")


def recorded(record, monkeypatch, *arguments, line='{"benchmark": "saving", "recipes": {}}'):
    """Run `record.py` with a Python that prints a line in a benchmark's place."""
    program = ["sh", "-c", f"echo a table; echo '{line}'"]
    monkeypatch.setattr("sys.argv", ["record.py", *arguments])
    popen = record.subprocess.Popen
    monkeypatch.setattr(record.subprocess, "Popen", lambda command, **more: popen(program, **more))
    record.main()


def test_a_result_is_kept_and_shown(record, page, monkeypatch, capsys):
    for _ in range(2):
        recorded(record, monkeypatch, "saving", "--quick")
    assert capsys.readouterr().out.count("a table\n") == 2
    lines = (page.RESULTS / "saving.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    run = json.loads(lines[1])["run"]
    assert run["command"] == "python benchmarks/saving.py --quick" and run["load"] == 0.2
    assert run["versions"]["charloom"] == charloom.__version__
    assert page.DOCUMENT.read_text(encoding="utf-8").count(run["command"]) == 1


@pytest.mark.parametrize(("name", "line", "load", "why"), [
    ("nothing", "{}", 0, "no benchmark 'nothing'"),
    ("saving", '{"benchmark": "startup"}', 0, "is of 'startup'; nothing was kept"),
    ("saving", '{"benchmark": "saving"}', 999, "Other processes are running"),
])  # fmt: skip
def test_what_is_of_no_use_is_not_kept(record, page, monkeypatch, name, line, load, why):
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    with pytest.raises(SystemExit, match=why):
        recorded(record, monkeypatch, name, line=line)
    assert not page.RESULTS.exists()


def write(folder, name, *lines):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_the_page_is_made_of_the_results(page):
    assert page.page(page.RESULTS) == page.DOCUMENT.read_text(encoding="utf-8")
    assert doctest.testmod(page).failed == 0


def test_every_benchmark_has_a_place_on_the_page(page):
    code = {path.stem: path.read_text(encoding="utf-8") for path in BENCHMARKS.glob("*.py")}
    names = {name for name, text in code.items() if re.search(rf'"benchmark": "{name}"', text)}
    own_pages = {"reproduce": "reproduction.md", "bulk": "bulk.md", "gpu": "scaling.md", "scaling": "scaling.md"}
    own_pages |= {"tuning": "decisions/tuning.md", "gru_implementations": "decisions/training-kernels.md"}
    assert names - own_pages.keys() == set(page.TABLES) == set(LINES)
    for name, document in own_pages.items():
        told = (page.DOCUMENT.parent / document).read_text(encoding="utf-8")
        assert name in names and re.search(rf"benchmarks/{name}\.py|make {name}", told)


@pytest.mark.parametrize("name", LINES)
def test_what_a_benchmark_prints_becomes_tables(page, tmp_path, name):
    line, wanted = LINES[name]
    write(tmp_path, name, {"benchmark": name, **line, "run": RUN})
    made = page.page(tmp_path)
    assert all(part in made for part in ("a processor", "2026-01-02", *wanted)), made


def test_the_newest_of_each_machine_is_shown(page, tmp_path):
    line = {"benchmark": "startup"} | LINES["startup"][0]
    runs = [("one", "2026-01-01", 1.0), ("one", "2026-01-03", 2.0), ("two", "2026-01-02", 3.0)]
    write(tmp_path, "startup", *(
        line | {"import numpy": {"seconds": s, "megabytes": 1}, "run": RUN | {"processor": p, "date": d}}
        for p, d, s in runs
    ))  # fmt: skip
    found = re.findall(r"(one|two), cores|\| import numpy \| (\S+)", page.page(tmp_path))
    assert found == [("one", ""), ("", "2.00"), ("two", ""), ("", "3.00")]


@pytest.mark.parametrize(("file", "benchmark"), [("nothing", "nothing"), ("startup", "saving")])
def test_lines_of_another_benchmark_are_refused(page, tmp_path, file, benchmark):
    write(tmp_path, file, {"benchmark": benchmark, "run": RUN})
    with pytest.raises(SystemExit, match=benchmark):
        page.page(tmp_path)
