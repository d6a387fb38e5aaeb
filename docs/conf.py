"""How the documentation becomes a site: `make docs`. Nothing in it is fetched, neither now nor by its reader."""

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
smartquotes = False  # -- is an option

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
nitpick_ignore_regex = [  # what others document, which is not looked up; and parts of ours that no page shows
    ("py:.*", r"(numpy|np|torch|collections|os|pathlib|typing|click)\..*"),
    ("py:class", r"charloom\.(data|model\.file|training\.(backends|batches|distributed))\..*"),
    ("py:class", "Record|PathLike"),
]


def without_folders(app, page, source):
    """Take out links to what is in no site: folders, READMEs."""
    folder = Path(app.env.doc2path(page)).parent

    def kept(link):
        inside = (folder / link[2]).resolve().is_relative_to(DOCS)
        return link[0] if inside else link[1]

    source[0] = re.sub(r"\[([^\]]*)\]\((\.\./[^)#:]*(?:/|\.md))\)", kept, source[0])


def keep_whole(app, what, name, obj, options, lines):
    """Keep Napoleon from taking what stands before a colon, in the docstring of an attribute, for its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment, which has no colon


def setup(app):
    """Tell Sphinx of both."""
    app.connect("source-read", without_folders)
    app.connect("autodoc-process-docstring", keep_whole, priority=400)
