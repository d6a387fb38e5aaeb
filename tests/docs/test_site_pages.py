"""The front page, the results page and the generated tables of the site: code blocks run and values are correct."""

import importlib
import math
import re
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

import charloom
from charloom.cli.main import COMMANDS
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import parse_value
from support.documents import blocks, run_command, run_python, shortened
from support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("index.md", "results.md")}
SMALL = " --set batch_size=8 --set embedding_size=8"


@pytest.fixture
def parts(monkeypatch):
    """The module ``site_parts``, which generates parts of pages. Needs Sphinx."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("site_parts")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_commands_run_in_order(name, workspace):
    ran = 0
    for block in blocks("console", PAGES[name]):
        for line in block.splitlines():
            command = shortened(line.removeprefix("$ "))
            run_command(command + (SMALL if " train " in command else ""))
            ran += 1
    assert ran == len(re.findall(r"^\$ ", PAGES[name], re.M)) >= 3


def test_front_page_shows_the_output_of_its_command():
    match = re.search(r"^\$ (charloom [^\n]*)\n```\n\n```text\n(.*?)\n```", PAGES["index.md"], re.M | re.S)
    command, shown = match.groups()
    assert run_command(command).decode().rstrip("\n") == shown


@pytest.mark.slow
def test_python_reference_runs(workspace):
    (code,) = blocks("python", (DOCS / "reference" / "python.md").read_text(encoding="utf-8"))
    Path("my_book.txt").write_text(Path("my_book.txt").read_text() + "The end")
    assert run_python(shortened(code)).startswith("The ")


def test_colors_show_the_bits_of_each_character(parts):
    """Compares with the bits computed from the model's top-k predictions."""
    text, model = "To be <or> not & so\nforth", charloom.load("shakespeare")
    text = "".join(character for character in text if character in model.vocabulary.characters)
    guesses = model.top_guesses(text, len(model.vocabulary.characters))
    levels = [0]
    for here, following in enumerate(text[1:]):
        rank = list(guesses.characters[here]).index(following)
        levels.append(min(int(-math.log2(guesses.probabilities[here][rank])), 7))
    shown = parts.surprisal_html(text)
    spans = re.findall(r'<span class="b(\d)">(.*?)</span>|([^<]+)', re.search("<pre>(.*)</pre>", shown, re.S)[1], re.S)
    colored = [(int(level or 0), letters or plain) for level, letters, plain in spans]
    unescaped = [(level, letters.replace("&amp;", "&").replace("&lt;", "<")) for level, letters in colored]
    assert "".join(letters for _, letters in unescaped) == text
    assert [level for level, letters in unescaped for _ in letters] == levels and max(levels) > 3


def test_markup_in_a_text_is_escaped(parts, monkeypatch):
    score = SimpleNamespace(surprisals=[5.0] * 8, bits_per_char=5.0)
    monkeypatch.setattr(parts, "_bundled", lambda: SimpleNamespace(score=lambda text: score))
    assert "<b>" not in parts.surprisal_html("<b>x</b>&") and "&amp;" in parts.surprisal_html("<b>x</b>&")


def test_table_of_recipes_has_all_settings_of_all_recipes(parts):
    heading, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in parts.recipes()]
    names = [cell.strip("`") for cell in heading[2:]]
    assert sorted(names) == sorted(RECIPES)
    values = {name: {} for name in names}
    for setting, _, *cells in rows:
        for name, cell in zip(names, cells, strict=True):
            value = (cell or cells[names.index("auto")]).replace(",", "")
            values[name][setting.strip("`")] = parse_value(setting.strip("`"), value)
    assert values == {name: asdict(recipe.settings) for name, recipe in RECIPES.items()}
    assert all(f"`{name}`: {recipe.about}" in "\n".join(parts.recipe_names()) for name, recipe in RECIPES.items())


def test_plans_grow_with_text_length_and_time(parts):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in parts.plans()][2:]
    minutes, passes = [float(row[1]) for row in rows], [float(row[3]) for row in rows]
    assert minutes == sorted(minutes) and passes == sorted(passes, reverse=True)
    assert all(float(row[5]) <= 25 and float(row[5]) >= float(row[3]) * 0.5 for row in rows)


def test_front_page_shows_the_first_table_of_the_results(parts):
    heading, _, *rows = parts.measured()
    assert heading == "| what | result | machine | command |" and len(rows) >= 5
    assert all(f"{row}\n" in PAGES["results.md"] for row in rows)


def test_commands_page_lists_all_commands(parts):
    assert re.findall(r":prog: charloom (\S+)", "\n".join(parts.commands())) == list(COMMANDS)


def test_links_to_folders_and_pages_outside_the_docs_become_text(parts):
    conf = importlib.import_module("conf")
    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: DOCS / f"{page}.md"))
    source = ["[a](../plugins/README.md) [b](../examples/x.py) [c](../results.md#there)"]
    conf.unlink_pages_outside(app, "tutorial/README", source)
    assert source == ["[a](../plugins/README.md) [b](../examples/x.py) [c](../results.md#there)"]
    source[0] += " [d](../deploy/) [e](../deploy) [f](../deploy/nginx.conf)"
    conf.unlink_pages_outside(app, "index", source)
    assert source == ["a [b](../examples/x.py) c d e [f](../deploy/nginx.conf)"]
    source = ["[a](../../deploy) [b](../../README.md#there) [c](../../deploy/nginx.conf) [d](../reference/engine.md)"]
    conf.unlink_pages_outside(app, "guides/serving", source)
    assert source == ["a b [c](../../deploy/nginx.conf) [d](../reference/engine.md)"]


def test_code_blocks_of_all_pages_are_tested():
    tests = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    for path in sorted(DOCS.rglob("*.md")):
        if re.search(r"^```(console|python|bash|toml)$", path.read_text(encoding="utf-8"), re.M):
            assert f'{path.name}"' in tests, f"no test runs the blocks of {path.name}"
