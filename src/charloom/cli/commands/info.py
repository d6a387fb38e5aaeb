"""``charloom info``: describe and compare models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from charloom.data.vocabulary.characters import preview
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import evaluations_beside, find_model
from charloom.model.file.schema import bits_per_char
from charloom.terminal.messages import json_option, print_json, print_text, quiet_option

_ROWS = (  # what is compared when several models stand side by side
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

_DECIMALS = {"epoch": 2, "seconds": 0, "chars_per_second": 0}


@click.command("info")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@json_option
@quiet_option
def command(models: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show what a model is: layers, parameters, vocabulary, losses, provenance. Several are put side by side."""
    found = [look(model) for model in models]
    if as_json:
        print_json(found[0] if len(found) == 1 else {"models": found})
    elif len(found) == 1:
        print_text(page_of(found[0]))
    else:
        print_text(_table(found))


def look(model: str) -> dict[str, Any]:
    """Return the facts of a model: the keys of ``--json``."""
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
        "lines": saved.lines,
        "bits_per_char": bits_per_char(facts),
        "stored_as": saved.stored_as,
        "file_bytes": Path(path).stat().st_size,
        **{key: facts.get(key) for key in _FACTS},
        **_how_it_was_trained(path),
    }


def _how_it_was_trained(path: Path) -> dict[str, Any]:
    """Return what a run folder tells besides its model, as the last evaluation had it."""
    evaluations = evaluations_beside(path)
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


def page_of(found: dict[str, Any]) -> str:
    """Return what ``look`` found as people read it."""
    lines = [f"{'layer':<12} {'kind':<10} {'output':<16} {'parameters':>12}"]
    lines += [
        f"{row['name']:<12} {row['kind']:<10} {row['output_shape']:<16} {row['parameters']:>12,}"
        for row in found["layers"]
    ]
    lines += [f"{'':<12} {'':<10} {'':<16} {found['parameters']:>12,}", ""]
    known = f"{found['vocabulary_size']:,} characters: {preview(found['vocabulary'])}"
    lines.append(f"{'vocabulary':<18} {known if found['unit'] == 'char' else 'all 256 bytes'}")
    if found["lines"]:
        lines.append(f"{'lines':<18} each is a text of its own")
    shown = {key: found.get(key) for key in _ROWS[6:] if key != "vocabulary_size"}
    lines += [f"{key:<18} {_cell(key, value)}" for key, value in shown.items() if value is not None]
    return "\n".join(lines) + "\n"


def _table(found: list[dict[str, Any]]) -> str:
    columns = [["", *_ROWS]]
    for model in found:
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
