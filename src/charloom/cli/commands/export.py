"""``charloom export``: write a model in another format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from charloom.errors import InputError
from charloom.interop.keras.exporter import write_keras
from charloom.interop.onnx.exporter import write_onnx
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.file.run_folder import check_new_file, find_model
from charloom.terminal.messages import json_option, print_json, quiet_option, say, unescaped
from charloom.web.single_page import write_page

DEFAULT_SAMPLES = 3
"""Samples of each model in a page."""


@dataclass(frozen=True)
class _PageOptions:
    """The command-line options of the page.

    Attributes:
        title: ``--title``, or None.
        prompts: ``--prompt``, in their order.
        samples: ``--samples``, or None.
    """

    title: str | None
    prompts: tuple[str, ...]
    samples: int | None

    def check(self, form: str, models: Sequence[str]) -> None:
        """Raise ``InputError`` if the form is not html, but several models or options of the page are given."""
        if form == "html":
            return
        if len(models) > 1:
            raise InputError(
                f"{form} takes one model; got {len(models)}: {', '.join(models)}. Only html takes several."
            )
        values = {"--title": self.title, "--prompt": self.prompts or None, "--samples": self.samples}
        for option, value in values.items():
            if value is not None:
                raise InputError(f"{option} is of html alone; got --to {form}. Leave it out, or write html.")


def _write_page(target: Path, saved_models: Sequence[SavedModel], options: _PageOptions, quiet: bool) -> list[Path]:
    """Write the page; print a note if weights are converted to int8."""
    if any(saved.stored_as != "int8" for saved in saved_models):
        say("note: the page holds the weights as int8, with which charloom generate computes anyway", quiet)
    return write_page(
        target,
        saved_models,
        title=options.title,
        prompts=[unescaped(prompt) for prompt in options.prompts],
        samples=DEFAULT_SAMPLES if options.samples is None else options.samples,
    )


def _stored_as(form: str) -> Callable[[Path, SavedModel], list[Path]]:
    def write(target: Path, saved: SavedModel) -> list[Path]:
        save_model(target, replace(saved, stored_as=form))
        return [target]

    return write


_WRITERS = {"float16": _stored_as("float16"), "int8": _stored_as("int8"), "keras": write_keras, "onnx": write_onnx}


@click.command("export")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--to", "form", required=True, type=click.Choice([*_WRITERS, "html"]), help="What to write.")
@click.option("-o", "--output", required=True, type=str, help="The file to write, which must not exist.")
@click.option("--title", help="html: the page's title.  [default: the models' names]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="html: what texts begin with, \\n being a line feed; may be given again.",
)
@click.option("--samples", type=int, help=f"html: texts of each model in the page.  [default: {DEFAULT_SAMPLES}]")
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
    options, target = _PageOptions(title, prompts, samples), Path(output)
    options.check(form, models)
    sources = [find_model(model) for model in models]
    check_new_file(target)
    loaded = [load_model(source) for source in sources]
    written = _write_page(target, loaded, options, quiet) if form == "html" else _WRITERS[form](target, loaded[0])
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
