"""``charloom export``: a model in another form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charloom.cli.console import json_option, print_json, quiet_option, say

if TYPE_CHECKING:
    from charloom.model.model_file import SavedModel


def _stored_as(form: str) -> Callable[[Path, SavedModel], list[Path]]:
    def write(target: Path, saved: SavedModel) -> list[Path]:
        from charloom.model.model_file import save_model

        save_model(target, replace(saved, stored_as=form))
        return [target]

    return write


def _keras(target: Path, saved: SavedModel) -> list[Path]:
    from charloom.interop.keras_export import write_keras

    return write_keras(target, saved)


def _onnx(target: Path, saved: SavedModel) -> list[Path]:
    from charloom.interop.onnx_export import write_onnx

    return write_onnx(target, saved)


_WRITERS = {"float16": _stored_as("float16"), "int8": _stored_as("int8"), "keras": _keras, "onnx": _onnx}


@click.command("export")
@click.argument("model")
@click.option("--to", "form", required=True, type=click.Choice(list(_WRITERS)), help="What to write.")
@click.option("-o", "--output", required=True, type=str, help="The file to write, which must not exist.")
@json_option
@quiet_option
def command(model: str, form: str, output: str, as_json: bool, quiet: bool) -> None:
    """Write a model in another form.

    float16 and int8 are model files of a half and a quarter of the size. With int8 `charloom generate` writes the
    same texts as before, because it computes with int8 anyway. keras is a .keras file, which Keras 3 opens and goes on
    training. onnx is a graph of one step, and a second file with one of a whole window.

    \b
    charloom export runs/my_book --to int8 -o my_book.safetensors
    charloom export runs/my_book --to keras -o my_book.keras
    charloom export runs/my_book --to onnx -o my_book.onnx
    """
    from charloom.model.model_file import load_model
    from charloom.model.run_folder import check_new_file, find_model

    source, target = find_model(model), Path(output)
    check_new_file(target)
    saved = load_model(source)
    written = _WRITERS[form](target, saved)
    before = f"{saved.stored_as} took {source.stat().st_size:,}"
    for file in written:
        say(f"{file}: {form}, {file.stat().st_size:,} bytes ({before})", quiet)
    if as_json:
        print_json(
            {
                "file": str(target),
                "form": form,
                "file_bytes": target.stat().st_size,
                "files": [str(file) for file in written],
            }
        )
