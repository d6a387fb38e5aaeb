"""The model card for the Hugging Face Hub: Markdown with YAML front matter.

Names and texts from the model file are untrusted. They are escaped, so that neither YAML nor Markdown interprets them.
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
"""Characters that Markdown could interpret within a line, including mathematics and automatic links."""


def check_license(name: str) -> None:
    """Raise ``SettingsError`` unless a license identifier has the form that the Hub uses."""
    if not _LICENSE.fullmatch(name):
        raise SettingsError(
            f"Invalid license {name!r}. Use the Hub's lowercase identifiers, such as mit, apache-2.0, cc0-1.0, "
            "cc-by-4.0 or other.",
            code="invalid_license",
            license=name,
        )


def recipe_text(saved: SavedModel) -> str | None:
    """Return the recipe file of a model, or None if the model file does not record all settings."""
    settings, name = saved.facts.get("settings"), saved.facts.get("recipe")
    if not settings or not name or settings.keys() != Settings().to_dict().keys():
        return None
    try:
        return write_recipe(name, Settings(**settings), {})
    except SettingsError:
        return None


def model_card(
    saved: SavedModel,
    repo: str,
    license_name: str | None = None,
    samples: Sequence[Sample] = (),
    recipe: str | None = None,
) -> str:
    """Return the model card as Markdown.

    Args:
        saved: The model as uploaded.
        repo: OWNER/NAME.
        license_name: The Hub's identifier of the license; None to omit the field.
        samples: Texts that the model generated.
        recipe: The recipe file, if it is uploaded too.
    """
    name = repo.partition("/")[2]
    parts = [
        f"---\n{_metadata(saved, name, license_name)}---",
        f"# {_plain(name)}\n\n{_opening(saved)}",
        _usage(repo, name),
        f"## Model details\n\n{_table(describe_facts(saved, saved.stored_as))}",
        f"Vocabulary:\n\n{_fenced(_vocabulary(saved))}",
        *_samples(samples),
        *_training(recipe),
        "## Limitations\n\nThe model was trained on one text and continues text in that style. It does not answer "
        "questions, and its output is not factual. The training text is not included, but the model may reproduce "
        "passages of it verbatim.",
        _rights(license_name),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(saved: SavedModel, name: str, license_name: str | None) -> str:
    """Return the YAML front matter. Strings are JSON, which is valid YAML as long as all characters are printable."""
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
    measured_on = "held-out text" if facts.get("val_loss") is not None else "the training text"
    loss = "" if bits is None else f" Loss on {measured_on}: {bits:.3f} bits per character."
    return f"A character-level recurrent language model for charloom{corpus}.{loss}"


def _usage(repo: str, name: str) -> str:
    commands = f"charloom pull {repo}\ncharloom generate {name}.safetensors -n 500\n"
    return (
        "## Usage\n\nInstall charloom with its extra `hub`, then run:\n\n"
        f"{_fenced(commands, 'sh')}\n\n"
        "`model.safetensors` contains the weights, the vocabulary and metadata. charloom validates the whole file "
        "when it opens it, and executes nothing from it."
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
    return [f"## Samples\n\nNot selected; generated at temperature {DEFAULT_TEMPERATURE}.", *texts]


def _training(recipe: str | None) -> list[str]:
    if recipe is None:
        return []
    settings = "".join(line + "\n" for line in recipe.splitlines() if line and not line.startswith("#"))
    return [
        "## Training\n\nTrained with `charloom train TEXT --recipe recipe.toml`. The file `recipe.toml` in this "
        f"repository explains each setting:\n\n{_fenced(settings, 'toml')}"
    ]


def _rights(license_name: str | None) -> str:
    statement = "No license is stated." if license_name is None else f"License of the model: {_plain(license_name)}."
    return f"## License\n\n{statement} It does not cover the rights in the training text."


def _fenced(text: str, language: str = "text") -> str:
    """Return text as a code block whose fence is longer than any run of backticks in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.removesuffix(chr(10))}\n{fence}"


def _plain(text: str) -> str:
    """Escape printable text for Markdown."""
    return _MARKS.sub(r"\\\1", text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
