"""The report page: one self-contained HTML file whose script renders the report's JSON data."""

import html
from typing import Any

from charloom.web.content_security_policy import content_security_policy
from charloom.web.html_template import fill_template, json_for_script, read_asset, read_modules
from charloom.web.script_bundle import bundle_scripts

COLOUR_LEVELS = 7
"""Number of shades: for positive activations, for negative ones, and for surprisal."""


def report_page(data: dict[str, Any], live: bool = False) -> str:
    """Return the HTML page for a report.

    Args:
        data: JSON data; see ``charloom.report.build``.
        live: Whether the page may fetch newer data from the server that it was loaded from.
    """
    script = bundle_scripts("", read_modules("report"), 'use("report.js");\n')
    style = report_style()
    slots = {
        "policy": content_security_policy(script, style, connect_src="'self'" if live else None),
        "title": html.escape(f"{data.get('name', '')} - charloom"),
        "style": style,
        "script": script,
        "data": json_for_script(data),
    }
    return fill_template(read_asset("report/report.html"), slots)


def report_style() -> str:
    """Return the style sheet that the report page and the tuning report share."""
    return read_asset("report/report.css").replace("{colors}", _color_rules())


def _color_rules() -> str:
    """Return the CSS rules for the background of characters: p1 to p7 for positive values, n1 to n7 for negative."""
    alpha = "calc(var(--min-alpha) + {level} * var(--alpha-step))"
    return "\n".join(
        f"#text .{sign}{level} {{ background: rgb(var(--{name}) / {alpha.format(level=level)}); }}"
        for sign, name in (("p", "hot"), ("n", "cold"))
        for level in range(1, COLOUR_LEVELS + 1)
    )
