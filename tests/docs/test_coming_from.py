"""docs/migrating.md is executed, and the settings and options in its tables are charloom's own."""

import re
import shlex
from dataclasses import fields

import pytest
from click.testing import CliRunner

from charloom.cli.main import COMMANDS, group
from charloom.planning.settings import Settings
from support.documents import run_command, run_python, shortened
from support.paths import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[2] for line in PAGE.splitlines() if re.match(r"\| [^|]+\| [^|]+\|$", line)]


def test_every_block_runs_in_its_order(desk):
    ran = []
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S):
        if kind == "python":
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


def test_the_tables_name_settings_and_options_that_there_are():
    known = {field.name for field in fields(Settings)}
    named = set(re.findall(r"`(?:--set )?([a-z_]+)=[^`]*`", "".join(ROWS)))
    assert len(named) > 8 and named <= known
    options = {option for row in ROWS for option in re.findall(r"(?<![\w-])--[a-z-]+", row)}
    helps = "".join(map(help_of, COMMANDS))
    assert len(options) > 15 and not [option for option in options if not re.search(rf"{option}\b", helps)]


OTHERS = re.split(", | or ", re.match(r"# Coming from (.+)\n", PAGE)[1])


@pytest.mark.parametrize("other", OTHERS)
def test_each_program_of_the_heading_has_a_table_whose_rows_have_both_sides(other):
    (section,) = re.findall(rf"^## {other}\b.*?(?=^## |\Z)", PAGE, re.M | re.S)
    heading, line, *rows = re.findall(r"^\|.*\|$", section, re.M)
    assert heading == f"| {other} | charloom |" and re.fullmatch(r"\|-+\|-+\|", line)
    assert rows and all(re.fullmatch(r"\| [^|]*\S[^|]* \| [^|]*\S[^|]* \|", row) for row in rows)
