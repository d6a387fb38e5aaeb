"""Execute the tutorial, write its outputs into the pages of both languages, and create the notebook.

    python docs/tutorial/build.py            (`make lesson`; takes some minutes, because it trains a model)
    python docs/tutorial/build.py --prose    keep the outputs if only the prose has changed

The English page is the source. Its Python blocks run in order in an empty folder. The output of each block is inserted
below it as a text block, which the next build replaces. The Chinese page has the same blocks with translated comments,
and so the same outputs.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
PAGES, NOTEBOOK = ("README.md", "zh.md"), FOLDER / "tutorial.ipynb"
# a Python block, and the output that an earlier build inserted below it
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.M | re.S)
SHOWN_LINES = 24  # of a long output on a page; the notebook contains all lines


def main():
    notebook = to_notebook((FOLDER / PAGES[0]).read_text(encoding="utf-8"))
    notebook = keep_outputs(notebook) if sys.argv[1:] == ["--prose"] else execute(notebook)
    nbformat.write(notebook, NOTEBOOK)
    outputs = [printed(cell) for cell in notebook.cells if cell.cell_type == "code"]
    for name in PAGES:
        page = (FOLDER / name).read_text(encoding="utf-8")
        (FOLDER / name).write_text(with_outputs(page, outputs), encoding="utf-8")
    print(f"{len(outputs)} blocks with their outputs", file=sys.stderr)


def to_notebook(page):
    """Convert the page to a notebook without outputs."""
    cells, end = [], 0
    for block in BLOCK.finditer(page):
        prose = page[end : block.start()].strip()
        if prose:
            cells.append(nbformat.v4.new_markdown_cell(prose))
        cells.append(nbformat.v4.new_code_cell(block[1].rstrip("\n")))
        end = block.end()
    cells.append(nbformat.v4.new_markdown_cell(page[end:].strip()))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same in every build
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def execute(notebook):
    """Execute all cells in an empty folder and return the notebook with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=None, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    return notebook


def keep_outputs(notebook):
    """Copy the outputs from the existing notebook, whose code must be the same."""
    executed = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.source for cell in cells] != [cell.source for cell in executed]:
        sys.exit("The code has changed. Run this script without --prose.")
    for cell, done in zip(cells, executed, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return notebook


def printed(cell):
    """Return the text that a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs).strip("\n")


def with_outputs(page, outputs):
    """Insert the outputs below the Python blocks of a page."""
    remaining = iter(outputs)

    def insert(block):
        output = shortened(next(remaining))
        return f"```python\n{block[1]}```\n" + (f"\n```text\n{output}\n```\n" if output else "")

    return BLOCK.sub(insert, page)


def shortened(output):
    """Remove the middle of a long output."""
    lines = output.splitlines()
    if len(lines) <= SHOWN_LINES:
        return output
    half = SHOWN_LINES // 2
    return "\n".join([*lines[:half], "[...]", *lines[-half:]])


if __name__ == "__main__":
    main()
