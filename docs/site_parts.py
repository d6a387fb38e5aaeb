"""Directives for the parts of pages that are computed when the site is built, so that they are never out of date.

A page includes one with the directive ``made``, for example ```` ```{made} recipes ``` ````.
"""

import html
from functools import cache
from itertools import groupby, takewhile
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import charloom
from charloom.cli.main import COMMANDS, group
from charloom.planning.heuristics import MAX_EPOCHS, NOMINAL_SPEED, Task, adapt_settings, expected_epochs
from charloom.planning.recipes import PLANNED, RECIPES
from charloom.planning.settings import Settings, setting_fields

RESULTS = Path(__file__).parent / "results.md"
MAX_LEVEL = 7  # whole bits; a character with a higher surprisal has the same color
TEXT_LENGTHS = (20_000, 100_000, 1_000_000, 5_000_000, 20_000_000)  # characters of the texts in the table of plans


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


def commands():
    """Yield a ``click`` directive for each command, in the order of ``charloom --help``."""
    for command in COMMANDS:
        module = group.get_command(None, command).callback.__module__
        yield from ("```{eval-rst}", f".. click:: {module}:command", f"   :prog: charloom {command}", "```", "")


def surprisal_html(text):
    """Return a text as HTML, colored by the surprisal of each character for the bundled model, in whole bits."""
    score = _bundled().score(text)
    levels = [0, *(min(int(bits), MAX_LEVEL) for bits in score.surprisals)]
    spans = []
    for level, pairs in groupby(zip(levels, text, strict=True), key=lambda pair: pair[0]):
        characters = html.escape("".join(character for _, character in pairs))
        spans.append(f'<span class="b{level}">{characters}</span>' if level else characters)
    caption = f"{score.bits_per_char:.2f} bits per character"
    return f'<figure class="surprisal"><pre>{"".join(spans)}</pre><figcaption>{caption}</figcaption></figure>'


def legend_html():
    """Return the legend of the surprisal colors as HTML."""
    levels = "".join(f'<span class="b{level}">{level}</span>' for level in range(MAX_LEVEL))
    return f'<p class="surprisal legend">bits: {levels}<span class="b{MAX_LEVEL}">{MAX_LEVEL} and more</span></p>'


class Made(Directive):
    """Inserts the Markdown that one of the functions of this module computes; its argument names the function."""

    required_arguments = 1

    def run(self):
        """Return the nodes of the computed Markdown."""
        parts = {part.__name__: part for part in (recipes, recipe_names, plans, measured, commands)}
        lines = StringList(list(parts[self.arguments[0]]()), source=f"site_parts.{self.arguments[0]}")
        holder = nodes.container(classes=["made"])
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children


class Surprisal(Directive):
    """Shows its content colored by surprisal; without content, the legend of the colors."""

    has_content = True

    def run(self):
        """Return the colored text or the legend."""
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
    if choices or minimum is None:
        return f" ({', '.join(choices)})" if choices else ""
    return f" ({_value(minimum)} to {_value(maximum)})"


def make_accessible(app, page, template, context, tree):
    """Make wide blocks and tables scrollable by keyboard, and give the captions of the contents a heading level."""
    for part, old, new in (
        ("body", "<pre", '<pre tabindex="0"'),
        ("body", '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
        ("furo_navigation_tree", 'role="heading"', 'role="heading" aria-level="2"'),
    ):
        if part in context:
            context[part] = context[part].replace(old, new)


def unlink_email_addresses(app, doctree):
    """Turn links to email addresses into text: docutils takes RUN@STEP in a help text for an address."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:"):
            link.replace_self(nodes.Text(link.astext()))


def setup(app):
    """Register the directives and hooks with Sphinx."""
    app.add_directive("made", Made)
    app.add_directive("surprisal", Surprisal)
    app.connect("doctree-read", unlink_email_addresses)
    app.connect("html-page-context", make_accessible, priority=900)  # after the theme has built the contents
    return {"parallel_read_safe": True, "parallel_write_safe": True}
