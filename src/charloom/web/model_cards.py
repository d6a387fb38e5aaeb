"""The model cards of an exported page: properties and samples, as plain HTML that needs no JavaScript."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charloom._util.printable import replace_for_markup
from charloom._util.unused_names import unused_name
from charloom.inference.model_summary import describe_facts, write_samples
from charloom.model.file.model_file import SavedModel
from charloom.web.page_presets import PagePresets


@dataclass(frozen=True)
class NamedModel:
    """A model and its name in the page.

    Attributes:
        name: Unique in the page.
        saved: The model.
    """

    name: str
    saved: SavedModel

    def entry(self) -> dict[str, Any]:
        """Return the model's data for the page's script: its entry in the server's ``/v1/models``, plus ``lines``.

        Of labeled records, ``label_counts`` has the number of training records with each label.
        """
        rules = self.saved.rules
        counts = {"label_counts": list(rules.labels.values())} if rules.labels else {}
        return {"id": self.name, "lines": rules.lines, **counts, "charloom": self.saved.described()}


def name_models(saved_models: Sequence[SavedModel]) -> list[NamedModel]:
    """Name models after their corpora. If a name is taken, append -2, -3, ..."""
    named: dict[str, NamedModel] = {}
    for saved in saved_models:
        name = unused_name(str(saved.facts.get("corpus") or "model"), named.__contains__)
        named[name] = NamedModel(name, saved)
    return list(named.values())


def model_card_html(model: NamedModel, prompts: Sequence[str], samples: int, presets: PagePresets) -> str:
    """Return a model's card: its properties, and samples that are generated now with the seeds 1, 2, 3, ...

    Args:
        model: The model.
        prompts: The prompts of the samples, used in rotation.
        samples: The number of samples.
        presets: Temperature and stop sequence of the samples.
    """
    name, facts = html.escape(model.name), describe_facts(model.saved, "int8")
    rows = "".join(f"<div><dt>{html.escape(title)}</dt><dd>{html.escape(value)}</dd></div>" for title, value in facts)
    return (
        f'<article aria-label="{name}">\n<div class="head"><h2>{name}</h2>'
        '<button class="select" type="button" hidden>Use this model</button></div>\n'
        f'<dl class="about-facts">{rows}</dl>\n'
        f"{_samples(model.saved, prompts, samples, presets)}</article>"
    )


def _samples(saved: SavedModel, prompts: Sequence[str], samples: int, presets: PagePresets) -> str:
    if not samples:
        return ""
    figures = []
    stop = f", stop sequence “{html.escape(presets.typed_stop)}”" if presets.stop else ""
    for sample in write_samples(saved, range(1, samples + 1), prompts, presets.temperature, presets.stop):
        origin = f", prompt “{html.escape(replace_for_markup(sample.prompt))}”" if sample.prompt else ""
        figures.append(
            f'<figure class="sample"><figcaption><span>seed {sample.seed}, temperature {presets.temperature:g}{stop}'
            f'{origin}</span><button class="quiet" type="button" hidden>Continue this sample</button></figcaption>\n'
            f"<pre>\n{html.escape(sample.text)}</pre></figure>"
        )
    return f'<div class="samples">\n{"".join(figures)}\n</div>\n'
