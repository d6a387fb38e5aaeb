"""The model card on the Hugging Face Hub.

It is Markdown behind a block of YAML. Names and texts that come out of a model file are text to both, never markup.
"""

import json
import re
from collections.abc import Sequence

from charloom.data.vocabulary.characters import preview
from charloom.errors import SettingsError
from charloom.inference.generation_options import DEFAULT_TEMPERATURE
from charloom.inference.model_summary import Sample, describe_facts
from charloom.model.file.model_file import SavedModel
from charloom.model.file.schema import bits_per_char
from charloom.planning.recipes import write_recipe
from charloom.planning.settings import Settings

_LICENSE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?")
_MARKS = re.compile(r"([\\`*_\[\]<>|~&$:@]|(?<=www)\.)", re.IGNORECASE)
"""What could be markup within a line, mathematics and addresses that become links by themselves among it."""


def check_license(name: str) -> None:
    """Raise ``SettingsError`` if a licence is not named as the Hub names them."""
    if not _LICENSE.fullmatch(name):
        raise SettingsError(
            f"license must be one of the Hub's names, in small letters, such as mit, apache-2.0, cc0-1.0, cc-by-4.0 or "
            f"other; got {name!r}."
        )


def recipe_text(saved: SavedModel) -> str | None:
    """Return the recipe file of a model, from what its own file tells; None if that is not all of it."""
    told, name = saved.facts.get("settings"), saved.facts.get("recipe")
    if not told or not name or told.keys() != Settings().to_dict().keys():
        return None
    try:
        return write_recipe(name, Settings(**told), {})
    except SettingsError:
        return None


def model_card(
    saved: SavedModel,
    repo: str,
    license_name: str | None = None,
    samples: Sequence[Sample] = (),
    recipe: str | None = None,
) -> str:
    """Return the card of a model.

    Args:
        saved: The model as it is uploaded.
        repo: OWNER/NAME.
        license_name: As the Hub names it; None leaves the field out.
        samples: Texts that it wrote.
        recipe: Its recipe file, if that is uploaded beside it.
    """
    name = repo.partition("/")[2]
    parts = [
        f"---\n{_metadata(saved, name, license_name)}---",
        f"# {_plain(name)}\n\n{_opening(saved)}",
        _usage(repo, name),
        f"## What it is\n\n{_table(describe_facts(saved, saved.stored_as))}",
        f"Its vocabulary:\n\n{_fenced(_vocabulary(saved))}",
        *_samples(samples),
        *_training(recipe),
        "## What it is not\n\nIt was trained on one text and goes on in its manner: it answers no questions, and "
        "nothing it says is to be believed. The text is not here, but the model may know stretches of it by heart.",
        _rights(license_name),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(saved: SavedModel, name: str, license_name: str | None) -> str:
    """Return the YAML; JSON's text is YAML's, too, as long as all of it is printable."""
    lines = ["library_name: charloom", "pipeline_tag: text-generation"]
    if license_name is not None:
        lines.append(f"license: {_quoted(license_name)}")
    lines += ["tags:", "- character-level", "- recurrent", f"- {saved.architecture.cell}"]
    bits, corpus = bits_per_char(saved.facts), saved.facts.get("corpus")
    if bits is not None and corpus and saved.facts.get("val_loss") is not None:
        lines += [
            "model-index:",
            f"- name: {_quoted(name)}",
            "  results:",
            "  - task:",
            "      type: text-generation",
            "    dataset:",
            f"      name: {_quoted(corpus)}",
            f"      type: {_quoted(corpus)}",
            "    metrics:",
            "    - type: bits_per_character",
            "      name: bits per held-out character",
            f"      value: {bits:.4f}",
        ]
    return "\n".join(lines) + "\n"


def _opening(saved: SavedModel) -> str:
    facts, bits = saved.facts, bits_per_char(saved.facts)
    corpus = f", trained on {_plain(facts['corpus'])}" if facts.get("corpus") else ""
    held_out = "text that was held out" if facts.get("val_loss") is not None else "the text it was trained on"
    cost = "" if bits is None else f" A character of {held_out} costs it {bits:.3f} bits."
    return f"A character-level recurrent language model of charloom{corpus}.{cost}"


def _usage(repo: str, name: str) -> str:
    commands = f"charloom pull {repo}\ncharloom generate {name}.safetensors -n 500\n"
    return (
        "## Writing with it\n\nWith charloom and its extra `hub` installed:\n\n"
        f"{_fenced(commands, 'sh')}\n\n"
        "`model.safetensors` holds weights, vocabulary and facts. All of it is checked when it is opened, and nothing "
        "in it is executed."
    )


def _vocabulary(saved: SavedModel) -> str:
    return "all 256 bytes" if saved.vocabulary.unit == "byte" else preview(saved.vocabulary.characters, 400)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {_plain(title)} | {_plain(value)} |" for title, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _samples(samples: Sequence[Sample]) -> list[str]:
    if not samples:
        return []
    texts = [f"Seed {sample.seed}:\n\n{_fenced(sample.text, 'text')}" for sample in samples]
    return [f"## What it writes\n\nNot chosen, at temperature {DEFAULT_TEMPERATURE}.", *texts]


def _training(recipe: str | None) -> list[str]:
    if recipe is None:
        return []
    settings = "".join(line + "\n" for line in recipe.splitlines() if line and not line.startswith("#"))
    return [
        "## How it was trained\n\n`charloom train TEXT --recipe recipe.toml`. That file is beside this card, and "
        f"says what each setting means:\n\n{_fenced(settings, 'toml')}"
    ]


def _rights(license_name: str | None) -> str:
    told = "No licence is stated." if license_name is None else f"The model's licence: {_plain(license_name)}."
    return f"## Licence\n\n{told} The rights in the text it was trained on are not settled by it."


def _fenced(text: str, language: str = "text") -> str:
    """Return text as a block of code, in a fence that is longer than any in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.removesuffix(chr(10))}\n{fence}"


def _plain(text: str) -> str:
    """Return printable text as Markdown that shows just that."""
    return _MARKS.sub(r"\\\1", text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
