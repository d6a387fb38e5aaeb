"""``charloom export``: export a model to another format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from charloom.errors import InputError, Notice
from charloom.inference.generation import impossible_stops
from charloom.inference.generation_options import DEFAULT_TEMPERATURE, Ending
from charloom.interop.keras.exporter import write_keras
from charloom.interop.onnx.exporter import write_onnx
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.file.run_folder import check_new_file, find_model
from charloom.terminal.messages import json_option, print_json, print_message, print_notices, quiet_option, unescape
from charloom.web.page_presets import PagePresets
from charloom.web.single_page import write_page

DEFAULT_SAMPLES = 3
"""Number of samples per model on an HTML page."""


@dataclass(frozen=True)
class _PageOptions:
    """The command-line options of ``--to html``.

    Attributes:
        title: ``--title``, or None.
        prompts: All ``--prompt`` options, in order.
        samples: ``--samples``, or None.
        stop: All ``--stop`` options.
        temperature: ``--temperature``, or None.
        versions: ``--versions``, or None.
    """

    title: str | None
    prompts: tuple[str, ...]
    samples: int | None
    stop: tuple[str, ...]
    temperature: float | None
    versions: int | None

    def check(self, form: str, models: Sequence[str]) -> None:
        """Check that the options apply to the output format.

        Args:
            form: The output format: ``--to``.
            models: The models to export.

        Raises:
            InputError: If the format is not html and several models or options of html were given, or a page would get
                several stop sequences.
        """
        if form == "html":
            if len(self.stop) > 1:
                raise InputError(
                    f"A page has one stop sequence, got --stop {len(self.stop)} times. Pass it once.",
                    code="too_many_stops",
                    count=len(self.stop),
                    maximum=1,
                )
            return
        if len(models) > 1:
            raise InputError(
                f"--to {form} accepts one model, got {len(models)}: {', '.join(models)}. "
                "Only --to html accepts several models.",
                code="too_many_models",
                format=form,
                models=list(models),
            )
        values = {
            "--title": self.title,
            "--prompt": self.prompts or None,
            "--samples": self.samples,
            "--stop": self.stop or None,
            "--temperature": self.temperature,
            "--versions": self.versions,
        }
        for option, value in values.items():
            if value is not None:
                raise InputError(
                    f"{option} requires --to html, got --to {form}.",
                    code="missing_option",
                    option="--to html",
                    required_by=option,
                )

    def presets(self) -> PagePresets:
        """Return the presets of the page's settings.

        Raises:
            SettingsError: If a value is out of range.
        """
        return PagePresets(
            temperature=DEFAULT_TEMPERATURE if self.temperature is None else self.temperature,
            stop=unescape(self.stop[0]) if self.stop else None,
            versions=1 if self.versions is None else self.versions,
        )


def _write_page(target: Path, saved_models: Sequence[SavedModel], options: _PageOptions, quiet: bool) -> list[Path]:
    """Write the page, and print notices if weights are converted to int8 or a model never writes the stop sequence."""
    presets = options.presets()
    if any(saved.stored_as != "int8" for saved in saved_models):
        notice = Notice(
            "The page stores the weights as int8. Generated texts stay the same, because generation uses int8 anyway.",
            code="converted_to_int8",
        )
        print_notices([notice], quiet)
    if presets.stop:
        for saved in saved_models:
            print_notices(impossible_stops(Ending((presets.stop,)), saved.vocabulary, saved.rules), quiet)
    return write_page(
        target,
        saved_models,
        title=options.title,
        prompts=[unescape(prompt) for prompt in options.prompts],
        samples=DEFAULT_SAMPLES if options.samples is None else options.samples,
        presets=presets,
    )


def _stored_as(form: str) -> Callable[[Path, SavedModel], list[Path]]:
    def write(target: Path, saved: SavedModel) -> list[Path]:
        save_model(target, replace(saved, stored_as=form))
        return [target]

    return write


_WRITERS = {"float16": _stored_as("float16"), "int8": _stored_as("int8"), "keras": write_keras}


@click.command("export")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--to", "form", required=True, type=click.Choice([*_WRITERS, "onnx", "html"]), help="Output format.")
@click.option("-o", "--output", required=True, type=str, help="File to write.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--title", help="html: page title.  [default: the models' names]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="html: prompt at the start of the page and of its samples (\\n is a line feed). Repeatable.",
)
@click.option("--samples", type=int, help=f"html: number of samples per model.  [default: {DEFAULT_SAMPLES}]")
@click.option("--stop", metavar="TEXT", multiple=True, help="html: preset stop sequence (\\n is a line feed).")
@click.option(
    "--temperature", type=float, help=f"html: preset temperature, from 0 to 2.  [default: {DEFAULT_TEMPERATURE}]"
)
@click.option("--versions", type=int, help="html: preset number of continuations to choose from, 1 to 4.  [default: 1]")
@json_option
@quiet_option
def command(
    models: tuple[str, ...],
    form: str,
    output: str,
    title: str | None,
    prompts: tuple[str, ...],
    samples: int | None,
    stop: tuple[str, ...],
    temperature: float | None,
    versions: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export a model to another format.

    \b
    float16  model file of half the size
    int8     model file of a quarter of the size; generates the same texts
    keras    .keras file, which Keras 3 can load and train further
    onnx     two ONNX files: a graph for one character, and NAME.window.onnx for many at once
    html     self-contained page that generates offline; several models form a gallery

    \b
    charloom export runs/my_book --to int8 -o my_book.safetensors
    charloom export runs/my_book --to keras -o my_book.keras
    charloom export runs/my_book --to onnx -o my_book.onnx
    charloom export runs/my_book --to html -o my_book.html --prompt "Once "
    """
    options, target = _PageOptions(title, prompts, samples, stop, temperature, versions), Path(output)
    options.check(form, models)
    sources = [find_model(model) for model in models]
    check_new_file(target, force)
    loaded = [load_model(source) for source in sources]
    if form == "html":
        written = _write_page(target, loaded, options, quiet)
    elif form == "onnx":
        written = write_onnx(target, loaded[0], force=force)
    else:
        written = _WRITERS[form](target, loaded[0])
    original = ", ".join(f"{m.stored_as}, {s.stat().st_size:,} bytes" for m, s in zip(loaded, sources, strict=True))
    for file in written:
        print_message(f"{file}: {form}, {file.stat().st_size:,} bytes (original: {original})", quiet)
    if as_json:
        print_json(
            {
                "file": str(target),
                "form": form,
                "file_bytes": target.stat().st_size,
                "files": [str(file) for file in written],
            }
        )
