"""Summarize a model for a web page or a model card: a table of facts, and samples."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charloom._util.printable import replace_for_markup
from charloom.data.text_format import BLANK, FILE
from charloom.inference.generation import Request
from charloom.inference.generation_options import DEFAULT_TEMPERATURE, Ending, Sampling
from charloom.inference.model import Model
from charloom.model.file.model_file import SavedModel

SAMPLE_LENGTH = 400
"""Characters generated for a sample, after its prompt."""


@dataclass(frozen=True)
class Sample:
    """A generated sample.

    Attributes:
        seed: Seed of the sample.
        prompt: Prompt of the sample; may be empty.
        text: The prompt and the generated text. Characters that are not allowed in HTML are replaced.
    """

    seed: int
    prompt: str
    text: str


_MAX_LABELS = 10  # labels shown in readable output; --json has all
_RECORD_SOURCES = {"": "values of a table's column", BLANK: "separated by blank lines", FILE: "one per file"}


def describe_facts(saved: SavedModel, stored_as: str) -> list[tuple[str, str]]:
    """Return a table of facts about a model as (label, value) pairs, without facts that are unknown.

    Args:
        saved: The model.
        stored_as: Number format of the weights in the file: "float32", "float16" or "int8".
    """
    facts, architecture = saved.facts, saved.architecture
    characters = facts.get("corpus_characters")
    rows = [
        ("trained on", facts.get("corpus")),
        ("corpus size", characters and f"{characters:,} characters"),
        ("recipe", facts.get("recipe")),
        ("architecture", architecture.in_words),
        ("parameters", f"{architecture.num_parameters:,} ({stored_as})"),
        ("vocabulary", "256 bytes" if saved.vocabulary.unit == "byte" else f"{len(saved.vocabulary):,} characters"),
        ("held-out loss", _bits(facts.get("val_loss"))),
        ("training loss", _bits(facts.get("train_loss"))),
        ("trained with", facts.get("charloom_version") and f"charloom {facts['charloom_version']}"),
    ]  # fmt: skip
    return [*((label, value) for label, value in rows if value), *describe_rules(saved.rules.to_dict())]


def describe_rules(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, value) pairs for the rules of a model's texts that differ from the defaults.

    Args:
        facts: A mapping that contains the result of ``TextRules.to_dict``.
    """
    rows = []
    if "records" in facts:
        source = _RECORD_SOURCES.get(facts["records"]) or f"separated by the line {facts['records']}"
        rows.append(("records", f"independent texts, {source}"))
    if "labels" in facts:
        labels = sorted(facts["labels"].items(), key=lambda pair: (-pair[1], pair[0]))
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in labels[:_MAX_LABELS])
        rest = f", and {len(labels) - _MAX_LABELS:,} more" if len(labels) > _MAX_LABELS else ""
        rows.append(("labels", shown + rest))
    if "newlines" in facts:
        rows.append(("newlines", "CR LF and CR are read as LF"))
    if "normalize" in facts:
        rows.append(("normal form", "NFC"))
    return rows


def write_samples(
    saved: SavedModel,
    seeds: Sequence[int],
    prompts: Sequence[str] = (),
    temperature: float = DEFAULT_TEMPERATURE,
    stop: str | None = None,
) -> Iterator[Sample]:
    """Generate a text for each seed, with up to ``SAMPLE_LENGTH`` characters after the prompt.

    Args:
        saved: The model. It runs in int8, so that the texts are the same on every machine.
        seeds: Seeds of the samples.
        prompts: Prompts, used in rotation; if empty, the samples have no prompt.
        temperature: Sampling temperature.
        stop: Stop sequence, or None.

    Raises:
        UnknownCharacterError: If a prompt contains a character that is not in the vocabulary.
    """
    model, ending = Model(saved), Ending(() if stop is None else (stop,))
    for number, seed in enumerate(seeds):
        prompt = prompts[number % len(prompts)] if prompts else ""
        request = Request(prompt, SAMPLE_LENGTH, Sampling(temperature), ending, seed)
        text = "".join(piece.text for piece in model.pieces(request, "int8"))
        yield Sample(seed, prompt, replace_for_markup(text))


def _bits(loss: float | None) -> str | None:
    return None if loss is None else f"{loss / math.log(2):.3f} bits per character"
