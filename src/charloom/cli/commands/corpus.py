"""``charloom corpus``: inspect a text before training on it."""

from __future__ import annotations

from typing import Any

import click

from charloom.cli.text_options import read_corpus, text_options
from charloom.data.corpus import Corpus
from charloom.data.splits import TextLines
from charloom.data.text_format import TextFormat
from charloom.data.vocabulary.characters import preview
from charloom.planning.heuristics import Task, adapt_settings
from charloom.planning.recipes import RECIPES
from charloom.planning.schedule import steps_per_epoch
from charloom.terminal.messages import json_option, print_json, print_text, quiet_option, shown

_PREVIEW = 250  # characters, as in the tutorial
_PREVIEW_IDS = 13


@click.command("corpus")
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
@text_options
@json_option
@quiet_option
def command(sources: tuple[str, ...], text_format: TextFormat, as_json: bool, quiet: bool) -> None:
    """Look at a text: its length, its characters, its beginning, and what training on it would mean.

    CORPUS is a text file, a folder, a glob, - for standard input, or a named corpus: shakespeare, python-docs.
    """
    found = look(read_corpus(sources, text_format, quiet))
    if as_json:
        print_json(found)
    else:
        print_text(shown(_page(found)))


def look(corpus: Corpus) -> dict[str, Any]:
    """Return the facts of a corpus: the keys of ``--json``."""
    vocabulary, preview = corpus.vocabulary, corpus.head(_PREVIEW)
    found = {
        "name": corpus.name,
        "characters": len(corpus),
        "distinct": len(vocabulary),
        "sha256": corpus.sha256,
        "vocabulary": vocabulary.characters,
        "preview": preview,
        "preview_ids": vocabulary.encode(preview[:_PREVIEW_IDS]).tolist(),
        "unit": vocabulary.unit,
        "lines": len(corpus.lines[0].starts) if corpus.format.lines else None,
    }
    recipe = RECIPES["auto"]
    part = corpus.parts(recipe.settings.val_fraction).training
    training, lengths = len(part), part.lengths if isinstance(part, TextLines) else None
    if training <= recipe.settings.seq_length:
        return found | {"plan": None}
    settings = recipe.settings if lengths is None else recipe.settings.with_values({"batching": "lines"})
    settings = adapt_settings(settings, Task(training, len(vocabulary), line_lengths=lengths))
    return found | {
        "plan": {
            "recipe": recipe.name,
            "parameters": settings.architecture(len(vocabulary)).num_parameters,
            "training_characters": training,
            "steps_per_epoch": steps_per_epoch(settings, training, lengths),
            "minutes": settings.minutes,
        }
    }


def _page(found: dict[str, Any]) -> str:
    ids, plan = found["preview_ids"], found["plan"]
    in_lines = "" if found["lines"] is None else f", {found['lines']:,} lines that are texts of their own"
    units = "characters" if found["unit"] == "char" else "bytes"
    lines = [
        f"{found['name']}: {found['characters']:,} {units}, {found['distinct']:,} distinct{in_lines}",
        f"vocabulary: {preview(found['vocabulary'], 120) if found['unit'] == 'char' else 'all 256 bytes'}",
        f"ids: {found['preview'][: len(ids)]!r} -> {' '.join(map(str, ids))}",
    ]
    if plan is None:
        lines.append("plan: too short to train on with the default recipe")
    else:
        lines.append(
            f"plan: a model of {plan['parameters']:,} parameters, about {plan['minutes']:.2g} minutes; "
            f"{plan['steps_per_epoch']:,} steps are one pass over the {plan['training_characters']:,} characters "
            "to train on"
        )
    return "\n".join(lines) + "\n\n" + f"{found['preview'].rstrip()}\n"
