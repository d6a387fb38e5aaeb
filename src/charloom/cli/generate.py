"""``charloom generate``: write text with a trained model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charloom.cli.console import json_option, print_json, print_text, quiet_option, say
from charloom.errors import InputError
from charloom.runtime.options import DEFAULT_LENGTH, DEFAULT_TEMPERATURE, Sampling

if TYPE_CHECKING:
    from charloom.runtime.generation import Piece


@click.command("generate")
@click.argument("model")
@click.option("-p", "--prompt", default=None, help="What the text begins with.")
@click.option("--prompt-file", type=str, default=None, help="A UTF-8 file that holds the prompt; - is standard input.")
@click.option(
    "-n", "--length", type=int, default=DEFAULT_LENGTH, show_default=True, help="Characters to write after it."
)
@click.option(
    "-t",
    "--temperature",
    type=float,
    default=DEFAULT_TEMPERATURE,
    show_default=True,
    help="Below 1 is safer, above 1 wilder; 0 takes the likeliest character each time.",
)
@click.option("--samples", type=int, default=1, show_default=True, help="How many texts.")
@click.option("--seed", type=int, default=None, help="The same seed gives the same text. [default: drawn and said]")
@json_option
@quiet_option
def command(
    model: str,
    prompt: str | None,
    prompt_file: str | None,
    length: int,
    temperature: float,
    samples: int,
    seed: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write text with a trained model.

    MODEL is a model file, a run folder (its best model), or a run folder with @last or @STEP behind it. The text
    begins with the prompt.

    \b
    charloom generate runs/my_book -p "Once " -n 500 --seed 1
    """
    from charloom.runtime.generation import random_seed
    from charloom.runtime.language_model import Model
    from charloom.runtime.sampling import sample_seeds

    sampling = Sampling(temperature)
    beginning = _prompt(prompt, prompt_file)
    chosen = random_seed() if seed is None else seed
    pieces = Model.load(model).pieces(beginning, length, sampling, chosen, samples)
    if seed is None:
        say(f"seed {chosen}", quiet)
    if samples == 1 and not as_json:
        for piece in pieces:
            print_text(piece.text)
        print_text("\n")
        return
    began = time.perf_counter()
    finished = _collect(pieces, sample_seeds(chosen, samples), length, quiet)
    if as_json:
        rate = samples * length / (time.perf_counter() - began)
        print_json({"samples": finished, "chars_per_second": rate})
        return
    for number, sample in enumerate(finished, 1):
        say(f"--- sample {number} of {samples}, seed {sample['seed']}", quiet)
        print_text(f"{sample['text']}\n")


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise InputError("Give the prompt with --prompt or with --prompt-file, not with both.")
    if prompt_file is None:
        return prompt or ""
    from charloom.text.decoding import decode_bytes

    try:
        if prompt_file == "-" and sys.stdin is None:
            raise InputError("Standard input (-) is closed, so no prompt can be read from it.")
        data = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise InputError(f"The prompt file {prompt_file} cannot be read: {error.strerror or error}.") from None
    name = "standard input" if prompt_file == "-" else prompt_file
    return decode_bytes(data, name, can_choose=False).text


def _collect(pieces: Iterator[Piece], seeds: list[int], length: int, quiet: bool) -> list[dict[str, object]]:
    """Return the finished samples: text, the seed that gives it alone, and why it ended."""
    from charloom.cli.progress_bar import progress_bar

    texts: list[list[str]] = [[] for _ in seeds]
    reasons: list[str | None] = [None] * len(seeds)
    written = 0
    with progress_bar("writing", quiet) as report:
        for piece in pieces:
            texts[piece.sample].append(piece.text)
            reasons[piece.sample] = piece.finish_reason
            written += len(piece.text)
            report(written, len(seeds) * (len(texts[0][0]) + length))  # the first piece is the prompt
    rows = zip(texts, seeds, reasons, strict=True)
    return [{"text": "".join(text), "seed": seed, "finish_reason": reason} for text, seed, reason in rows]
