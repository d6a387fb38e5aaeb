"""Fill HTML templates, and read the files that pages are made of."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_ASSETS = files(__package__).joinpath("assets")


def fill_template(template: str, slots: Mapping[str, str]) -> str:
    """Replace each ``{name}`` of a template by the text for that slot. Inserted text is not scanned for slots.

    Raises:
        KeyError: If the template has a slot that has no text.
    """
    before, *rest = template.split("{")
    pieces = [before]
    for piece in rest:
        name, _, after = piece.partition("}")
        pieces += [slots[name], after]
    return "".join(pieces)


def json_for_script(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the ``<script>`` element that contains it: every "<" is escaped."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("<", "\\u003c")


def read_asset(path: str) -> str:
    """Return the text of a file below ``assets``, such as ``report/report.css``."""
    return _ASSETS.joinpath(*path.split("/")).read_text(encoding="utf-8")


def read_modules(folder: str) -> dict[str, str]:
    """Return the JavaScript modules of a folder of ``assets`` and those of ``assets/shared``, by file name."""
    return {
        file.name: file.read_text(encoding="utf-8")
        for part in ("shared", folder)
        for file in sorted(_ASSETS.joinpath(part).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".js")
    }
