"""``charloom report``: create an HTML report on what a model has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from charloom.cli.text_options import decoding_options, read_corpus, with_model_rules
from charloom.data.corpus import Corpus
from charloom.data.text_format import FILE, TextFormat
from charloom.data.vocabulary.unknown import UNKNOWN, UnknownCharacters, known_pieces
from charloom.errors import CorpusError, InputError, Notice
from charloom.inference.memorization import LONG
from charloom.model.file.model_file import SavedModel
from charloom.report.build import MAX_CHARACTERS, build_report, default_text
from charloom.report.provenance import Provenance, find_provenance
from charloom.terminal.messages import (
    format_percent,
    json_option,
    print_json,
    print_message,
    print_notices,
    print_text,
    quiet_option,
)
from charloom.web.report_page import report_page

_ADVICE = "To analyze the text anyway, pass --unknown skip or --unknown replace. "
_MARK = '<meta name="generator" content="charloom">'  # identifies a report, which may be overwritten


@click.command("report")
@click.argument("model", metavar="MODEL|RUN")
@click.argument("text", required=False)
@click.option("-o", "--output", default="report.html", show_default=True, help="HTML file to write.")
@click.option("--figures", metavar="DIR", help="Also save the figures to this folder, as PNG and SVG.")
@click.option(
    "--unknown",
    type=click.Choice(UNKNOWN),
    default="error",
    show_default=True,
    help="How to handle characters of TEXT that are not in the model's vocabulary.",
)
@decoding_options
@json_option
@quiet_option
def command(
    model: str,
    text: str | None,
    output: str,
    figures: str | None,
    unknown: str,
    text_format: TextFormat,
    as_json: bool,
    quiet: bool,
) -> None:
    """Create an HTML report on what a model has learned.

    The report shows learning curves, surprisal, top-k predictions, neurons, gates and memorization for TEXT: a file, a
    folder, a glob, - for standard input, or a named corpus. By default it uses the beginning of the model's held-out
    text. The page is self-contained and works offline.

    \b
    charloom report runs/my_book
    charloom report shakespeare some_text.txt -o some_text.html
    """
    target = _target(output)
    provenance = find_provenance(model)
    analyzed_text, caption = _text(provenance, text, unknown, text_format, quiet)
    with _progress_bars(quiet) as start_step:
        data, reading = build_report(provenance, analyzed_text, caption, start_step)
    target.write_text(report_page(data), encoding="utf-8")
    if figures is not None:
        from charloom.report.figures import draw

        draw(data, reading, Path(figures))
    print_message(f"{target}: {target.stat().st_size:,} bytes", quiet)
    summary = _summary(data)
    if as_json:
        print_json({"file": str(target), **summary})
    else:
        print_text("".join(_lines(summary)))


def _target(output: str) -> Path:
    """Return the path of the report. An existing file is only overwritten if it is a report."""
    target = Path(output)
    if target.is_dir():
        raise InputError(
            f"{target} is a folder. Pass a file with -o, such as {target / 'report.html'}.",
            code="path_is_folder",
            path=str(target),
        )
    if not target.parent.is_dir():
        raise InputError(
            f"The folder {target.parent} does not exist. Create it, or choose another file with -o.",
            code="folder_not_found",
            path=str(target.parent),
        )
    if target.exists() and _MARK.encode() not in target.read_bytes()[:1000]:
        raise InputError(
            f"{target} already exists and is not a charloom report. Choose another file with -o.",
            code="file_exists",
            path=str(target),
        )
    return target


def _text(
    provenance: Provenance, source: str | None, unknown: str, text_format: TextFormat, quiet: bool
) -> tuple[str, str]:
    """Return the text to analyze, without unknown characters, and its caption on the page."""
    if source is not None:
        corpus = _read(source, with_model_rules(text_format, provenance.model.rules), quiet)
        if len(corpus) > MAX_CHARACTERS:
            notice = Notice(
                f"The report shows the first {MAX_CHARACTERS:,} of {len(corpus):,} characters.",
                code="text_truncated",
                characters=len(corpus),
                limit=MAX_CHARACTERS,
            )
            print_notices([notice], quiet)
        text = _known(provenance.model, corpus.head(MAX_CHARACTERS), unknown, quiet)
        if len(text) < 2:
            raise InputError(
                f"The text must have at least 2 characters, but {source} has {len(text)}.",
                code="text_too_short",
                characters=len(text),
                minimum=2,
            )
        return text, f"The first {len(text):,} characters of {corpus.name}."
    text, caption, note = default_text(provenance)
    if note:
        print_message(f"note: {note} Pass TEXT to analyze a different one.", quiet)
    return text, caption


def _known(model: SavedModel, text: str, unknown: str, quiet: bool) -> str:
    """Return a text without unknown characters, and print a notice about them.

    Raises:
        UnknownCharacterError: If ``unknown`` is "error" and the text contains one.
    """
    found = UnknownCharacters(model.vocabulary, has_lines=model.rules.records is None)
    known = "".join(known_pieces([text], found, unknown, _ADVICE))
    if found.first:
        print_notices([found.notice(unknown)], quiet)
    return known


def _read(source: str, text_format: TextFormat, quiet: bool) -> Corpus:
    """Read a text as the model's training text was read; a text without a record separator is one record."""
    try:
        return read_corpus([source], text_format, quiet)
    except CorpusError as error:
        if error.code != "no_record_separator":
            raise
        return read_corpus([source], replace(text_format, records=FILE), quiet)


@contextmanager
def _progress_bars(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield a function that starts a labelled progress bar in place of the previous one."""
    from charloom.terminal.progress_bar import progress_bar

    with ExitStack() as stack:

        def start_step(label: str) -> Callable[[int, int], None]:
            stack.pop_all().close()
            return stack.enter_context(progress_bar(label, quiet))

        yield start_step


_COPIES = ("copied", "longest", "segments", "copied_segments")


def _summary(data: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a report under its keys in ``--json``."""
    neurons = data["neurons"]["list"]
    return {
        "characters": len(data["text"]["text"]) - 1,
        "bits_per_char": data["text"]["bits_per_char"],
        "neurons": [
            {
                "follows": match["feature"],
                "layer": neurons[match["neuron"]][0],
                "part": neurons[match["neuron"]][1],
                "index": neurons[match["neuron"]][2],
                "correlation": match["correlation"],
                "by_chance": match["by_chance"],
            }
            for match in data["neurons"]["named"]
            if match["is_clear"]
        ],
        "copies": [
            {"temperature": text["temperature"], **{key: text["novelty"][key] for key in _COPIES}}
            for text in data["written"]
            if text["novelty"]
        ],
    }


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    yield f"{summary['characters']:,} characters analyzed: {summary['bits_per_char']:.4f} bits per character\n"
    for neuron in summary["neurons"]:
        position = f"layer {neuron['layer'] + 1}, {neuron['part']} {neuron['index']}"
        correlation = f"r = {neuron['correlation']:+.2f}  (random mixtures: {neuron['by_chance']:.2f})"
        yield f"{neuron['follows']:<26} {position:<26} {correlation}\n"
    for text in summary["copies"]:
        yield (
            f"temperature {text['temperature']}: {format_percent(text['copied'])} copied from the training text in "
            f"passages of more than {LONG} characters (longest: {text['longest']}){_whole_lines(text)}\n"
        )


def _whole_lines(text: dict[str, Any]) -> str:
    if not text["segments"]:
        return ""
    return f", {text['copied_segments']:,} of {text['segments']:,} lines or sentences as a whole"
