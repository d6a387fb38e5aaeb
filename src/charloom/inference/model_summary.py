"""Describe a model for a page or a model card: facts in words, and samples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charloom._util.printable import replace_for_markup
from charloom.inference.generation_options import DEFAULT_TEMPERATURE
from charloom.inference.model import Model
from charloom.model.file.model_file import SavedModel

SAMPLE_LENGTH = 400
"""Length of a sample in characters, without the prompt."""


@dataclass(frozen=True)
class Sample:
    """A sample text of a model.

    Attributes:
        seed: Its seed.
        prompt: Its prompt; may be empty.
        text: The text with its prompt, safe for markup.
    """

    seed: int
    prompt: str
    text: str


def describe_facts(saved: SavedModel, stored_as: str) -> list[tuple[str, str]]:
    """Describe a model as pairs of label and value; unknown facts are left out.

    Args:
        saved: The model.
        stored_as: The number format of its stored weights.
    """
    facts, architecture = saved.facts, saved.architecture
    characters = facts.get("corpus_characters")
    rows = [
        ("trained on", facts.get("corpus")),
        ("which has", characters and f"{characters:,} characters"),
        ("recipe", facts.get("recipe")),
        ("network", architecture.in_words),
        ("parameters", f"{architecture.num_parameters:,}, as {stored_as}"),
        ("knows", "all 256 bytes" if saved.vocabulary.unit == "byte" else f"{len(saved.vocabulary):,} characters"),
        ("held-out text costs", _bits(facts.get("val_loss"))),
        ("training text costs", _bits(facts.get("train_loss"))),
        ("trained with", facts.get("charloom_version") and f"charloom {facts['charloom_version']}"),
    ]  # fmt: skip
    return [(title, value) for title, value in rows if value]


def write_samples(saved: SavedModel, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Iterator[Sample]:
    """Generate a text for each seed: ``SAMPLE_LENGTH`` characters after the prompt, at the default temperature.

    Args:
        saved: The model; it runs in int8, which gives the same text on every machine.
        seeds: Seeds of the texts.
        prompts: Prompts, used in turn; without any, the texts have no prompt.

    Raises:
        UnknownCharacterError: If the model does not know a character of a prompt.
    """
    model = Model(saved)
    for at, seed in enumerate(seeds):
        prompt = prompts[at % len(prompts)] if prompts else ""
        text = model.generate(prompt, SAMPLE_LENGTH, DEFAULT_TEMPERATURE, seed, precision="int8")
        yield Sample(seed, prompt, replace_for_markup(text))


def _bits(loss: float | None) -> str | None:
    return None if loss is None else f"{loss / math.log(2):.3f} bits per character"
