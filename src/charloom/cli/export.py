"""``charloom export``: a model in another form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from charloom.cli.console import json_option, print_json, quiet_option, say
from charloom.errors import InputError

_FORMS = ("float16", "int8")


@click.command("export")
@click.argument("model")
@click.option("--to", "form", required=True, type=click.Choice(_FORMS), help="What to write.")
@click.option("-o", "--output", required=True, type=str, help="The file to write, which must not exist.")
@json_option
@quiet_option
def command(model: str, form: str, output: str, as_json: bool, quiet: bool) -> None:
    """Write a model in another form.

    float16 and int8 are model files of a half and a quarter of the size. With int8 `charloom generate` writes the
    same texts as before, because it computes with int8 anyway.

    \b
    charloom export runs/my_book --to int8 -o my_book.safetensors
    """
    from charloom.model.model_file import load_model, save_model
    from charloom.model.run_folder import find_model

    source, target = find_model(model), Path(output)
    if target.exists():
        raise InputError(f"{target} exists already. Name another file with -o, or remove it first.")
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} to. Make it first.")
    saved = load_model(source)
    save_model(target, replace(saved, stored_as=form))
    before, after = source.stat().st_size, target.stat().st_size
    say(f"{target}: {form}, {after:,} bytes ({saved.stored_as} took {before:,})", quiet)
    if as_json:
        print_json({"file": str(target), "stored_as": form, "file_bytes": after})
