"""The parts of pages that are computed when the site is built, so that they cannot go stale.

A page asks for one with the directive ``made``: ```` ```{made} recipes ``` ````.
"""

import html
from functools import cache
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import charloom
from charloom.cli.main import COMMANDS, group
from charloom.planning.heuristics import MAX_EPOCHS, NOMINAL_SPEED, Task, adapt_settings, expected_epochs
from charloom.planning.recipes import PLANNED, RECIPES
from charloom.planning.settings import Settings, setting_fields

README = Path(__file__).parents[1] / "README.md"
MOST = 7  # whole bits: a character that costs more has the same colour
# rows of the README's table that the front page shows, by how they begin
MEASURED = (
    "tiny Shakespeare, 3 minutes",
    "the same 3 minutes",
    "training speed",
    "writing, GRU of 512",
    "64 texts at once",
    "`charloom generate",
    "the bundled model",
)
LENGTHS = (20_000, 100_000, 1_000_000, 5_000_000, 20_000_000)  # characters of the texts a plan is shown for


def recipes():
    """All settings, a row each; of a recipe's own only what differs from auto."""
    others = [recipe for recipe in RECIPES.values() if recipe.name != "auto"]
    yield "| setting | meaning | `auto` |" + "".join(f" `{recipe.name}` |" for recipe in others)
    yield "|---|---|" + "---|" * (len(others) + 1)
    for item in setting_fields():
        base = getattr(RECIPES["auto"].settings, item.name)
        values = [getattr(recipe.settings, item.name) for recipe in others]
        shown = [_value(base), *("" if value == base else _value(value) for value in values)]
        yield f"| `{item.name}` | {item.metadata['help']}{_accepted(item)} | {' | '.join(shown)} |"


def recipe_names():
    """Each recipe with its line."""
    for recipe in RECIPES.values():
        planned = " Fitted to text, time and machine." if recipe.name in PLANNED else " Stays as it is."
        yield f"- `{recipe.name}`: {recipe.about}.{planned}"


def plans():
    """What the recipe auto chooses for texts of several lengths, at the speed that it assumes before it measures."""
    yield "| characters to train on | minutes | the model | passes | of 20 minutes: the model | passes |"
    yield "|---:|---:|---|---:|---|---:|"
    for characters in LENGTHS:
        task = Task(characters, vocabulary_size=80, speed=NOMINAL_SPEED)
        own = adapt_settings(Settings(), task)
        long = adapt_settings(Settings(minutes=20.0), task, {"minutes"})
        cells = [f"{characters:,}", f"{own.minutes:.1f}", *_model(own, task), *_model(long, task)]
        yield f"| {' | '.join(cells)} |"


def measured():
    """Rows of the README's table of what was measured."""
    table = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    yield from ("| what | measured | command |", "|---|---|---|")
    for beginning in MEASURED:
        (row,) = [line for line in table if line.startswith(f"| {beginning}")]
        yield row


def commands():
    """Every command of the command line, in the order in which its help names them."""
    for command in COMMANDS:
        module = group.get_command(None, command).callback.__module__
        yield from ("```{eval-rst}", f".. click:: {module}:command", f"   :prog: charloom {command}", "```", "")


def surprisal_html(text):
    """Return a text with a class for each stretch of characters that cost the same whole number of bits."""
    score = _bundled().score(text)
    levels = [0, *(min(int(bits), MOST) for bits in score.surprisals)]
    spans = []
    for level, stretch in groupby(zip(levels, text, strict=True), key=lambda pair: pair[0]):
        letters = html.escape("".join(letter for _, letter in stretch))
        spans.append(f'<span class="b{level}">{letters}</span>' if level else letters)
    said = f"{score.bits_per_char:.2f} bits per character"
    return f'<figure class="surprisal"><pre>{"".join(spans)}</pre><figcaption>{said}</figcaption></figure>'


def legend_html():
    """Return the scale of these colours."""
    steps = "".join(f'<span class="b{level}">{level}</span>' for level in range(MOST))
    return f'<p class="surprisal legend">bits: {steps}<span class="b{MOST}">{MOST} and more</span></p>'


class Made(Directive):
    """A part of a page that one of the functions above makes as Markdown."""

    required_arguments = 1

    def run(self):
        """Return its nodes."""
        parts = {made.__name__: made for made in (recipes, recipe_names, plans, measured, commands)}
        lines = StringList(list(parts[self.arguments[0]]()), source=f"site_parts.{self.arguments[0]}")
        holder = nodes.container(classes=["made"])
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children


class Surprisal(Directive):
    """A text on the colours of what its characters cost the bundled model; without a text, the scale."""

    has_content = True

    def run(self):
        """Return its node."""
        text = "\n".join(self.content)
        return [nodes.raw("", surprisal_html(text) if text else legend_html(), format="html")]


@cache
def _bundled():
    return charloom.load("shakespeare")


def _model(settings, task):
    yield f"{settings.num_layers} x {settings.hidden_size}"
    yield f"{min(expected_epochs(settings, task), MAX_EPOCHS):.1f}"


def _value(value):
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.13g}"


def _accepted(item):
    choices, minimum, maximum = (item.metadata[key] for key in ("choices", "minimum", "maximum"))
    return f" ({', '.join(choices)})" if choices else f" ({_value(minimum)} to {_value(maximum)})"


def for_keys_and_readers(app, page, template, context, tree):
    """Let keys scroll what is wider than the page, and say how high the captions of the contents are."""
    for part, old, new in (
        ("body", "<pre", '<pre tabindex="0"'),
        ("body", '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
        ("furo_navigation_tree", 'role="heading"', 'role="heading" aria-level="2"'),
    ):
        if part in context:
            context[part] = context[part].replace(old, new)


def setup(app):
    """Make all of it known to Sphinx."""
    app.add_directive("made", Made)
    app.add_directive("surprisal", Surprisal)
    app.connect("html-page-context", for_keys_and_readers, priority=900)  # when the theme has made the contents
    return {"parallel_read_safe": True, "parallel_write_safe": True}
