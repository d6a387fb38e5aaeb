"""What a page tells of its models, in plain HTML: readable without JavaScript, and inert whatever their texts hold."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charloom._util.printable import replace_for_markup
from charloom._util.unused_names import unused_name
from charloom.inference.generation_options import DEFAULT_TEMPERATURE
from charloom.inference.model_summary import describe_facts, write_samples
from charloom.model.file.model_file import SavedModel


@dataclass(frozen=True)
class Named:
    """A model under the name that it has in the page.

    Attributes:
        name: Unlike that of any other in the page.
        saved: The model.
    """

    name: str
    saved: SavedModel

    def entry(self) -> dict[str, Any]:
        """Return the model as the page's script has it: as ``/v1/models`` of the server does, and ``lines``."""
        return {"id": self.name, "lines": self.saved.lines, "charloom": self.saved.described()}


def name_them(saved_models: Sequence[SavedModel]) -> list[Named]:
    """Return models under the names of their corpora; of equal names the second has -2 behind it."""
    named: dict[str, Named] = {}
    for saved in saved_models:
        name = unused_name(str(saved.facts.get("corpus") or "model"), named.__contains__)
        named[name] = Named(name, saved)
    return list(named.values())


def card(model: Named, prompts: Sequence[str], samples: int) -> str:
    """Return one model's part of the page: what it is, and texts that it writes now, with the seeds 1, 2, 3 ...

    Args:
        model: The model.
        prompts: What the texts begin with, in turn.
        samples: How many texts.
    """
    name, facts = html.escape(model.name), describe_facts(model.saved, "int8")
    rows = "".join(f"<div><dt>{html.escape(title)}</dt><dd>{html.escape(value)}</dd></div>" for title, value in facts)
    return (
        f'<article aria-label="{name}">\n<div class="head"><h2>{name}</h2>'
        f'<button class="pick" type="button" hidden>Write with it</button></div>\n<dl class="about-facts">{rows}</dl>\n'
        f"{_samples(model.saved, prompts, samples)}</article>"
    )


def _samples(saved: SavedModel, prompts: Sequence[str], samples: int) -> str:
    if not samples:
        return ""
    figures = []
    for sample in write_samples(saved, range(1, samples + 1), prompts):
        begun = f", from “{html.escape(replace_for_markup(sample.prompt))}”" if sample.prompt else ""
        figures.append(
            f'<figure class="sample"><figcaption><span>seed {sample.seed}, temperature {DEFAULT_TEMPERATURE}{begun}'
            '</span><button class="quiet" type="button" hidden>Go on with it</button></figcaption>\n'
            f"<pre>\n{html.escape(sample.text)}</pre></figure>"
        )
    return f'<div class="samples">\n{"".join(figures)}\n</div>\n'
