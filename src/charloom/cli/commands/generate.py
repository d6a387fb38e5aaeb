"""``charloom generate``: generate text with a trained model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from charloom._util.printable import quoted
from charloom.cli.novelty import GeneratedText, NoveltyReport, check_novelty, print_novelty
from charloom.cli.sample_output import OutputFiles, sample_separator
from charloom.data.reading.decoding import decode_utf8
from charloom.data.text_format import TextRules
from charloom.errors import InputError
from charloom.inference.generation import (
    Piece,
    Request,
    choose_label,
    impossible_stops,
    make_request,
    unknown_notices,
    with_rules,
)
from charloom.inference.generation_options import DEFAULT_LENGTH, DEFAULT_TEMPERATURE, PRECISIONS, UNKNOWN
from charloom.inference.memorization import LONG
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.inference.session import Session
from charloom.terminal.messages import (
    escape_for_stdout,
    is_terminal,
    json_option,
    print_json,
    print_message,
    print_notices,
    print_text,
    quiet_option,
    require_stdout,
    unescape,
)


@click.command("generate")
@click.argument("model", default="shakespeare")
@click.option("-p", "--prompt", default=None, help="Prompt: the beginning of the text (\\n is a line feed).")
@click.option(
    "--prompts",
    "prompts_file",
    metavar="FILE",
    help="Generate a text for each line of a UTF-8 file (- for standard input).",
)
@click.option(
    "--prompt-file", type=str, default=None, help="Read the prompt from a UTF-8 file, or from standard input (-)."
)
@click.option(
    "-n",
    "--length",
    type=int,
    default=DEFAULT_LENGTH,
    show_default=True,
    help="Stop after this many characters, not counting the prompt.",
)
@click.option(
    "-t",
    "--temperature",
    type=float,
    default=DEFAULT_TEMPERATURE,
    show_default=True,
    help="Sampling temperature. Higher values give more random text; 0 always picks the most likely character.",
)
@click.option("--top-k", type=int, help="Sample only from the K most likely characters.")
@click.option(
    "--top-p",
    type=float,
    help="Sample only from the most likely characters that together have this probability, such as 0.9.",
)
@click.option(
    "--min-p",
    type=float,
    help="Leave out characters whose probability is less than this share of the most likely character's, such as 0.05.",
)
@click.option(
    "--repetition-penalty",
    type=float,
    help="Make the last 64 characters less likely. 1 is off; higher values are stronger.",
)
@click.option("--stop", multiple=True, help="Stop before this string (\\n is a line feed). Repeatable.")
@click.option(
    "--label",
    help="Label of the text, for a model of labeled records. [default: random, by its frequency in the training text]",
)
@click.option("--max-lines", type=int, help="Stop after this many lines.")
@click.option("--allow", help="Generate only these characters.")
@click.option("--forbid", help="Never generate these characters.")
@click.option("--samples", type=int, default=1, show_default=True, help="Number of texts to generate for each prompt.")
@click.option(
    "--seed", type=int, default=None, help="Random seed. The same seed gives the same text. [default: random, printed]"
)
@click.option(
    "--unknown",
    type=click.Choice(UNKNOWN),
    default="error",
    show_default=True,
    help="How to handle prompt characters that are not in the model's vocabulary.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of the computation. auto is int8.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER",
    help="Write to this file instead of standard output (-). For an existing folder, or a name that ends in /, write "
    "a file for each text: 001.txt, 002.txt, ...",
)
@click.option("--force", is_flag=True, help="Overwrite existing files of --output.")
@click.option(
    "--separator",
    metavar="TEXT",
    help="Text between two texts, such as \\n\\n. [default: a line with ---; for a model of lines or records, what "
    "separated them in the training text]",
)
@click.option("--novelty", is_flag=True, help="Report how much of the text is copied from the training text.")
@click.option(
    "--copies-longer-than",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"With --novelty, count copied passages of more than N characters. [default: {LONG}]",
)
@click.option("-i", "--interactive", is_flag=True, help="Write interactively: type, continue, undo, retry.")
@json_option
@quiet_option
def command(
    model: str,
    prompt: str | None,
    prompt_file: str | None,
    prompts_file: str | None,
    length: int,
    temperature: float,
    samples: int,
    seed: int | None,
    novelty: bool,
    copies_longer_than: int | None,
    interactive: bool,
    output: str | None,
    force: bool,
    separator: str | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Generate text with a trained model.

    MODEL is a model file, a run folder (its best model), RUN@last or RUN@STEP (a checkpoint of a run), or the name of
    a bundled model. The default is the bundled model shakespeare. The text starts with the prompt. In texts on the
    command line, \\n is a line feed, \\r a carriage return, \\t a tab, \\\\ a backslash, and \\u00e9 the character with
    this code.

    \b
    charloom generate -p "ROMEO: "
    charloom generate runs/my_book -p "Once " -n 500 --seed 1
    charloom generate runs/my_book --samples 20 -o poems/
    """
    options = {name: value for name, value in given.items() if value is not None}
    for name in ("stop", "allow", "forbid"):
        if name in options:
            value = options[name]
            options[name] = unescape(value) if isinstance(value, str) else tuple(map(unescape, value))
    _check_prompt_options(prompt=prompt, prompt_file=prompt_file, prompts=prompts_file)
    prompts = None if prompts_file is None else _prompts(prompts_file)
    beginning = _prompt(prompt, prompt_file)
    request, precision = make_request(beginning, length, temperature, seed, options, samples=samples, prompts=prompts)
    if copies_longer_than is not None and not novelty:
        raise InputError(
            "--copies-longer-than sets what --novelty reports, so it requires --novelty.",
            code="missing_option",
            option="--novelty",
            required_by="--copies-longer-than",
        )
    loaded, check = (
        _load_with_training_text(model, copies_longer_than or LONG) if novelty else (Model.load(model), None)
    )
    print_notices(impossible_stops(request.ending, loaded.vocabulary, loaded.rules), quiet)
    if interactive:
        _check_interactive(
            {
                "--prompt-file -": prompt_file == "-",
                "--prompts": prompts_file is not None,
                "--samples": samples != 1,
                "--output": output is not None,
                "--force": force,
                "--separator": separator is not None,
                "--novelty": novelty,
                "--json": as_json,
            }
        )
        from charloom.cli.interactive import run_interactive

        session = Session(loaded.engine_for(precision), loaded.vocabulary, request, loaded.rules)
        print_notices(session.unknown_notices(request.prompt), quiet)
        run_interactive(session, quiet)
        return
    pieces = loaded.pieces(request, precision)
    files = _files(output, len(request.prompt_of_each), force)
    between = _separator(separator, files, loaded.rules, as_json, quiet)
    print_notices(unknown_notices(loaded.vocabulary, request.prompt_of_each, request.unknown, loaded.rules), quiet)
    if seed is None:
        print_message(f"seed {request.seed}", quiet)
    request = with_rules(request, loaded.rules)
    if samples == 1 and prompts is None and files is None and not as_json:
        _write_text(pieces, request, loaded.rules, check, quiet)
        return
    _write_samples(pieces, request, loaded.rules, check, files, between, as_json, quiet)


NoveltyCheck = Callable[[list[GeneratedText]], NoveltyReport]


def _load_with_training_text(model: str, longer_than: int) -> tuple[Model, NoveltyCheck]:
    """Return a model, and a function that compares generated texts with its training text.

    Raises:
        InputError: If the training text is not available.
    """
    from charloom.report.provenance import find_provenance  # start-up time: only --novelty needs it

    provenance = find_provenance(model)
    if provenance.parts is None:
        raise InputError(
            f"--novelty requires the training text of the model. {provenance.missing}",
            code="training_text_unavailable",
            model=model,
        )
    return Model(provenance.model), partial(check_novelty, parts=provenance.parts, longer_than=longer_than)


def _write_text(
    pieces: Iterator[Piece], request: Request, rules: TextRules, novelty: NoveltyCheck | None, quiet: bool
) -> None:
    """Print a text while it is generated. If stdout is not a terminal, show a progress bar on stderr."""
    label = choose_label(rules, request.label, request.seed)
    if label is not None and request.label is None:
        print_message(f"label {label}", quiet)
    num_generated, texts, finish_reason = -len(request.prompt), [], None
    with _progress(quiet or is_terminal(sys.stdout)) as report:
        for piece in pieces:
            print_text(escape_for_stdout(piece.text))
            num_generated += len(piece.text)
            report(num_generated, request.length)
            finish_reason = piece.finish_reason
            if novelty is not None:
                texts.append(piece.text)
    print_text("\n")
    if novelty is not None:
        text = GeneratedText("".join(texts), request.prompt, label, is_complete=finish_reason == "stop")
        print_novelty(novelty([text]))


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    if quiet or not is_terminal(sys.stderr):
        yield lambda _done, _total: None  # importing rich takes as long as generating a page of text
        return
    from charloom.terminal.progress_bar import progress_bar

    with progress_bar("Generating", quiet) as report:
        yield report


def _write_samples(
    pieces: Iterator[Piece],
    request: Request,
    rules: TextRules,
    novelty: NoveltyCheck | None,
    files: OutputFiles | None,
    separator: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Generate all samples, then print or save them, with the seed of each on stderr."""
    require_stdout()
    started = time.perf_counter()
    prompts = request.prompt_of_each
    samples = _collect(pieces, sample_seeds(request.seed, len(prompts)), request.length, quiet)
    seconds = time.perf_counter() - started
    labels = [choose_label(rules, request.label, int(str(sample["seed"]))) for sample in samples]
    for sample, prompt, label in zip(samples, prompts, labels, strict=True):
        if request.prompts is not None:
            sample["prompt"] = prompt
        if label is not None:
            sample["label"] = label
    texts = [str(sample["text"]) for sample in samples]
    if files is not None:
        files.write(texts, separator)
    report = None
    if novelty is not None:
        reasons = (sample["finish_reason"] for sample in samples)
        report = novelty(
            [
                GeneratedText(text, prompt, label, is_complete=reason == "stop")
                for text, prompt, label, reason in zip(texts, prompts, labels, reasons, strict=True)
            ]
        )
    if as_json:
        num_generated = sum(map(len, texts)) - sum(map(len, prompts))
        written = {} if files is None else {"files": [str(path) for path in files.paths]}
        measured = {}
        if report is not None:
            for sample, figures in zip(samples, report.of_each, strict=True):
                sample["novelty"] = figures
            measured = {"novelty": report.summary}
        print_json({"samples": samples, "chars_per_second": num_generated / seconds, **written, **measured})
        return
    for i, (sample, prompt, label) in enumerate(zip(samples, prompts, labels, strict=True)):
        is_last = i + 1 == len(samples)
        start = "--- " if files is None else f"{files.path_of(i)}: "
        print_message(start + _title(i + 1, len(samples), sample["seed"], prompt, label), quiet)
        if files is None:
            print_text(escape_for_stdout(texts[i] + ("\n" if is_last else separator)))
    if report is not None:
        print_novelty(report)


def _title(number: int, count: int, seed: object, prompt: str, label: str | None) -> str:
    """Return the description of a sample above its text, such as ``sample 2 of 3, seed 7, prompt 'Once '``."""
    parts = [f"sample {number:,} of {count:,}", f"seed {seed}"]
    if prompt:
        parts.append(f"prompt {quoted(prompt)}")
    if label is not None:
        parts.append(f"label {label}")
    return ", ".join(parts)


def _files(output: str | None, count: int, force: bool) -> OutputFiles | None:
    """Return the files of ``--output`` for a number of texts; None for standard output.

    Raises:
        InputError: If a file exists and ``force`` is not set, or ``force`` is set without files.
    """
    if output is not None and output != "-":
        return OutputFiles.choose(output, count, force)
    if force:
        raise InputError(
            "--force overwrites existing files of --output, so it requires -o FILE or -o FOLDER/.",
            code="missing_option",
            option="--output",
            required_by="--force",
        )
    return None


def _separator(given: str | None, files: OutputFiles | None, rules: TextRules, as_json: bool, quiet: bool) -> str:
    """Return the text between two samples.

    Raises:
        InputError: If ``--separator`` is given although texts are not joined.
    """
    is_folder = files is not None and files.is_folder
    if given is not None and (is_folder or (files is None and as_json)):
        option = "--output" if is_folder else "--json"
        raise InputError(
            "--separator has no effect with "
            f"{'a folder as --output, which gets a file for each text' if is_folder else '--json, which prints a list'}"
            ". Omit it.",
            code="conflicting_options",
            options=["--separator", option],
        )
    if given is not None:
        return unescape(given)
    shows_titles = files is None and not quiet and is_terminal(sys.stdout) and is_terminal(sys.stderr)
    # on a terminal, the title of each sample already separates the texts
    return "\n" if shows_titles and rules.mark is None else sample_separator(rules)


def _check_interactive(options: Mapping[str, bool]) -> None:
    """Check that no option that ``--interactive`` does not support is given.

    Args:
        options: Whether each of these options is given.
    """
    for name, is_given in options.items():
        if is_given:
            raise InputError(
                f"{name} cannot be combined with --interactive (-i).",
                code="conflicting_options",
                options=["--interactive", name.split()[0]],
            )
    require_stdout()
    if sys.stdin is None:
        raise InputError("--interactive reads from standard input, which is closed.", code="stdin_closed")


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    """Return the prompt from ``--prompt``, with its escapes replaced, or the content of ``--prompt-file``."""
    return unescape(prompt or "") if prompt_file is None else _read_prompts(prompt_file)


def _prompts(path: str) -> tuple[str, ...]:
    """Return the prompts of ``--prompts``: the lines of a file with their escapes replaced, empty ones included.

    Raises:
        InputError: If the file cannot be read or is empty, or an escape is invalid.
    """
    text = _read_prompts(path).replace("\r\n", "\n")
    if not text:
        raise InputError(
            f"--prompts {path}: the file is empty. Write one prompt per line.", code="no_prompts", path=path
        )
    prompts = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        try:
            prompts.append(unescape(line))
        except InputError as error:
            raise InputError(
                f"{path}, line {number:,}: {error}", code=error.code, **error.data, path=path, line=number
            ) from None
    return tuple(prompts)


def _check_prompt_options(**values: str | None) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} cannot be combined.", code="conflicting_options", options=given)


def _read_prompts(path: str) -> str:
    """Return the content of a UTF-8 file, or of standard input (-)."""
    try:
        if path == "-" and sys.stdin is None:
            raise InputError("Cannot read the prompt: standard input is closed.", code="stdin_closed")
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"Cannot read the prompt file {path}: {reason}.", code="file_error", path=path, reason=reason
        ) from None
    return decode_utf8(data, "standard input" if path == "-" else path)


def _collect(pieces: Iterator[Piece], seeds: list[int], length: int, quiet: bool) -> list[dict[str, object]]:
    """Generate all samples, and return the text, seed and finish reason of each.

    The seed of a sample reproduces it when it is generated on its own.
    """
    texts: list[list[str]] = [[] for _ in seeds]
    reasons: list[str | None] = [None] * len(seeds)
    num_generated = 0
    with _progress(quiet) as report:
        for piece in pieces:
            texts[piece.sample].append(piece.text)
            reasons[piece.sample] = piece.finish_reason
            num_generated += len(piece.text)
            report(num_generated, len(seeds) * (len(texts[0][0]) + length))  # the first piece is the prompt
    rows = zip(texts, seeds, reasons, strict=True)
    return [{"text": "".join(text), "seed": seed, "finish_reason": reason} for text, seed, reason in rows]
