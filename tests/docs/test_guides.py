"""Guides are executed: every command and Python block, and their tables agree with the program."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from charloom.cli.interactive import _COMMANDS as INTERACTIVE_COMMANDS
from charloom.cli.text_options import TEXT_OPTIONS
from charloom.inference.generation_options import MAX_PENALTY, MAX_SAMPLES, MAX_TEMPERATURE, Sampling
from charloom.planning.recipes import load_recipe
from charloom.report.features import _FEATURES as REPORT_FEATURES
from support.documents import blocks, run_command, run_python, shortened
from support.paths import ROOT

FOLDER = ROOT / "docs" / "guides"
NAMES = ("texts.md", "training.md", "generating.md", "scoring.md", "report.md", "page.md", "tuning.md")
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES}
COMMANDS = {  # the commands whose options the page describes
    "texts.md": ("train", "generate", "score"),
    "training.md": ("train", "generate"),
    "generating.md": ("generate", "export"),
    "scoring.md": ("score", "train", "info"),
    "report.md": ("report",),
    "page.md": ("export", "generate"),
    "tuning.md": ("tune", "train"),
}
SMALL = " --set batch_size=8 --set embedding_size=8"
BUNDLED_ONLY = "shakespeare"  # the bundled model, whose output is the same on every machine


def console(page):
    """Return (command, output) of every command on a page; the output may be empty or shortened."""
    pattern = r"^\$ ([^\n]*)\n((?:(?!\$ )[^\n]*\n)*)"
    return [pair for block in blocks("console", page) for pair in re.findall(pattern, block, re.M)]


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def run_page(name, before=()):
    """Run all commands and Python blocks of a page in order, with short training runs; return how many ran."""
    page, ran = PAGES[name], {"console": 0, "python": 0}
    for command in before:
        run_command(command)
    for kind, block in re.findall(r"^```(console|python)\n(.*?)^```", page, re.M | re.S):
        if kind == "python":
            run_python(shortened(block).replace("hidden_size=256", "hidden_size=16, batch_size=8"))
            ran["python"] += 1
            continue
        for command, _ in console(f"```console\n{block}```"):
            command = shortened(command)
            is_new_run = command.startswith("charloom train ") and not re.search("--resume|--plan", command)
            run_command(command + (SMALL if is_new_run and "--init" not in command else ""))
            ran["console"] += 1
    assert ran["console"] == len(re.findall(r"^\$ ", page, re.M)) and ran["python"] == len(blocks("python", page))
    return ran


@pytest.mark.parametrize("name", NAMES)
def test_options_in_guides_exist(name):
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGES[name]))
    helps = "".join(run_command(f"charloom {command} --help").decode() for command in COMMANDS[name])
    assert options and [option for option in options if not re.search(rf"{option}\b", helps)] == []


def test_texts_guide_runs(workspace):
    Path("chapters").mkdir()
    Path("chapters/one.txt").write_text("It was a dark night.\r\n" * 20)
    people = Path("names.txt").read_text().split()
    Path("people.csv").write_text("name,year\n" + "".join(f"{person},{i}\n" for i, person in enumerate(people)))
    Path("poems.txt").write_text("\n%\n".join(f"{person}\nwas here" for person in people * 3))
    stories = (f"{person} was here,{'horror' if i % 2 else 'comedy'}\n" for i, person in enumerate(people * 3))
    Path("stories.csv").write_text("text,genre\n" + "".join(stories))
    run_page("texts.md")
    lines, _ = blocks("python", PAGES["texts.md"])
    assert run_python(shortened(lines)).startswith("An")
    assert set(re.findall(r"^\| `(--\w+)", PAGES["texts.md"], re.M)) == {f"--{name}" for name in TEXT_OPTIONS}


def test_training_guide_runs(workspace):
    Path("second.txt").write_text(Path("my_book.txt").read_text() + "Zoë")
    Path("my_book.txt").write_text(Path("my_book.txt").read_text() * 2)
    assert run_page("training.md")["python"] == 1
    assert {"my_book", "deeper", "python"} <= {path.name for path in Path("runs").iterdir()}


def test_training_guide_shows_the_output_of_its_command():
    ((command, output),) = [(c, output) for c, output in console(PAGES["training.md"]) if output]
    shown = output.removesuffix("...\n")
    assert run_command(command).decode().startswith(shown) and shown.count("\n") == 4


def test_recipe_file_in_the_training_guide_is_valid(tmp_path):
    (text,) = blocks("toml", PAGES["training.md"])
    (tmp_path / "mine.toml").write_text(text)
    chosen = load_recipe(str(tmp_path / "mine.toml"))
    assert chosen.fixed == {"hidden_size", "dropout_output", "minutes"} and chosen.settings.hidden_size == 64


def test_generating_guide_runs(workspace):
    assert run_page("generating.md", ["charloom train my_book.txt --steps 3 --set hidden_size=16"])["python"] == 3
    assert Path("small.safetensors").exists()


def test_generating_guide_shows_the_output_of_its_commands():
    shown = [(c, output) for c, output in console(PAGES["generating.md"]) if output]
    assert len(shown) >= 6 and all(BUNDLED_ONLY in command for command, _ in shown)
    for command, output in shown:
        assert run_command(command).decode().rstrip("\n") == output.rstrip("\n"), command


def test_generating_guide_has_all_options_and_ranges():
    page, only_python = PAGES["generating.md"], {"repetition_window", "presence_penalty", "frequency_penalty"}
    rows = set(re.findall(r"^\| `--([a-z-]+)`", page, re.M))
    assert rows == {field.name.replace("_", "-") for field in fields(Sampling)} - {
        name.replace("_", "-") for name in only_python
    }
    assert only_python <= set(re.findall(r"`(\w+)`", page))
    assert f"{MAX_SAMPLES:,} texts" in page and f"0 to {MAX_TEMPERATURE:g}" in page
    assert f"-{MAX_PENALTY:g} to {MAX_PENALTY:g}" in page


def test_generating_guide_has_all_interactive_commands():
    named = set(re.findall(r"^\| `/(\w+)", PAGES["generating.md"], re.M))
    assert named == {*INTERACTIVE_COMMANDS, "quit"}


def test_scoring_guide_runs(workspace):
    train = "charloom train my_book.txt --steps 3 --set hidden_size=16"
    known = "".join(c for c in Path("my_book.txt").read_text() if c.isascii() and (c.isalpha() or c in " \n"))
    Path("my_book.txt").write_text(known)
    assert run_page("scoring.md", [train])["python"] == 2


def test_scoring_guide_shows_the_numbers_its_commands_print(workspace):
    shown = [(c, output) for c, output in console(PAGES["scoring.md"]) if output]
    assert len(shown) >= 3
    for command, output in shown:
        printed, expected = numbers(run_command(command).decode()), numbers(output)
        assert printed == pytest.approx(expected, abs=0.01) and expected, command


def test_texts_guide_shows_the_output_of_its_command(workspace, shakespeare):
    Path("my_book.txt").write_text(shakespeare.text)
    command, output = console(PAGES["texts.md"])[0]
    printed = run_command(command).decode()
    expected = numbers(output)
    assert len(expected) > 10 and numbers(printed)[: len(expected)] == expected


def test_report_guide_runs(workspace):
    Path("my_book.txt").write_text(Path("my_book.txt").read_text() + "To be, or not")
    Path("letter.txt").write_text("To be, or not to be")
    assert run_page("report.md", ["charloom train my_book.txt --steps 3 --set hidden_size=16"])["python"] == 2
    assert Path("report.html").exists() and Path("letter.html").exists() and list(Path("figures").glob("*.svg"))
    assert len(REPORT_FEATURES) == 17 and "seventeen features" in PAGES["report.md"]


def test_page_guide_runs(workspace):
    assert run_page("page.md", ["charloom train my_book.txt --steps 3 --set hidden_size=16"])["python"] == 1
    written = {*re.findall(r"-o (\w+\.html)", PAGES["page.md"]), "from_python.html"}
    assert len(written) == 5 and all(Path(name).stat().st_size > 50_000 for name in written)


@pytest.mark.slow
def test_tuning_guide_runs(workspace):
    times = (r"--hours [\d.]+", "--hours 0.015"), (r"tune (.*)--minutes \d+", r"tune \1--minutes 0.03")
    for command, _ in console(PAGES["tuning.md"]):
        for long, short in times:
            command = re.sub(long, short, command)
        run_command(command)
    assert Path("tuning/my_book/tuning.html").exists() and Path("tuning/my_book/recipe.toml").exists()
