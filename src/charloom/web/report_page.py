"""The report's page: JSON data rendered by the page's own script, in one self-contained HTML file."""

import html
from typing import Any

from charloom.web.content_security_policy import content_security_policy
from charloom.web.html_template import fill_template, json_for_script, read_asset, read_modules
from charloom.web.script_bundle import bundle_scripts

COLOUR_LEVELS = 7
"""Shades on either side of a neuron's zero, and of surprisal."""


def report_page(data: dict[str, Any], live: bool = False) -> str:
    """Return the page that shows a report's data.

    Args:
        data: JSON data; see ``charloom.report.build``.
        live: Whether the page may fetch newer data from the server that it came from.
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
    """Return the style that report pages share."""
    return read_asset("report/report.css").replace("{colours}", _colour_rules())


def _colour_rules() -> str:
    """Return the CSS rules for characters' backgrounds: p1 to p7 for positive values, n1 to n7 for negative ones."""
    return "\n".join(
        f"#text .{sign}{level} {{ background: rgb(var(--{name}) / calc(var(--least) + {level} * var(--step))); }}"
        for sign, name in (("p", "hot"), ("n", "cold"))
        for level in range(1, COLOUR_LEVELS + 1)
    )
