"""docs/migrating.md is executed, and the settings, options and commands in its tables exist."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom.cli.main import COMMANDS, group
from charloom.planning.settings import Settings
from support.documents import run_command, run_python, shortened
from support.paths import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
PROGRAMS = ("TensorFlow tutorial", "char-rnn", "torch-rnn", "textgenrnn", "nanoGPT", "Keras")
COLUMNS = {"TensorFlow tutorial": ("tutorial", "charloom", "Python")}  # the other tables have (program, "charloom")


def table_of(program):
    """Return the rows of a program's table as lists of cells, including the heading."""
    (section,) = re.findall(rf"^## {program}\n.*?(?=^## |\Z)", PAGE, re.M | re.S)
    heading, line, *rows = re.findall(r"^\|.*\|$", section, re.M)
    assert re.fullmatch(r"\|(-+\|)+", line)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in (heading, *rows)]


CELLS = [row[1] for program in PROGRAMS for row in table_of(program)[1:]]


def test_blocks_run_in_order(workspace):
    Path("my_book.txt").write_text(Path("my_book.txt").read_text() + "ROMEO: Q")
    ran = []
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S):
        if kind == "python":
            block = block.replace("epochs=10", "epochs=1, hidden_size=8, seq_length=20, batch_size=8")
            assert run_python(block)
            ran.append("python")
        for line in block.splitlines() if kind == "console" else ():
            command = shortened(line.removeprefix("$ "))
            assert run_command(command) or shlex.split(command)[1] in ("train", "export", "import")
            ran.append(shlex.split(command)[1])
    assert {"train", "generate", "corpus", "import", "export", "info", "python"} == set(ran)
    assert len(re.findall(r"^```", PAGE, re.M)) % 2 == 0


def help_of(command):
    return CliRunner().invoke(group, [command, "--help"]).output


def test_tables_name_existing_settings_options_and_commands():
    known = {field.name for field in fields(Settings)}
    named = set(re.findall(r"`(?:--set )?([a-z_]+)=[^`]*`", "".join(CELLS)))
    named |= set(re.findall(r"--set ([a-z_]+)=", PAGE))
    assert len(named) > 18 and named <= known
    options = {option for cell in CELLS for option in re.findall(r"(?<![\w-])--[a-z-]+", cell)}
    helps = "".join(map(help_of, COMMANDS))
    assert len(options) > 15 and not [option for option in options if not re.search(rf"{option}\b", helps)]
    commands = set(re.findall(r"`charloom (\w+)", PAGE))
    assert len(commands) >= 8 and commands <= set(COMMANDS)


def test_sections_are_the_programs():
    assert tuple(re.findall(r"^## (.+)$", PAGE, re.M)) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_has_a_table_without_empty_cells(program):
    heading, *rows = table_of(program)
    assert tuple(heading) == COLUMNS.get(program, (program, "charloom"))
    assert rows and all(len(row) == len(heading) and all(row) for row in rows)
