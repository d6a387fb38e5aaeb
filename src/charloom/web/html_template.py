"""Fill HTML templates, and read the asset files of the pages."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_ASSETS = files(__package__).joinpath("assets")


def fill_template(template: str, slots: Mapping[str, str]) -> str:
    """Replace each ``{name}`` in a template with the text of that slot. Inserted text is not scanned for slots.

    Raises:
        KeyError: If the template has a slot that is not in ``slots``.
    """
    before, *rest = template.split("{")
    pieces = [before]
    for piece in rest:
        name, _, after = piece.partition("}")
        pieces += [slots[name], after]
    return "".join(pieces)


def json_for_script(data: dict[str, Any]) -> str:
    """Return JSON in which every "<" is escaped, so that it cannot close the ``<script>`` element around it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("<", "\\u003c")


def read_asset(path: str) -> str:
    """Return the text of a file below ``assets``, such as ``report/report.css``."""
    return _ASSETS.joinpath(*path.split("/")).read_text(encoding="utf-8")


def read_modules(folder: str) -> dict[str, str]:
    """Return the sources of the JavaScript modules in a folder of ``assets`` and in ``assets/shared``, by file name."""
    return {
        file.name: file.read_text(encoding="utf-8")
        for part in ("shared", folder)
        for file in sorted(_ASSETS.joinpath(part).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".js")
    }
