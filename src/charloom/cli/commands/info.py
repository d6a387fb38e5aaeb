"""``charloom info``: show the facts about models, or compare several."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from charloom.data.vocabulary.characters import preview
from charloom.inference.model_summary import describe_rules
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import find_model, run_evaluations
from charloom.model.file.schema import bits_per_char
from charloom.terminal.messages import json_option, print_json, print_text, quiet_option

_ROWS = (  # rows of the table that compares several models
    "cell",
    "num_layers",
    "hidden_size",
    "embedding_size",
    "parameters",
    "vocabulary_size",
    "corpus",
    "corpus_characters",
    "recipe",
    "step",
    "epoch",
    "train_loss",
    "val_loss",
    "best_val_loss",
    "bits_per_char",
    "seconds",
    "chars_per_second",
    "imported_from",
    "stored_as",
    "file_bytes",
)

_RULES = ("records", "labels", "newlines", "normalize")  # printed if they differ from their defaults

_DECIMALS = {"epoch": 2, "seconds": 0, "chars_per_second": 0}


@click.command("info")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@json_option
@quiet_option
def command(models: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show a model's layers, parameters, vocabulary, losses and provenance.

    Several models are compared in a table.
    """
    facts = [describe_model(model) for model in models]
    if as_json:
        print_json(facts[0] if len(facts) == 1 else {"models": facts})
    elif len(facts) == 1:
        print_text(_format_model(facts[0]))
    else:
        print_text(_format_table(facts))


def describe_model(model: str) -> dict[str, Any]:
    """Return the facts about a model under their keys in ``--json``."""
    path = find_model(model)
    saved = load_model(path)
    facts = dict(saved.facts)
    return {
        "model": model,
        "architecture": saved.architecture.to_dict(),
        "parameters": saved.architecture.num_parameters,
        "layers": _layers(saved.architecture),
        "vocabulary_size": len(saved.vocabulary),
        "vocabulary": saved.vocabulary.characters,
        "unit": saved.vocabulary.unit,
        "lines": saved.rules.lines,
        **{name: value for name, value in saved.rules.to_dict().items() if name in _RULES},
        "bits_per_char": bits_per_char(facts),
        "stored_as": saved.stored_as,
        "file_bytes": Path(path).stat().st_size,
        **{key: facts.get(key) for key in _FACTS},
        **_training_speed(path),
    }


def _training_speed(path: Path) -> dict[str, Any]:
    """Return the training time and speed from the last evaluation in the run folder; empty outside a run folder."""
    evaluations = run_evaluations(path)
    return {key: evaluations[-1].get(key) for key in ("seconds", "chars_per_second")} if evaluations else {}


_FACTS = (
    "corpus",
    "corpus_sha256",
    "corpus_characters",
    "recipe",
    "step",
    "epoch",
    "train_loss",
    "val_loss",
    "best_val_loss",
    "imported_from",
    "charloom_version",
)


def _layers(architecture: Architecture) -> list[dict[str, Any]]:
    return [asdict(layer) for layer in architecture.summary()]


def _format_model(facts: dict[str, Any]) -> str:
    lines = [f"{'layer':<12} {'kind':<10} {'output':<16} {'parameters':>12}"]
    lines += [
        f"{row['name']:<12} {row['kind']:<10} {row['output_shape']:<16} {row['parameters']:>12,}"
        for row in facts["layers"]
    ]
    lines += [f"{'total':<12} {'':<10} {'':<16} {facts['parameters']:>12,}", ""]
    vocabulary = f"{facts['vocabulary_size']:,} characters: {preview(facts['vocabulary'])}"
    lines.append(f"{'vocabulary':<18} {vocabulary if facts['unit'] == 'char' else 'all 256 bytes'}")
    if facts["lines"]:
        lines.append(f"{'lines':<18} each line is an independent text")
    lines += [f"{key:<18} {value}" for key, value in describe_rules(facts)]
    rows = {key: facts.get(key) for key in _ROWS[6:] if key != "vocabulary_size"}
    lines += [f"{key:<18} {_cell(key, value)}" for key, value in rows.items() if value is not None]
    return "\n".join(lines) + "\n"


def _format_table(models: list[dict[str, Any]]) -> str:
    columns = [["", *_ROWS]]
    for model in models:
        values = {**model["architecture"], **model}
        columns.append([model["model"], *(_cell(key, values.get(key)) for key in _ROWS)])
    widths = [max(len(value) for value in column) for column in columns]
    rows = zip(*columns, strict=True)
    return "".join("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _cell(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and key in _DECIMALS:
        return f"{value:,.{_DECIMALS[key]}f}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
