"""``charloom score``: what a text costs under a model."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.console import encoding_option, json_option, print_json, print_text, quiet_option
from charloom.errors import InputError

if TYPE_CHECKING:
    from charloom.runtime.language_model import Model
    from charloom.runtime.scoring import Score


@click.command("score")
@click.argument("model")
@click.argument("text")
@click.option("--per-char", is_flag=True, help="Also the surprisal of every character but the first, in bits.")
@click.option("--per-line", is_flag=True, help="Score every line as a text of its own.")
@encoding_option
@json_option
@quiet_option
def command(model: str, text: str, per_char: bool, per_line: bool, encoding: str, as_json: bool, quiet: bool) -> None:
    """Measure how well a model predicts a text: nats and bits per character, and perplexity.

    TEXT is a file, a folder, a glob, - for standard input, or a named corpus. Every character but the first is
    scored, given all before it.
    """
    from charloom.cli.reading import read_corpus
    from charloom.runtime.language_model import Model

    if per_char and per_line:
        raise InputError("Give --per-char or --per-line, not both.")
    judge = Model.load(model)
    corpus = read_corpus([text], encoding, quiet)
    if per_line:
        _print_lines(judge, corpus.text, as_json, quiet)
    else:
        _print_score(judge, corpus.text, per_char, as_json, quiet)


def _print_score(judge: Model, text: str, per_char: bool, as_json: bool, quiet: bool) -> None:
    from charloom.cli.progress_bar import progress_bar

    with progress_bar("scoring", quiet) as report:
        score = judge.score(text, report)
    found = figures(score)
    if as_json:
        print_json(found | ({"surprisals": score.surprisals.round(4).tolist()} if per_char else {}))
    elif per_char:
        rows = zip(score.surprisals, text[1:], strict=True)
        print_text("".join(f"{bits:.3f}\t{character!r}\n" for bits, character in rows))
    else:
        perplexity = f"{score.perplexity:.3f}"
        print_text(
            f"{found['characters']:,} characters scored: {found['total_nats']:.2f} nats in all\n"
            f"{found['nats_per_char']:.4f} nats = {found['bits_per_char']:.4f} bits per character, "
            f"perplexity {perplexity}\n"
        )


def _print_lines(judge: Model, text: str, as_json: bool, quiet: bool) -> None:
    """Score each line alone; a line with fewer than 2 characters has nothing to score."""
    from charloom.cli.progress_bar import progress_bar

    lines = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    judge.vocabulary.encode("".join(lines))  # what is unknown is refused before the work, not in its midst
    rows: list[dict[str, Any]] = []
    with progress_bar("scoring lines", quiet) as report:
        for line in lines:
            rows.append({"text": line, **(figures(judge.score(line)) if len(line) > 1 else {"bits_per_char": None})})
            report(len(rows), len(lines))
    if as_json:
        print_json({"lines": rows})
        return
    for row in rows:
        bits = row["bits_per_char"]
        print_text(f"{'-' if bits is None else format(bits, '.4f')}\t{row['text']}\n")


def figures(score: Score) -> dict[str, Any]:
    """Return the figures of a score: the keys of ``--json``."""
    return {
        "characters": score.characters,
        "total_nats": score.total_nats,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if isfinite(score.perplexity) else None,
    }
