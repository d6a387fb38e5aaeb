"""What a page tells of its models, in plain HTML: readable without JavaScript, and inert whatever their texts hold."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charloom.model.model_file import SavedModel
from charloom.runtime.language_model import Model
from charloom.runtime.options import DEFAULT_TEMPERATURE

SAMPLE_LENGTH = 400

_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Controls and what is no character: HTML has none of them."""


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
    """Return models under the names of their corpora; of equal names the second has a 2 behind it."""
    named: dict[str, Named] = {}
    for saved in saved_models:
        plain = str(saved.facts.get("corpus") or "model")
        name, number = plain, 2
        while name in named:
            name, number = f"{plain} {number}", number + 1
        named[name] = Named(name, saved)
    return list(named.values())


def card(model: Named, prompts: Sequence[str], samples: int) -> str:
    """Return one model's part of the page: what it is, and texts that it writes now, with the seeds 1, 2, 3 ...

    Args:
        model: The model.
        prompts: What the texts begin with, in turn.
        samples: How many texts.
    """
    name = html.escape(model.name)
    rows = "".join(
        f"<div><dt>{html.escape(title)}</dt><dd>{html.escape(value)}</dd></div>" for title, value in _facts(model)
    )
    return (
        f'<article aria-label="{name}">\n<div class="head"><h2>{name}</h2>'
        f'<button class="pick" type="button" hidden>Write with it</button></div>\n<dl class="about-facts">{rows}</dl>\n'
        f"{_samples(model.saved, prompts or [''], samples)}</article>"
    )


def _facts(model: Named) -> list[tuple[str, str]]:
    facts, architecture = model.saved.facts, model.saved.architecture
    characters = facts.get("corpus_characters")
    known = "all 256 bytes" if model.saved.vocabulary.unit == "byte" else f"{len(model.saved.vocabulary):,} characters"
    found = [
        ("trained on", facts.get("corpus")),
        ("which has", characters and f"{characters:,} characters"),
        ("recipe", facts.get("recipe")),
        ("network", f"{architecture.cell.upper()}, {architecture.num_layers} x {architecture.hidden_size}"),
        ("parameters", f"{architecture.num_parameters:,}, as int8"),
        ("knows", known),
        ("held-out text costs", _bits(facts.get("val_loss"))),
        ("training text costs", _bits(facts.get("train_loss"))),
        ("trained with", facts.get("charloom_version") and f"charloom {facts['charloom_version']}"),
    ]  # fmt: skip
    return [(title, value) for title, value in found if value]


def _bits(loss: float | None) -> str | None:
    return None if loss is None else f"{loss / math.log(2):.3f} bits per character"


def _samples(saved: SavedModel, prompts: Sequence[str], samples: int) -> str:
    if not samples:
        return ""
    model, figures = Model(saved), []
    for seed in range(1, samples + 1):
        prompt = prompts[(seed - 1) % len(prompts)]
        text = model.generate(prompt, SAMPLE_LENGTH, DEFAULT_TEMPERATURE, seed, precision="int8")
        begun = f", from “{_seen(prompt)}”" if prompt else ""
        figures.append(
            f'<figure class="sample"><figcaption><span>seed {seed}, temperature {DEFAULT_TEMPERATURE}{begun}</span>'
            '<button class="quiet" type="button" hidden>Go on with it</button></figcaption>\n'
            f"<pre>\n{_seen(text)}</pre></figure>"
        )
    return f'<div class="samples">\n{"".join(figures)}\n</div>\n'


def _seen(text: str) -> str:
    return html.escape(_UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")))
