"""Sphinx configuration of the documentation site (`make docs`). The site loads nothing from other hosts."""

import re
import sys
from pathlib import Path

import charloom

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

project = "charloom"
author = copyright = "The charloom developers"
release = charloom.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "site_parts"]
exclude_patterns = ["**/*.ipynb"]

myst_heading_anchors = 4
smartquotes = False  # they would turn the "--" of options into a dash

html_theme = "furo"
html_title = "charloom"
html_static_path = ["style"]
html_favicon = "style/icon.svg"
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore_regex = [  # names of other projects, which are not linked, and own names that no page documents
    ("py:.*", r"(numpy|np|torch|collections|os|pathlib|typing|click)\..*"),
    ("py:class", r"charloom\.(data|model\.file|training\.(backends|batches|distributed))\..*"),
    ("py:class", "Record|PathLike"),
]


LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#:]*)(?:#[^)]*)?\)")  # [text](../path), optionally with an anchor


def unlink_pages_outside(app, page, source):
    """Replace links to folders and Markdown files outside docs/ by their text, since the site does not contain them.

    Links to other files outside docs/ stay: the site offers those files for download.
    """
    folder = Path(app.env.doc2path(page)).parent

    def link_or_text(link):
        text, path = link.groups()
        target = (folder / path).resolve()
        is_page = target.is_dir() or path.endswith(("/", ".md"))
        return text if is_page and not target.is_relative_to(DOCS) else link[0]

    source[0] = LINK.sub(link_or_text, source[0])


def protect_colons(app, what, name, obj, options, lines):
    """Stop Napoleon from parsing the text before a colon in an attribute's docstring as its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment, which contains no colon


def setup(app):
    """Register both hooks with Sphinx."""
    app.connect("source-read", unlink_pages_outside)
    app.connect("autodoc-process-docstring", protect_colons, priority=400)
