"""``charloom generate``: generate text with a trained model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from charloom.data.reading.decoding import decode_utf8
from charloom.data.splits import TextLines, TextView
from charloom.data.vocabulary.characters import describe
from charloom.errors import InputError
from charloom.inference.generation import Piece, Request, make_request, replacement_character
from charloom.inference.generation_options import DEFAULT_LENGTH, DEFAULT_TEMPERATURE, PRECISIONS, UNKNOWN
from charloom.inference.memorization import LONG, copied_lines, measure_memorization
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.inference.session import Session
from charloom.terminal.messages import json_option, percent, print_json, print_text, quiet_option, say, shown, unescaped


@click.command("generate")
@click.argument("model", default="shakespeare")
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
@click.option("--top-k", type=int, help="Draw from the K likeliest characters only.")
@click.option("--top-p", type=float, help="Draw from the likeliest that have this share of the probability.")
@click.option("--min-p", type=float, help="Draw from those at least this many times as likely as the likeliest.")
@click.option("--repetition-penalty", type=float, help="Above 1 makes the last 64 characters less likely to recur.")
@click.option("--stop", multiple=True, help="End before this string, \\n being a line feed; may be given again.")
@click.option("--max-lines", type=int, help="End after so many lines.")
@click.option("--allow", help="Draw these characters only.")
@click.option("--forbid", help="Never draw these characters.")
@click.option("--samples", type=int, default=1, show_default=True, help="How many texts.")
@click.option("--seed", type=int, default=None, help="The same seed gives the same text. [default: drawn and said]")
@click.option(
    "--unknown",
    type=click.Choice(UNKNOWN),
    default="error",
    show_default=True,
    help="What to do with characters of the prompt that the model does not know.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Whether to compute with int8 (auto: yes) or float32.",
)
@click.option("--novelty", is_flag=True, help="Say how much of it is copied from the text the model was trained on.")
@click.option("-i", "--interactive", is_flag=True, help="Write together: type, let it continue, undo, retry.")
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
    novelty: bool,
    interactive: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Write text with a trained model.

    MODEL is a model file, a run folder (its best model), a run folder with @last or @STEP behind it, or the name of
    a model that comes with charloom: shakespeare, which is taken when none is named. The text begins with the prompt.

    \b
    charloom generate -p "ROMEO: "
    charloom generate runs/my_book -p "Once " -n 500 --seed 1
    """
    options = {name: value for name, value in given.items() if value is not None}
    for name in ("stop", "allow", "forbid"):
        if name in options:
            given_text = options[name]
            options[name] = unescaped(given_text) if isinstance(given_text, str) else tuple(map(unescaped, given_text))
    request, precision = make_request(_prompt(prompt, prompt_file), length, temperature, seed, options, samples=samples)
    loaded, source = _model_and_its_text(model) if novelty else (Model.load(model), None)
    if interactive:
        _check_interactive(prompt_file, samples, novelty, as_json)
        from charloom.cli.interactive import write_together

        write_together(Session(loaded.engine_for(precision), loaded.vocabulary, request), quiet)
        return
    pieces = loaded.pieces(request, precision)
    if request.unknown != "error":
        _say_unknown(loaded, request, quiet)
    if seed is None:
        say(f"seed {request.seed}", quiet)
    if samples == 1 and not as_json:
        _write_text(pieces, request, source, quiet)
        return
    _write_samples(pieces, request, source, as_json, quiet)


def _model_and_its_text(model: str) -> tuple[Model, TextView]:
    """Return a model and the text that it was trained on.

    Raises:
        InputError: If that text is not at hand.
    """
    from charloom.report.provenance import find_provenance  # start-up: only --novelty reads that text

    found = find_provenance(model)
    if found.parts is None:
        raise InputError(f"--novelty compares with the text that the model was trained on. {found.missing}")
    return Model(found.model), found.parts.training


def _how_new(text: str, prompt: str, source: TextView) -> dict[str, float]:
    """Return how much of a text behind its prompt is copied; of lines, the prompt is part of the first."""
    found = measure_memorization(text[len(prompt) :], source.pieces())
    figures: dict[str, float] = {"copied": found.copied, "longest": found.longest}
    if isinstance(source, TextLines):
        figures["lines"], figures["copied_lines"] = copied_lines(text, source.pieces())
    return figures


def _say_how_new(text: str, prompt: str, source: TextView, quiet: bool) -> None:
    found = _how_new(text, prompt, source)
    if "lines" in found:
        say(f"{found['copied_lines']} of its {found['lines']} lines are lines of that text", quiet)
    else:
        share = percent(found["copied"])
        say(f"{share} of it in copies of more than {LONG} characters, the longest {found['longest']}", quiet)


def _write_text(pieces: Iterator[Piece], request: Request, source: TextView | None, quiet: bool) -> None:
    """Print the pieces as they come; where they go to a file, a bar says how far they are."""
    written, kept = -len(request.prompt), []
    with _progress(quiet or sys.stdout.isatty()) as report:
        for piece in pieces:
            print_text(shown(piece.text))
            written += len(piece.text)
            report(written, request.length)
            if source is not None:
                kept.append(piece.text)
    print_text("\n")
    if source is not None:
        _say_how_new("".join(kept), request.prompt, source, quiet)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done, _total: None  # what draws the bar takes as long to load as a page takes to write
        return
    from charloom.terminal.progress_bar import progress_bar

    with progress_bar("writing", quiet) as report:
        yield report


def _write_samples(
    pieces: Iterator[Piece], request: Request, source: TextView | None, as_json: bool, quiet: bool
) -> None:
    began = time.perf_counter()
    finished = _collect(pieces, sample_seeds(request.seed, request.samples), request.length, quiet)
    if source is not None:
        for sample in finished:
            sample["novelty"] = _how_new(str(sample["text"]), request.prompt, source)
    if as_json:
        written = sum(len(str(sample["text"])) - len(request.prompt) for sample in finished)
        print_json({"samples": finished, "chars_per_second": written / (time.perf_counter() - began)})
        return
    for number, sample in enumerate(finished, 1):
        say(f"--- sample {number} of {request.samples}, seed {sample['seed']}", quiet)
        print_text(shown(f"{sample['text']}\n"))
        if source is not None:
            _say_how_new(str(sample["text"]), request.prompt, source, quiet)


def _check_interactive(prompt_file: str | None, samples: int, novelty: bool, as_json: bool) -> None:
    options = {
        "--prompt-file -": prompt_file == "-",
        "--samples": samples != 1,
        "--novelty": novelty,
        "--json": as_json,
    }
    for name, given in options.items():
        if given:
            raise InputError(f"{name} and -i cannot be used together. Leave out one of them.")


def _say_unknown(model: Model, request: Request, quiet: bool) -> None:
    for character in model.vocabulary.unknown(request.prompt):
        instead = (
            "is skipped" if request.unknown == "skip" else f"is read as {replacement_character(model.vocabulary)!r}"
        )
        say(f"note: the model does not know {describe(character)}; it {instead}", quiet)


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise InputError("Give the prompt with --prompt or with --prompt-file, not with both.")
    if prompt_file is None:
        return prompt or ""

    try:
        if prompt_file == "-" and sys.stdin is None:
            raise InputError("Standard input (-) is closed, so no prompt can be read from it.")
        data = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise InputError(f"The prompt file {prompt_file} cannot be read: {error.strerror or error}.") from None
    name = "standard input" if prompt_file == "-" else prompt_file
    return decode_utf8(data, name)


def _collect(pieces: Iterator[Piece], seeds: list[int], length: int, quiet: bool) -> list[dict[str, object]]:
    """Return the finished samples: text, the seed that gives it alone, and why it ended."""
    texts: list[list[str]] = [[] for _ in seeds]
    reasons: list[str | None] = [None] * len(seeds)
    written = 0
    with _progress(quiet) as report:
        for piece in pieces:
            texts[piece.sample].append(piece.text)
            reasons[piece.sample] = piece.finish_reason
            written += len(piece.text)
            report(written, len(seeds) * (len(texts[0][0]) + length))  # the first piece is the prompt
    rows = zip(texts, seeds, reasons, strict=True)
    return [{"text": "".join(text), "seed": seed, "finish_reason": reason} for text, seed, reason in rows]
