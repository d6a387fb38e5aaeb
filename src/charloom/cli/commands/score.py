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
from charloom.terminal.messages import json_option, json_text, print_json, print_text, quiet_option, say_all, shown

_PASSAGES = 5
_LINES = 4096  # lines scored before any of them is printed
_SHADES = (238, 94, 130, 166, 202, 196)  # of a terminal's 256 colours, from 2 bits on


@click.command("score")
@click.argument("model")
@click.argument("text")
@click.option("--per-char", is_flag=True, help="Also the surprisal of every character but the first, in bits.")
@click.option("--per-line", is_flag=True, help="Score every line as a text of its own.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Whether to compute with float32 (auto: yes) or int8, which is faster.",
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
    """Measure how well a model predicts a text: nats and bits per character, and perplexity.

    TEXT is a file, a folder, a glob, - for standard input, or a named corpus, of any size. Every character but the
    first is scored, given all before it. On a terminal --per-char colours the text: the stronger, the more surprising.

    \b
    charloom score shakespeare some_text.txt
    charloom score runs/names names.txt --per-line | sort -n
    """
    from charloom.terminal.progress_bar import progress_bar

    if per_char and per_line:
        raise InputError("Give --per-char or --per-line, not both.")
    judge = Model.load(model)
    notices: list[str] = []
    with progress_bar("scoring", quiet, in_bytes=True) as report:
        pieces = text_pieces([text], text_format, notices, report, errors=judge.reading_errors)
        if per_line:
            _print_lines(judge, pieces, precision, as_json)
        else:
            _print_score(judge, pieces, precision, per_char, as_json)
    say_all(notices, quiet)


def _print_score(judge: Model, pieces: Iterable[str], precision: str, per_char: bool, as_json: bool) -> None:
    tally, surprisals = Tally(_PASSAGES), []
    if per_char and not as_json and _in_colour():
        pieces = _with_first_shown(pieces)
    for characters, bits in judge.surprisal_blocks(pieces, precision):
        tally.add(characters, bits)
        if per_char and as_json:
            surprisals += bits.round(4).tolist()
        elif per_char:
            print_text("".join(_coloured(characters, bits) if _in_colour() else _rows(characters, bits)))
    found = figures(tally)
    if as_json:
        passages = [{"start": p.start, "text": p.text, "bits_per_char": p.bits_per_char} for p in tally.passages]
        print_json(found | {"passages": passages} | ({"surprisals": surprisals} if per_char else {}))
    elif not per_char:
        print_text("".join(_page(tally)))
    elif _in_colour():
        print_text("\n")


def _with_first_shown(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a text; its first character, which is not scored, is printed as it is."""
    is_first = True
    for piece in pieces:
        if piece and is_first:
            print_text("".join(_coloured(piece[0], [0.0])))
            is_first = False
        yield piece


def _page(tally: Tally) -> Iterator[str]:
    yield f"{tally.characters:,} characters scored: {tally.total_nats:.2f} nats in all\n"
    yield (
        f"{tally.nats_per_char:.4f} nats = {tally.bits_per_char:.4f} bits per character, "
        f"perplexity {tally.perplexity:.3f}\n"
    )
    if tally.passages:
        yield "\nThe most surprising passages, with their bits per character:\n"
    for passage in tally.passages:
        yield f"{passage.bits_per_char:6.2f}  at {passage.start:<10,} {json_text(passage.text)}\n"


def _rows(characters: str, bits: Iterable[float]) -> Iterator[str]:
    return (f"{one:.3f}\t{character!r}\n" for one, character in zip(bits, characters, strict=True))


def _coloured(characters: str, bits: Iterable[float]) -> Iterator[str]:
    """Yield characters on the colour of their surprisal; a letter and its accents have that of the worst of them."""
    from wcwidth import iter_graphemes

    costs = iter(bits)
    for cluster in iter_graphemes(characters):
        shade = min(int(max(islice(costs, len(cluster)))) - 2, len(_SHADES) - 1)
        if shade < 0:
            yield shown(cluster)
        elif cluster.endswith("\n"):
            yield f"\x1b[48;5;{_SHADES[shade]}m \x1b[0m\n"
        else:
            yield f"\x1b[48;5;{_SHADES[shade]}m{shown(cluster)}\x1b[0m"


def _in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _print_lines(judge: Model, pieces: Iterable[str], precision: str, as_json: bool) -> None:
    """Score each line alone; a line with fewer than 2 characters has nothing to score."""
    lines, rows = _lines(pieces), []
    while some := list(islice(lines, _LINES)):
        for line, score in zip(some, judge.score_many(some, precision=precision), strict=True):
            found = figures(score) if score.characters else {"bits_per_char": None}
            if as_json:
                rows.append({"text": line, **found})
            else:
                bits = found["bits_per_char"]
                print_text(shown(f"{'-' if bits is None else format(bits, '.4f')}\t{line}\n"))
    if as_json:
        print_json({"lines": rows})


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text; an empty one after the last newline is none."""
    begun: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        if others:
            yield "".join(begun).removesuffix("\r")
            yield from (line.removesuffix("\r") for line in others[:-1])
            begun = [others[-1]]
    if any(begun):
        yield "".join(begun)


def figures(score: Score | Tally) -> dict[str, Any]:
    """Return the figures of a score: the keys of ``--json``."""
    return {
        "characters": score.characters,
        "total_nats": score.total_nats,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if isfinite(score.perplexity) else None,
    }
