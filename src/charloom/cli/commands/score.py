"""``charloom score``: measure how well a model predicts a text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isfinite
from typing import Any

import click

from charloom.cli.text_options import decoding_options
from charloom.data.reading.reader import text_pieces
from charloom.data.text_format import TextFormat
from charloom.errors import InputError
from charloom.inference.generation_options import PRECISIONS
from charloom.inference.model import Model
from charloom.inference.scoring import Score, Tally
from charloom.terminal.messages import (
    escape_for_stdout,
    is_terminal,
    json_option,
    json_text,
    print_json,
    print_notices,
    print_text,
    quiet_option,
    require_stdout,
)

_PASSAGES = 5  # most surprising passages to print
_LINES = 4096  # lines that are scored as one batch
_SHADES = (238, 94, 130, 166, 202, 196)  # of the 256-color palette, for a surprisal of 2, 3, 4 ... bits


@click.command("score")
@click.argument("model")
@click.argument("text")
@click.option("--per-char", is_flag=True, help="Print the surprisal of each character, in bits.")
@click.option("--per-line", is_flag=True, help="Score each line as a separate text.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of the computation. auto is float32; int8 is faster.",
)
@decoding_options
@json_option
@quiet_option
def command(
    model: str,
    text: str,
    per_char: bool,
    per_line: bool,
    precision: str,
    text_format: TextFormat,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure how well a model predicts a text: bits per character, nats per character and perplexity.

    TEXT is a file, a folder, a glob, - for standard input, or a named corpus, of any size. Each character except the
    first is scored given all preceding characters. On a terminal, --per-char colors the text by surprisal.

    \b
    charloom score shakespeare some_text.txt
    charloom score runs/names names.txt --per-line | sort -n
    """
    from charloom.terminal.progress_bar import progress_bar

    if per_char and per_line:
        raise InputError(
            "--per-char and --per-line cannot be combined.",
            code="conflicting_options",
            options=["--per-char", "--per-line"],
        )
    require_stdout()
    loaded = Model.load(model)
    notices: list[str] = []
    with progress_bar("Scoring", quiet, in_bytes=True) as report:
        pieces = text_pieces([text], text_format, notices, report, errors=loaded.reading_errors)
        if per_line:
            _print_lines(loaded, pieces, precision, as_json)
        else:
            _print_score(loaded, pieces, precision, per_char, as_json)
    print_notices(notices, quiet)


def _print_score(model: Model, pieces: Iterable[str], precision: str, per_char: bool, as_json: bool) -> None:
    tally, surprisals = Tally(_PASSAGES), []
    if per_char and not as_json and _use_color():
        pieces = _print_first_character(pieces)
    for characters, bits in model.surprisal_blocks(pieces, precision):
        tally.add(characters, bits)
        if per_char and as_json:
            surprisals += bits.round(4).tolist()
        elif per_char:
            print_text("".join(_colored(characters, bits) if _use_color() else _rows(characters, bits)))
    result = figures(tally)
    if as_json:
        passages = [{"start": p.start, "text": p.text, "bits_per_char": p.bits_per_char} for p in tally.passages]
        print_json(result | {"passages": passages} | ({"surprisals": surprisals} if per_char else {}))
    elif not per_char:
        print_text("".join(_summary(tally)))
    elif _use_color():
        print_text("\n")


def _print_first_character(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a text, and print its first character, which has no surprisal, without color."""
    is_first = True
    for piece in pieces:
        if piece and is_first:
            print_text("".join(_colored(piece[0], [0.0])))
            is_first = False
        yield piece


def _summary(tally: Tally) -> Iterator[str]:
    yield f"{tally.characters:,} characters scored: {tally.total_nats:.2f} nats in total\n"
    yield (
        f"{tally.nats_per_char:.4f} nats = {tally.bits_per_char:.4f} bits per character, "
        f"perplexity {tally.perplexity:.3f}\n"
    )
    if tally.passages:
        yield "\nMost surprising passages, with their bits per character:\n"
    for passage in tally.passages:
        yield f"{passage.bits_per_char:6.2f}  at {passage.start:<10,} {json_text(passage.text)}\n"


def _rows(characters: str, bits: Iterable[float]) -> Iterator[str]:
    return (f"{surprisal:.3f}\t{character!r}\n" for surprisal, character in zip(bits, characters, strict=True))


def _colored(characters: str, bits: Iterable[float]) -> Iterator[str]:
    """Yield characters with a background color for their surprisal. A grapheme cluster gets its maximum surprisal."""
    from wcwidth import iter_graphemes

    surprisals = iter(bits)
    for cluster in iter_graphemes(characters):
        shade = min(int(max(islice(surprisals, len(cluster)))) - 2, len(_SHADES) - 1)
        if shade < 0:
            yield escape_for_stdout(cluster)
        elif cluster.endswith("\n"):
            yield f"\x1b[48;5;{_SHADES[shade]}m \x1b[0m\n"
        else:
            yield f"\x1b[48;5;{_SHADES[shade]}m{escape_for_stdout(cluster)}\x1b[0m"


def _use_color() -> bool:
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")


def _print_lines(model: Model, pieces: Iterable[str], precision: str, as_json: bool) -> None:
    """Print the score of each line. A line with fewer than 2 characters has no score."""
    lines, rows = _lines(pieces), []
    while batch := list(islice(lines, _LINES)):
        for line, score in zip(batch, model.score_many(batch, precision=precision), strict=True):
            result = figures(score) if score.characters else {"bits_per_char": None}
            if as_json:
                rows.append({"text": line, **result})
            else:
                bits = result["bits_per_char"]
                print_text(escape_for_stdout(f"{'-' if bits is None else format(bits, '.4f')}\t{line}\n"))
    if as_json:
        print_json({"lines": rows})


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text without their line endings. A final newline does not start another line."""
    unfinished: list[str] = []  # pieces of the current line
    for piece in pieces:
        first, *rest = piece.split("\n")
        unfinished.append(first)
        if rest:
            yield "".join(unfinished).removesuffix("\r")
            yield from (line.removesuffix("\r") for line in rest[:-1])
            unfinished = [rest[-1]]
    if any(unfinished):
        yield "".join(unfinished)


def figures(score: Score | Tally) -> dict[str, Any]:
    """Return the metrics of a score under their keys in ``--json``."""
    return {
        "characters": score.characters,
        "total_nats": score.total_nats,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if isfinite(score.perplexity) else None,
    }
