"""What ``charloom generate --novelty`` reports: the verbatim overlap of generated texts with the training text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from charloom._util.printable import quoted
from charloom.data.splits import CorpusSplit, TextRecords
from charloom.data.text_format import LABEL_MARK
from charloom.inference.memorization import (
    CopiedPassage,
    Memorization,
    copied_records_of_each,
    held_out_segments,
    longest_passages,
    measure_memorizations,
)
from charloom.inference.segments import LONG_LINE, MIN_SEGMENT, find_segments
from charloom.terminal.messages import USUAL, USUAL_MEANS, format_percent, print_message

_HELD_OUT_LENGTH = 20_000  # characters of the held-out text that are checked
_UNITS = {"segments", "lines", "records"}  # keys of what is compared as a whole
_MAX_GROUP = 400_000  # characters compared with the training text at once; each needs about 250 bytes
_MAX_NUMBERS = 20  # numbers of samples shown


@dataclass(frozen=True)
class GeneratedText:
    """A generated text to check.

    Attributes:
        text: The text with its prompt.
        prompt: The prompt, which is not checked, except as part of the first record that is compared as a whole.
        label: Label of the text, for a model of labeled records.
        is_complete: Whether a stop condition ended the text, not its length. Its last line is then complete.
    """

    text: str
    prompt: str
    label: str | None
    is_complete: bool


@dataclass(frozen=True)
class NoveltyReport:
    """Memorization of all texts of a command.

    Attributes:
        of_each: The figures of each text: ``samples[].novelty`` in ``--json``.
        summary: The figures of all texts together: ``novelty`` in ``--json``.
        noun: What was compared as a whole: "lines", or "lines or sentences" if some lines are long.
    """

    of_each: list[dict[str, Any]]
    summary: dict[str, Any]
    noun: str


def check_novelty(texts: Sequence[GeneratedText], parts: CorpusSplit, longer_than: int) -> NoveltyReport:
    """Measure verbatim overlap of generated texts with the training text, and of held-out text for comparison.

    Args:
        texts: The generated texts.
        parts: The text on which the model was trained.
        longer_than: Length in characters that a copied run must exceed to be counted, 1 or more.
    """
    training, validation = parts.training, parts.validation
    generated = [text.text[len(text.prompt) :] for text in texts]
    segments = [
        find_segments(text, first=not given.prompt or given.prompt.endswith("\n"), last=given.is_complete)
        for text, given in zip(generated, texts, strict=True)
    ]
    held_out = validation.head(_HELD_OUT_LENGTH)
    checked, segments = [*generated, held_out], [*segments, held_out_segments(held_out, validation)]
    measured = [
        memorization
        for rows in _groups(checked)
        for memorization in measure_memorizations(checked[rows], training.pieces(), segments=segments[rows])
    ]
    figures = [_figures(memorization, longer_than) for memorization in measured]
    if isinstance(training, TextRecords):
        keys = ("lines", "copied_lines") if training.mark == "\n" else ("records", "copied_records")
        labels = ("" if text.label is None else f"{text.label}{LABEL_MARK}" for text in texts)  # as in training text
        records = [label + text.text for label, text in zip(labels, texts, strict=True)]
        records.append(held_out[: held_out.rfind(training.mark) + 1])
        counts = copied_records_of_each(records, training.pieces(), training.mark)
        for row, count in zip(figures, counts, strict=True):
            row.update(zip(keys, count, strict=True))
    *of_each, chance = figures
    copying = [i for i, row in enumerate(of_each, 1) if _exceeds(row, chance)]
    summary = _total(of_each, [len(text) for text in generated]) | {
        "longer_than": longer_than,
        "held_out": chance if held_out else None,
        "copying_samples": copying,
        "passages": [_row(passage) for passage in longest_passages(generated, measured[:-1], training, longer_than)],
    }
    has_long_lines = any(len(line) > LONG_LINE for text in generated for line in text.split("\n"))
    return NoveltyReport(of_each, summary, "lines or sentences" if has_long_lines else "lines")


def _groups(texts: list[str]) -> Iterator[slice]:
    """Divide texts into groups that are compared with the training text at once, to limit memory."""
    first = size = 0
    for i, text in enumerate(texts):
        if i > first and size + len(text) > _MAX_GROUP:
            yield slice(first, i)
            first, size = i, 0
        size += len(text)
    yield slice(first, len(texts))


def _exceeds(row: dict[str, Any], chance: dict[str, Any]) -> bool:
    """Return whether a text copies a greater share than the held-out text by any measure."""
    if row["copied"] > chance["copied"]:
        return True
    return any(
        row[f"copied_{key}"] / max(row[key], 1) > chance[f"copied_{key}"] / max(chance[key], 1)
        for key in _UNITS & row.keys()
    )


def _figures(memorization: Memorization, longer_than: int) -> dict[str, Any]:
    length = len(memorization.lengths)
    return {
        "copied": memorization.copied_characters(longer_than) / length if length else 0.0,
        "longest": memorization.longest,
        "segments": len(memorization.segments),
        "copied_segments": len(memorization.copied_segments),
    }


def _total(of_each: list[dict[str, Any]], lengths: list[int]) -> dict[str, Any]:
    """Return the figures of all texts together, from those of each text and its length."""
    total = {key: sum(row[key] for row in of_each) for key in of_each[0]}
    copied = sum(row["copied"] * length for row, length in zip(of_each, lengths, strict=True))
    total["copied"] = copied / max(sum(lengths), 1)
    total["longest"] = max(row["longest"] for row in of_each)
    return total


def _row(passage: CopiedPassage) -> dict[str, Any]:
    """Return a passage under its keys in ``--json``."""
    row: dict[str, Any] = {"text": passage.text, "length": len(passage.text), "sample": passage.index + 1}
    location = passage.location
    if location is not None:
        row["offset"] = location.offset
        row |= {"line": location.line} if location.record is None else {"record": location.record}
    return row


def print_novelty(report: NoveltyReport) -> None:
    """Print a summary, the longest copied passages, and the numbers of the texts that copy.

    This is a result that was asked for, so it is printed with ``--quiet`` too.
    """
    summary, held_out, num_texts = report.summary, report.summary["held_out"], len(report.of_each)
    chance = f"; {USUAL} {format_percent(held_out['copied'])}" if held_out else ""
    print_message(
        f"{format_percent(summary['copied'])} copied from the training text in passages of more than "
        f"{summary['longer_than']:,} characters (longest: {summary['longest']:,}){chance}"
    )
    counted = {
        "segments": f"{report.noun} of at least {MIN_SEGMENT} characters",
        "records": "records",
        "lines": "lines",
    }
    if "lines" in summary:
        del counted["segments"]  # all lines are counted, including short ones
    for key, noun in counted.items():
        if not summary.get(key):
            continue
        copied = f"copied_{key}"
        chance = f"; {USUAL} {format_percent(held_out[copied] / held_out[key])}" if _has(held_out, key) else ""
        print_message(
            f"{summary[copied]:,} of {summary[key]:,} {noun} occur in the training text as a whole "
            f"({format_percent(summary[copied] / summary[key])}{chance})"
        )
    for passage in summary["passages"]:
        print_message("  " + _describe(passage, num_texts))
    if num_texts > 1:
        copying = summary["copying_samples"]
        rest = ", ..." if len(copying) > _MAX_NUMBERS else ""
        numbers = f": {', '.join(map(str, copying[:_MAX_NUMBERS]))}{rest}" if copying else ""
        more = " more than is usual by chance" if held_out else ""
        print_message(f"{len(copying):,} of {num_texts:,} samples copy{more}{numbers}")
    if held_out:
        print_message(USUAL_MEANS)


def _has(held_out: dict[str, Any] | None, key: str) -> bool:
    return held_out is not None and bool(held_out.get(key))


def _describe(passage: dict[str, Any], num_texts: int) -> str:
    parts = [f"{passage['length']:,} characters"]
    parts += [f"{key} {passage[key]:,} of the training text" for key in ("line", "record") if key in passage]
    if num_texts > 1:
        parts.append(f"sample {passage['sample']:,}")
    return f"{', '.join(parts)}: {quoted(passage['text'])}"
