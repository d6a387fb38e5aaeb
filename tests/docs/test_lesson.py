"""The tutorial is executed: the code of both languages and of the notebook, on a small text file."""

import importlib
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.documents import blocks, run_python
from support.paths import ROOT

FOLDER = ROOT / "docs" / "tutorial"
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("README.md", "zh.md")}
NOTEBOOK = json.loads((FOLDER / "tutorial.ipynb").read_text(encoding="utf-8"))
ONE_LINE = 'SOURCE = "shakespeare"', 'SOURCE = "my_book.txt"'
SHORTER = ("UNITS = 256", "UNITS = 16"), ("epochs=10", "epochs=1")  # everything else runs unchanged


def cells(kind):
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


def without_comments(code):
    return [re.sub(r"\s+#.*", "", line) for line in code.splitlines()]


LESSONS = {name: blocks("python", page) for name, page in PAGES.items()} | {"tutorial.ipynb": cells("code")}


@pytest.mark.parametrize("name", LESSONS)
def test_code_runs_on_another_text_after_changing_one_line(name, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("my_book.txt").write_text(text * 2)
    code = "\n".join(LESSONS[name])
    for long, short in (ONE_LINE, *SHORTER):
        assert code.count(long) == 1
        code = code.replace(long, short)
    output = run_python(code)
    assert f"{len(text * 2) // 101} windows of 101 characters" in output
    assert (tmp_path / "runs" / "lesson" / "model.safetensors").exists()


def test_both_languages_and_the_notebook_have_the_same_code():
    english = [without_comments(block) for block in LESSONS["README.md"]]
    for name in ("zh.md", "tutorial.ipynb"):
        assert [without_comments(block) for block in LESSONS[name]] == english, name


def test_both_languages_have_the_same_structure():
    def skeleton(page):
        return re.findall(r"^(#+ |```\w+|\||!\[)", page, re.M)

    assert skeleton(PAGES["README.md"]) == skeleton(PAGES["zh.md"])


def test_notebook_was_executed_completely_and_matches_the_page():
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    for prose in cells("markdown"):
        assert prose in PAGES["README.md"]


def test_outputs_on_the_pages_equal_the_notebook(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    build = importlib.import_module("build")
    notebook = nbformat.read(FOLDER / "tutorial.ipynb", as_version=4)
    outputs = [build.printed(cell) for cell in notebook.cells if cell.cell_type == "code"]
    for page in PAGES.values():
        assert build.with_outputs(page, outputs) == page


def test_training_in_a_notebook_prints_plain_lines(tmp_path, text):
    (tmp_path / "my_book.txt").write_text(text)
    code = 'import charloom\ncharloom.train("my_book.txt", steps=3, hidden_size=16, batch_size=8)'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=120).execute()
    streams = [output for output in notebook.cells[0].outputs if output.output_type == "stream"]
    assert not [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    printed = "".join(output.text for output in streams)
    assert re.search(r"\b3 steps\b", printed) and "\x1b" not in printed
