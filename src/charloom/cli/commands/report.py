"""``charloom report``: write a page that shows what a model learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from charloom.cli.text_options import decoding_options, read_corpus
from charloom.data.text_format import TextFormat
from charloom.errors import InputError
from charloom.inference.memorization import LONG
from charloom.report.build import MAX_CHARACTERS, build_report, default_text
from charloom.report.provenance import Provenance, find_provenance
from charloom.terminal.messages import json_option, percent, print_json, print_text, quiet_option, say
from charloom.web.report_page import report_page

_MARK = '<meta name="generator" content="charloom">'


@click.command("report")
@click.argument("model", metavar="MODEL|RUN")
@click.argument("text", required=False)
@click.option("-o", "--output", default="report.html", show_default=True, help="The page to write.")
@click.option("--figures", metavar="DIR", help="Also write the pictures, as PNG and SVG, into this folder.")
@decoding_options
@json_option
@quiet_option
def command(
    model: str, text: str | None, output: str, figures: str | None, text_format: TextFormat, as_json: bool, quiet: bool
) -> None:
    """Show what a model learned: curves, surprisal, guesses, neurons, gates, copies, in one page.

    TEXT is what the model reads on the page: a file, a folder, a glob, - for standard input, or a named corpus. Without
    one it is the beginning of the text that was held out when it was trained. The page needs no network.

    \b
    charloom report runs/my_book
    charloom report shakespeare some_text.txt -o some_text.html
    """
    target = _target(output)
    provenance = find_provenance(model)
    shown, about = _text(provenance, text, text_format, quiet)
    with _steps(quiet) as step:
        data, reading = build_report(provenance, shown, about, step)
    target.write_text(report_page(data), encoding="utf-8")
    if figures is not None:
        from charloom.report.figures import draw

        draw(data, reading, Path(figures))
    say(f"{target}: {target.stat().st_size:,} bytes", quiet)
    summary = _summary(data)
    if as_json:
        print_json({"file": str(target), **summary})
    else:
        print_text("".join(_lines(summary)))


def _target(output: str) -> Path:
    """Return the page's path; only an older report is written over."""
    target = Path(output)
    if target.is_dir():
        raise InputError(f"{target} is a folder. Name a file with -o, such as {target / 'report.html'}.")
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} to. Make it first.")
    if target.exists() and _MARK.encode() not in target.read_bytes()[:1000]:
        raise InputError(f"{target} exists already, and is no report of charloom. Name another file with -o.")
    return target


def _text(provenance: Provenance, named: str | None, text_format: TextFormat, quiet: bool) -> tuple[str, str]:
    """Return what the model reads, and what that is."""
    if named is not None:
        corpus = read_corpus([named], text_format, quiet)
        if len(corpus) > MAX_CHARACTERS:
            say(f"note: the page shows the first {MAX_CHARACTERS:,} of {len(corpus):,} characters.", quiet)
        if len(corpus) < 2:
            raise InputError(f"A text to read needs at least 2 characters; {named} has {len(corpus)}.")
        shown = corpus.head(MAX_CHARACTERS)
        return shown, f"This is {corpus.name}, {len(shown):,} characters of it."
    shown, about, note = default_text(provenance)
    if note:
        say(f"note: {note} Name another as TEXT.", quiet)
    return shown, about


@contextmanager
def _steps(quiet: bool) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show one bar after the other."""
    from charloom.terminal.progress_bar import progress_bar

    with ExitStack() as stack:

        def step(label: str) -> Callable[[int, int], None]:
            stack.pop_all().close()
            return stack.enter_context(progress_bar(label, quiet))

        yield step


def _summary(data: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a report: keys of ``--json``."""
    listed = data["neurons"]["list"]
    return {
        "characters": len(data["text"]["text"]) - 1,
        "bits_per_char": data["text"]["bits_per_char"],
        "neurons": [
            {
                "follows": one["feature"],
                "layer": listed[one["neuron"]][0],
                "part": listed[one["neuron"]][1],
                "index": listed[one["neuron"]][2],
                "correlation": one["correlation"],
                "by_chance": one["by_chance"],
            }
            for one in data["neurons"]["named"]
            if one["is_clear"]
        ],
        "copies": [
            {"temperature": one["temperature"], **{key: one["novelty"][key] for key in ("copied", "longest")}}
            for one in data["written"]
            if one["novelty"]
        ],
    }


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    yield f"{summary['characters']:,} characters read: {summary['bits_per_char']:.4f} bits per character\n"
    for one in summary["neurons"]:
        where = f"layer {one['layer'] + 1}, {one['part']} {one['index']}"
        how_well = f"r = {one['correlation']:+.2f}  (random mixtures {one['by_chance']:.2f})"
        yield f"{one['follows']:<26} {where:<26} {how_well}\n"
    for one in summary["copies"]:
        yield (
            f"written at temperature {one['temperature']}: {percent(one['copied'])} in copies of more than {LONG} "
            f"characters, the longest {one['longest']}\n"
        )
