"""Data to one self-contained HTML page: no network, nothing in it is run but the page's own script."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_SCRIPTS = ("charts.js", "reader.js", "page.js")
LEVELS = 7
"""Shades on either side of a neuron's zero, and of surprisal."""


def page(data: dict[str, Any], live: bool = False) -> str:
    """Return the page that shows some data.

    Args:
        data: JSON data; see ``charloom.report.build``.
        live: Whether it may ask the server it came from for newer data.
    """
    script = "".join(part(name).removeprefix('"use strict";\n') for name in _SCRIPTS)
    script = f'"use strict";\n{script}'
    style = style_of_pages()
    parts = {
        "policy": policy(script, style, connect="'self'" if live else None),
        "title": html.escape(f"{data.get('name', '')} - charloom"),
        "style": style,
        "script": script,
        "data": inert(data),
    }
    return filled(part("page.html"), parts)


def style_of_pages() -> str:
    """Return the style that pages share."""
    return part("page.css").replace("{colours}", _colours())


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with a part in the place of each ``{name}``; what parts hold is not looked at again."""
    before, *rest = template.split("{")
    pieces = [before]
    for piece in rest:
        name, _, after = piece.partition("}")
        pieces += [parts[name], after]
    return "".join(pieces)


def part(name: str) -> str:
    """Return one of the files that pages are made of."""
    return files(__package__).joinpath("assets", "report", name).read_text(encoding="utf-8")


def inert(data: dict[str, Any]) -> str:
    """Return JSON in which nothing can end the element it stands in: any "<" is written as an escape."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("<", "\\u003c")


def policy(script: str | None, style: str, runs: str = "", connect: str | None = None) -> str:
    """Return the content security policy of a page that holds all it needs.

    Args:
        script: The one script that may run, known by its SHA-256; None where there is none.
        style: The one style.
        runs: What else may run, as a policy names it.
        connect: Where the page may ask for data; None for nowhere.
    """
    may_run = "'none'" if script is None else f"{_digest(script)} {runs}".rstrip()
    may_ask = f"; connect-src {connect}" if connect else ""
    return (
        f"default-src 'none'; script-src {may_run}; style-src {_digest(style)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'{may_ask}"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _colours() -> str:
    """Return the shades behind characters: p1 to p7 for more, n1 to n7 for less than zero."""
    return "\n".join(
        f"#text .{sign}{level} {{ background: rgb(var(--{name}) / calc(var(--least) + {level} * var(--step))); }}"
        for sign, name in (("p", "hot"), ("n", "cold"))
        for level in range(1, LEVELS + 1)
    )
