"""``charloom corpus``: inspect a text corpus before training."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from charloom.cli.text_options import read_corpus, text_options
from charloom.data.corpus import Corpus
from charloom.data.splits import TextRecords
from charloom.data.text_format import TextFormat
from charloom.data.vocabulary.characters import preview
from charloom.planning.heuristics import Task, adapt_settings
from charloom.planning.recipes import RECIPES
from charloom.planning.schedule import steps_per_epoch
from charloom.report.verdict import SHORT_TEXT, TEXT_LENGTH_ADVICE
from charloom.terminal.messages import (
    escape_for_stdout,
    format_duration,
    json_option,
    print_json,
    print_text,
    quiet_option,
)

_PREVIEW = 250  # characters, as in the TensorFlow tutorial
_LABELS = 10  # labels shown
_PREVIEW_IDS = 13  # "First Citizen" of Shakespeare


@click.command("corpus")
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
@text_options
@json_option
@quiet_option
def command(sources: tuple[str, ...], text_format: TextFormat, as_json: bool, quiet: bool) -> None:
    """Show the length, vocabulary and beginning of a corpus, and the plan for training on it.

    CORPUS is a text file, a folder, a glob, - for standard input, or a named corpus (shakespeare, python-docs).
    """
    facts = describe_corpus(read_corpus(sources, text_format, quiet))
    if as_json:
        print_json(facts)
    else:
        print_text(escape_for_stdout(_format_facts(facts)))


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return the facts about a corpus under their keys in ``--json``."""
    vocabulary, rules, head = corpus.vocabulary, corpus.rules, corpus.head(_PREVIEW)
    facts = {
        "name": corpus.name,
        "characters": len(corpus),
        "distinct": len(vocabulary),
        "sha256": corpus.sha256,
        "vocabulary": vocabulary.characters,
        "preview": rules.displayed(head),
        "preview_ids": vocabulary.encode(head[:_PREVIEW_IDS]).tolist(),
        "unit": vocabulary.unit,
        "lines": len(corpus.records[0].starts) if corpus.format.lines else None,
    }
    if corpus.format.is_records:
        facts |= _record_facts(corpus)
    recipe = RECIPES["auto"]
    part = corpus.parts(recipe.settings.val_fraction).training
    training, lengths = len(part), part.lengths if isinstance(part, TextRecords) else None
    if training <= recipe.settings.seq_length:
        return facts | {"plan": None}
    settings = recipe.settings if lengths is None else recipe.settings.with_values({"batching": "lines"})
    settings = adapt_settings(settings, Task(training, len(vocabulary), record_lengths=lengths))
    return facts | {
        "plan": {
            "recipe": recipe.name,
            "parameters": settings.architecture(len(vocabulary)).num_parameters,
            "training_characters": training,
            "steps_per_epoch": steps_per_epoch(settings, training, lengths),
            "minutes": settings.minutes,
            "measured": False,
        }
    }


def _record_facts(corpus: Corpus) -> dict[str, Any]:
    """Return the number of records, their lengths in characters, and the labels with their numbers of records."""
    lengths = np.sort(corpus.records[0].lengths)
    if not len(lengths):
        return {"records": 0, "record_lengths": None, "labels": {}}
    quantiles = {"shortest": 0.0, "median": 0.5, "longest": 1.0}
    positions = {name: lengths[int(share * (len(lengths) - 1))] for name, share in quantiles.items()}
    return {
        "records": len(lengths),
        "record_lengths": {name: int(length) for name, length in positions.items()},
        "labels": corpus.labels,
    }


def _format_facts(facts: dict[str, Any]) -> str:
    ids, plan = facts["preview_ids"], facts["plan"]
    in_lines = "" if facts["lines"] is None else f", {facts['lines']:,} lines (independent texts)"
    if "records" in facts:
        in_lines = f", {facts['records']:,} records (independent texts)"
    units = "characters" if facts["unit"] == "char" else "bytes"
    lines = [
        f"{facts['name']}: {facts['characters']:,} {units}, {facts['distinct']:,} distinct{in_lines}",
        f"vocabulary: {preview(facts['vocabulary'], 120) if facts['unit'] == 'char' else 'all 256 bytes'}",
        f"ids: {facts['preview'][: len(ids)]!r} -> {' '.join(map(str, ids))}",
    ]
    if facts.get("record_lengths"):
        sizes = facts["record_lengths"]
        lines.append(
            f"record lengths: {sizes['shortest']:,} to {sizes['longest']:,} characters, median {sizes['median']:,}"
        )
    if facts.get("labels"):
        shown = [f"{label} ({count:,})" for label, count in list(facts["labels"].items())[:_LABELS]]
        more = len(facts["labels"]) - len(shown)
        lines.append(f"labels: {', '.join(shown)}{f' and {more:,} more' if more else ''}")
    if plan is None:
        lines.append("training: not possible, the text is too short for the default recipe")
    elif plan["training_characters"] < SHORT_TEXT:
        lines.append(f"training: the text is too short; {TEXT_LENGTH_ADVICE}")
    else:
        lines.append(
            f"training: {plan['training_characters']:,} characters, the rest is held out; one pass takes "
            f"{plan['steps_per_epoch']:,} steps"
        )
        duration = format_duration(60 * plan["minutes"])
        lines.append(
            f"estimate for a laptop with two cores: {duration}, a model with {plan['parameters']:,} parameters; "
            "charloom train with --plan measures this machine"
        )
    return "\n".join(lines) + "\n\n" + f"{facts['preview'].rstrip()}\n"
