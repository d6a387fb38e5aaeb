"""``charloom export``: write a model in another format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from charloom.cli.commands.export_page import FORM, PageOptions, page_options, write_models
from charloom.interop.keras.exporter import write_keras
from charloom.interop.onnx.exporter import write_onnx
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.file.run_folder import check_new_file, find_model
from charloom.terminal.messages import json_option, print_json, quiet_option, say


def _stored_as(form: str) -> Callable[[Path, SavedModel], list[Path]]:
    def write(target: Path, saved: SavedModel) -> list[Path]:
        save_model(target, replace(saved, stored_as=form))
        return [target]

    return write


def _keras(target: Path, saved: SavedModel) -> list[Path]:
    return write_keras(target, saved)


def _onnx(target: Path, saved: SavedModel) -> list[Path]:
    return write_onnx(target, saved)


_WRITERS = {"float16": _stored_as("float16"), "int8": _stored_as("int8"), "keras": _keras, "onnx": _onnx}


@click.command("export")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--to", "form", required=True, type=click.Choice([*_WRITERS, FORM]), help="What to write.")
@click.option("-o", "--output", required=True, type=str, help="The file to write, which must not exist.")
@page_options
@json_option
@quiet_option
def command(
    models: tuple[str, ...],
    form: str,
    output: str,
    title: str | None,
    prompts: tuple[str, ...],
    samples: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a model in another form.

    float16 and int8 are model files of a half and a quarter of the size. With int8 `charloom generate` writes the
    same texts as before, because it computes with int8 anyway. keras is a .keras file, which Keras 3 opens and goes on
    training. onnx is a graph of one step, and a second file with one of a whole window. html is one page that writes in
    anybody's browser, without a network; of several models it is a gallery.

    \b
    charloom export runs/my_book --to int8 -o my_book.safetensors
    charloom export runs/my_book --to keras -o my_book.keras
    charloom export runs/my_book --to onnx -o my_book.onnx
    charloom export runs/my_book --to html -o my_book.html --prompt "Once "
    """
    options, target = PageOptions(title, prompts, samples), Path(output)
    options.check(form, models)
    sources = [find_model(model) for model in models]
    check_new_file(target)
    loaded = [load_model(source) for source in sources]
    written = write_models(target, loaded, options, quiet) if form == FORM else _WRITERS[form](target, loaded[0])
    before = ", ".join(f"{m.stored_as} took {s.stat().st_size:,}" for m, s in zip(loaded, sources, strict=True))
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
