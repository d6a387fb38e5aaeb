"""Write the tables of the documentation that the code determines: `python docs/page_tables.py`.

The pages contain them, so that they read the same in the repository and on the site. A test compares them with
the code.
"""

import re
from itertools import takewhile
from pathlib import Path

from charloom.cli.main import COMMANDS, group
from charloom.planning.heuristics import MAX_EPOCHS, NOMINAL_SPEED, Task, adapt_settings, expected_epochs
from charloom.planning.recipes import PLANNED, RECIPES
from charloom.planning.settings import Settings, setting_fields

DOCS = Path(__file__).parent
RESULTS = DOCS / "results.md"
TEXT_LENGTHS = (20_000, 100_000, 1_000_000, 5_000_000, 20_000_000)  # characters of the texts in the table of plans
PAGES = [  # and the tables of each; results.md is assembled from a template
    DOCS.parent / "benchmarks" / "templates" / "results.md",
    RESULTS,
    DOCS / "index.md",
    DOCS / "guides" / "training.md",
    DOCS / "reference" / "commands.md",
]


def recipes():
    """Yield a table of all settings, with the values of each recipe. Values equal to those of auto are left out."""
    rest = [recipe for recipe in RECIPES.values() if recipe.name != "auto"]
    yield "| setting | meaning | `auto` |" + "".join(f" `{recipe.name}` |" for recipe in rest)
    yield "|---|---|" + "---|" * (len(rest) + 1)
    for item in setting_fields():
        default = getattr(RECIPES["auto"].settings, item.name)
        values = [getattr(recipe.settings, item.name) for recipe in rest]
        cells = [_value(default), *("" if value == default else _value(value) for value in values)]
        yield f"| `{item.name}` | {item.metadata['help']}{_accepted(item)} | {' | '.join(cells)} |"


def recipe_names():
    """Yield a list of the recipes with a description of each."""
    for recipe in RECIPES.values():
        planned = "Adapted to the text, time and machine" if recipe.name in PLANNED else "Fixed: never adapted"
        yield f"- `{recipe.name}`: {recipe.about}. {planned}."


def plans():
    """Yield a table of what the recipe auto plans for texts of several lengths, at its assumed speed."""
    yield "| training characters | minutes | model | epochs | model for 20 minutes | epochs |"
    yield "|---:|---:|---|---:|---|---:|"
    for characters in TEXT_LENGTHS:
        task = Task(characters, vocabulary_size=80, speed=NOMINAL_SPEED)
        planned = adapt_settings(Settings(), task)
        long = adapt_settings(Settings(minutes=20.0), task, {"minutes"})
        cells = [f"{characters:,}", f"{planned.minutes:.1f}", *_model(planned, task), *_model(long, task)]
        yield f"| {' | '.join(cells)} |"


def measured():
    """Yield the first table of the results page: what to expect."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| "))
    yield from takewhile(lambda line: line.startswith("|"), lines[first:])


def command_list():
    """Yield a list of the commands with the first sentence of the help of each, in the order of ``charloom --help``."""
    yield "| command | purpose |"
    yield "|---|---|"
    for name in COMMANDS:
        yield f"| `charloom {name}` | {group.get_command(None, name).get_short_help_str(200)} |"


TABLES = {table.__name__: table for table in (recipes, recipe_names, plans, measured, command_list)}
MARKED = re.compile(r"(<!-- (\w+): begin, written by docs/page_tables.py -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def with_tables(page):
    """Return the text of a page with current tables between their marks."""
    return MARKED.sub(lambda match: "\n".join([match[1], *TABLES[match[2]](), "", match[3]]), page)


def _model(settings, task):
    yield f"{settings.num_layers} x {settings.hidden_size}"
    yield f"{min(expected_epochs(settings, task), MAX_EPOCHS):.1f}"


def _value(value):
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.13g}"


def _accepted(item):
    choices, minimum, maximum = (item.metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices or minimum is None:
        return f" ({', '.join(choices)})" if choices else ""
    return f" ({_value(minimum)} to {_value(maximum)})"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
