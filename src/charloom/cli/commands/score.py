"""``charloom score``: measure how well a model predicts a text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from charloom.cli.text_options import scoring_options, with_model_rules
from charloom.data.reading.reader import text_pieces
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextFormat, TextRules
from charloom.data.vocabulary.unknown import UNKNOWN, UnknownCharacters, known_pieces, replace_unknown
from charloom.errors import InputError
from charloom.inference.generation import choose_label, missing_label
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
_BATCH = 4096  # maximum number of lines or records that are scored as one batch
_MARKS = {RECORD_MARK: "(end of record)", LABEL_MARK: "(end of label)"}
_ADVICE = "To score the text anyway, pass --unknown skip or --unknown replace. "
_SHADES = (238, 94, 130, 166, 202, 196)  # of the 256-color palette, for a surprisal of 2, 3, 4 ... bits


@click.command("score")
@click.argument("model")
@click.argument("text")
@click.option("--per-char", is_flag=True, help="Print the surprisal of each character, in bits.")
@click.option("--per-line", is_flag=True, help="Score each line as a separate text.")
@click.option("--per-record", is_flag=True, help="Score each record as a separate text.")
@click.option("--with-label", metavar="LABEL", help="Score as texts with this label, for a model of labeled records.")
@click.option(
    "--unknown",
    type=click.Choice((*UNKNOWN, "mark")),
    help="How to handle characters that are not in the model's vocabulary. mark lists a line or record without a "
    "score. [default: mark with --per-line and --per-record, otherwise error]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of the computation. auto is float32; int8 is faster.",
)
@scoring_options
@json_option
@quiet_option
def command(
    model: str,
    text: str,
    per_char: bool,
    per_line: bool,
    per_record: bool,
    with_label: str | None,
    unknown: str | None,
    precision: str,
    text_format: TextFormat,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure how well a model predicts a text: bits per character, nats per character and perplexity.

    TEXT is a file, a folder, a glob, - for standard input, or a named corpus, of any size. It is read as the model's
    training text was: newlines, Unicode normalization, lines or records. Each character except the first is scored
    given all preceding characters. On a terminal, --per-char colors the text by surprisal.

    \b
    charloom score shakespeare some_text.txt
    charloom score runs/names names.txt --per-line | sort -n
    """
    from charloom.terminal.progress_bar import progress_bar

    per_part = per_line or per_record
    _check_options(per_char, per_line, per_record, unknown)
    require_stdout()
    loaded = Model.load(model)
    text_format = with_model_rules(text_format, loaded.rules)
    if per_line:
        text_format = replace(text_format, records="", lines=False)
    if text_format.is_records and not per_record and loaded.rules.records is None:
        raise InputError(
            f"{model} is not a model of records, so it can score records only one by one. Pass --per-record.",
            code="missing_option",
            option="--per-record",
        )
    if per_record and not text_format.is_records:
        raise InputError(
            "--per-record requires --records SEPARATOR or --column NAME, because the model does not say how records "
            "are separated.",
            code="missing_option",
            option="--records",
            required_by="--per-record",
        )
    if text_format.label is not None and not loaded.rules.labels:
        raise InputError(f"{model} is not a model of labeled records. Omit --label.", code="no_labels", model=model)
    label = choose_label(loaded.rules, with_label, 0) if with_label is not None else None
    if loaded.rules.labels and text_format.label is None and label is None:
        raise missing_label(loaded.rules)

    notices: list[str] = []
    found = UnknownCharacters(loaded.vocabulary, has_lines=not text_format.is_records)
    with progress_bar("Scoring", quiet, in_bytes=True) as report:
        pieces = text_pieces(
            [text],
            text_format,
            notices,
            report,
            errors=loaded.reading_errors,
            started=found.position.start_file,
            one_record=not _is_given("records"),
        )
        if label is not None:
            pieces = _labeled(pieces, label)
        treatment = unknown or ("mark" if per_part else "error")
        if per_part:
            parts = _records(pieces) if per_record else _lines(pieces)
            _print_parts(_PartScorer(loaded, precision, treatment, found), parts, per_record, as_json)
        else:
            pieces = known_pieces(pieces, found, treatment, _ADVICE)
            _print_score(loaded, pieces, precision, per_char, as_json)
    if found.first and treatment != "error":
        notices.append(found.notice(treatment))
    print_notices(notices, quiet)


def _check_options(per_char: bool, per_line: bool, per_record: bool, unknown: str | None) -> None:
    given = [
        name
        for name, value in (("--per-char", per_char), ("--per-line", per_line), ("--per-record", per_record))
        if value
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} cannot be combined.", code="conflicting_options", options=given)
    if unknown == "mark" and not (per_line or per_record):
        raise InputError(
            "--unknown mark requires --per-line or --per-record. Pass skip or replace to score a whole text.",
            code="missing_option",
            option="--per-line",
            required_by="--unknown mark",
        )


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _labeled(pieces: Iterable[str], label: str) -> Iterator[str]:
    """Yield records in pieces, each with a label before it."""
    is_beginning = True
    for piece in pieces:
        if piece:
            start = f"{label}{LABEL_MARK}" if is_beginning else ""
            is_beginning = piece.endswith(RECORD_MARK)
            body = piece[:-1] if is_beginning else piece
            body = body.replace(RECORD_MARK, f"{RECORD_MARK}{label}{LABEL_MARK}")
            yield start + body + (RECORD_MARK if is_beginning else "")


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
    shown = model.rules.displayed
    if as_json:
        passages = [{"start": p.start, "text": shown(p.text), "bits_per_char": p.bits_per_char} for p in tally.passages]
        print_json(result | {"passages": passages} | ({"surprisals": surprisals} if per_char else {}))
    elif not per_char:
        print_text("".join(_summary(tally, model.rules)))
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


def _summary(tally: Tally, rules: TextRules) -> Iterator[str]:
    yield f"{tally.characters:,} characters scored: {tally.total_nats:.2f} nats in total\n"
    yield (
        f"{tally.nats_per_char:.4f} nats = {tally.bits_per_char:.4f} bits per character, "
        f"perplexity {tally.perplexity:.3f}\n"
    )
    if tally.passages:
        yield "\nMost surprising passages, with their bits per character:\n"
    for passage in tally.passages:
        yield f"{passage.bits_per_char:6.2f}  at {passage.start:<10,} {json_text(rules.displayed(passage.text))}\n"


def _rows(characters: str, bits: Iterable[float]) -> Iterator[str]:
    return (
        f"{surprisal:.3f}\t{_MARKS.get(character) or repr(character)}\n"
        for surprisal, character in zip(bits, characters, strict=True)
    )


def _colored(characters: str, bits: Iterable[float]) -> Iterator[str]:
    """Yield characters with a background color for their surprisal. A grapheme cluster gets its maximum surprisal."""
    from wcwidth import iter_graphemes

    surprisals = iter(bits)
    for cluster in iter_graphemes(characters):
        shade = min(int(max(islice(surprisals, len(cluster)))) - 2, len(_SHADES) - 1)
        if shade < 0:
            yield escape_for_stdout(cluster)
        elif cluster in _MARKS:
            yield f"\x1b[48;5;{_SHADES[shade]}m \x1b[0m\n\n"
        elif cluster.endswith("\n"):
            yield f"\x1b[48;5;{_SHADES[shade]}m \x1b[0m\n"
        else:
            yield f"\x1b[48;5;{_SHADES[shade]}m{escape_for_stdout(cluster)}\x1b[0m"


def _use_color() -> bool:
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")


class _Part(NamedTuple):
    """A line or record.

    Attributes:
        text: Its characters, without line ending or marks; of a labeled record, with its label.
        is_last: Whether no further part has arrived yet.
    """

    text: str
    is_last: bool


@dataclass
class _PartScorer:
    """Scores lines or records in batches.

    Attributes:
        model: The model.
        precision: See ``Model.score``.
        unknown: Treatment of unknown characters: "error", "skip", "replace" or "mark".
        found: Collects the unknown characters.
    """

    model: Model
    precision: str
    unknown: str
    found: UnknownCharacters

    def score(self, parts: list[_Part]) -> Iterator[tuple[str, int, Score | None]]:
        """Yield the text, its number of unknown characters, and its score, or None if it has none.

        Raises:
            UnknownCharacterError: If ``unknown`` is "error", after the texts before the unknown character.
        """
        rows: list[tuple[str, str | None, int]] = []  # text, text to score, number of unknown characters
        failed = False
        for text, _ in parts:
            before = self.found.count
            unknown = self.found.add(text)
            self.found.position.advance("\n")
            if not unknown:
                rows.append((text, text, 0))
            elif self.unknown == "error":
                failed = True
                break
            else:
                scored = None if self.unknown == "mark" else replace_unknown(self.model.vocabulary, text, self.unknown)
                rows.append((text, scored, self.found.count - before))
        texts = [scored for _, scored, _ in rows if scored is not None]
        scores = iter(self.model.score_many(texts, precision=self.precision))
        for text, scored, count in rows:
            score = None if scored is None else next(scores)
            yield text, count, score if score is not None and score.characters else None
        if failed:
            raise self.found.error(_ADVICE)


def _print_parts(scorer: _PartScorer, parts: Iterator[_Part], as_records: bool, as_json: bool) -> None:
    """Print the score of each line or record. A text with fewer than 2 characters has no score."""
    rows: list[dict[str, Any]] = []
    for batch in _batches(parts):
        for text, unknown, score in scorer.score(batch):
            result = figures(score) if score is not None else {"bits_per_char": None}
            label, mark, body = text.partition(LABEL_MARK)
            if not mark:
                label, body = "", text
            if as_json:
                row = {"text": body, **({"label": label} if mark else {}), **result}
                rows.append(row | ({"unknown": unknown} if unknown else {}))
                continue
            bits = "-" if result["bits_per_char"] is None else format(result["bits_per_char"], ".4f")
            cells = [bits, *([label] if mark else []), json_text(body) if as_records else body]
            print_text(escape_for_stdout("\t".join(cells) + "\n"))
    if as_json:
        print_json({"records" if as_records else "lines": rows})


def _batches(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    """Yield parts in batches; a batch is complete when no further part has arrived."""
    batch: list[_Part] = []
    for part in parts:
        batch.append(part)
        if part.is_last or len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _lines(pieces: Iterable[str]) -> Iterator[_Part]:
    """Yield the lines of a text without their line endings. A final newline does not start another line."""
    for text, is_last in _parts(pieces, "\n"):
        yield _Part(text.removesuffix("\r"), is_last)


def _records(pieces: Iterable[str]) -> Iterator[_Part]:
    """Yield the records of a text without their marks."""
    return _parts(pieces, RECORD_MARK)


def _parts(pieces: Iterable[str], mark: str) -> Iterator[_Part]:
    """Yield the parts of a text between marks; the last of each piece is marked as such."""
    unfinished: list[str] = []  # pieces of the current part
    for piece in pieces:
        first, *rest = piece.split(mark)
        unfinished.append(first)
        if rest:
            complete = ["".join(unfinished), *rest[:-1]]
            yield from (_Part(text, False) for text in complete[:-1])
            yield _Part(complete[-1], True)
            unfinished = [rest[-1]]
    if any(unfinished):
        yield _Part("".join(unfinished), True)


def figures(score: Score | Tally) -> dict[str, Any]:
    """Return the metrics of a score under their keys in ``--json``."""
    return {
        "characters": score.characters,
        "total_nats": score.total_nats,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "perplexity": score.perplexity if isfinite(score.perplexity) else None,
    }
