"""Parts of pages that exist on the site only: the help of all commands, and texts colored by their surprisal."""

import html
from functools import cache
from itertools import groupby

from docutils import nodes
from docutils.parsers.rst import Directive

import charloom
from charloom.cli.main import COMMANDS, group

COMMANDS_MARK = "<!-- on the site: the help of all commands -->"
MAX_LEVEL = 7  # whole bits; a character with a higher surprisal has the same color


def commands():
    """Yield a ``click`` directive for each command, in the order of ``charloom --help``."""
    for command in COMMANDS:
        module = group.get_command(None, command).callback.__module__
        yield from ("```{eval-rst}", f".. click:: {module}:command", f"   :prog: charloom {command}", "```", "")


def insert_commands(app, page, source):
    """Insert the help of all commands at its mark, which is a comment and therefore invisible in the repository."""
    source[0] = source[0].replace(COMMANDS_MARK, "\n".join(commands()))


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
    app.add_directive("surprisal", Surprisal)
    app.connect("source-read", insert_commands)
    app.connect("doctree-read", unlink_email_addresses)
    app.connect("html-page-context", make_accessible, priority=900)  # after the theme has built the contents
    return {"parallel_read_safe": True, "parallel_write_safe": True}
