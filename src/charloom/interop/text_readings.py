"""The ways in which the author of a model can have read its training text.

A Keras file stores ids but no characters, and the ids depend on how a script read the text: with or without the byte
order mark, with CR LF or LF, in lower case, or with spaces instead of newlines. Several readings can have the right
number of distinct characters. The model's loss on the text shows which one is right: under another reading, each letter
stands for a different one.
"""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from charloom.data.baselines import baselines
from charloom.data.corpus import Corpus
from charloom.data.splits import TextSpan
from charloom.data.text_format import TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.model import Model

MAX_UNKNOWN_IDS = 2
"""Maximum number of first ids without a character: Keras' mask token and [UNK], or two [UNK]."""

_PASSAGE = 1024  # characters of a passage on which the loss is computed
_PASSAGES = 8  # evenly spaced passages: 8,192 characters take 1 to 2 s with 1,024 units
_MIN_SAMPLE = 100  # characters below which losses are not compared
_CLEAR = 20.0  # nats on the whole sample by which the best reading must be better: a likelihood ratio of 5e8

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Reading:
    """A way to read a text.

    Attributes:
        words: The reading in words.
        byte_order_mark: Whether a byte order mark is kept as a character.
        newlines: "keep", or "lf" if CR LF and lone CR are converted to LF.
        lower_case: Whether the text is converted to lower case.
        spaces: Whether line feeds are replaced by spaces.
        characters: The sorted distinct characters of the text.
    """

    words: str
    byte_order_mark: bool
    newlines: str
    lower_case: bool
    spaces: bool
    characters: str = field(repr=False, default="")

    def apply(self, text: str) -> str:
        """Return a passage of the text under this reading, without the byte order mark."""
        if self.newlines == "lf":
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.lower_case:
            text = text.lower()
        return text.replace("\n", " ") if self.spaces else text

    @property
    def is_unchanged(self) -> bool:
        """Whether this is the reading of ``charloom train``."""
        return not (self.byte_order_mark or self.newlines == "lf" or self.lower_case or self.spaces)

    def to_dict(self) -> dict[str, Any]:
        """Return the reading as JSON data."""
        return {
            "reading": self.words,
            "byte_order_mark": self.byte_order_mark,
            "newlines": self.newlines,
            "lower_case": self.lower_case,
            "newlines_as_spaces": self.spaces,
            "characters": len(self.characters),
        }


@dataclass(frozen=True)
class Candidate:
    """A reading whose number of distinct characters fits the number of a model's ids.

    Attributes:
        reading: The reading.
        unknown_ids: Number of first ids that have no character.
        loss: The model's loss on passages of the text, in nats per character; None if they are too short.
        unigram_loss: The unigram baseline of these passages, in nats per character.
        gain: By how much the model's total loss is lower than the baseline's, in nats.
    """

    reading: Reading
    unknown_ids: int
    loss: float | None = None
    unigram_loss: float | None = None
    gain: float = 0.0

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters in the order of their ids."""
        return Vocabulary(self.reading.characters)

    @property
    def words(self) -> str:
        """The reading and the ids without a character, in words."""
        unknown = ("", ", [UNK] as id 0", ", two ids without a character")[self.unknown_ids]
        return self.reading.words + unknown

    @property
    def below_unigram(self) -> float:
        """By how much the loss is lower than the unigram baseline, in nats per character; 0 without losses."""
        return 0.0 if self.loss is None or self.unigram_loss is None else self.unigram_loss - self.loss

    @property
    def is_better_than_unigram(self) -> bool:
        """Whether the model's loss is below the unigram baseline."""
        return self.gain > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the candidate as JSON data."""
        losses = {"loss": self.loss, "unigram_loss": self.unigram_loss}
        return {**self.reading.to_dict(), "unknown_ids": self.unknown_ids, **losses}


def list_readings(corpus: Corpus, fixed_newlines: bool = False) -> list[Reading]:
    """Return the readings of a text that differ, the one of ``charloom train`` first.

    Args:
        corpus: The text as charloom reads it, without the byte order mark.
        fixed_newlines: Whether newlines are never converted.
    """
    marked = _has_byte_order_mark(corpus)
    seen = set(corpus.index.characters)
    lowered = _lower_case(corpus)
    converts = "\r" in seen and not fixed_newlines
    options = (
        (False, True) if marked else (False,),
        ("keep", "lf") if converts else ("keep",),
        (False, True) if lowered != seen else (False,),
        (False, True) if "\n" in seen or converts else (False,),
    )
    readings = []
    for mark, newlines, lower_case, spaces in product(*options):
        if spaces and newlines == "keep" and "\r" in seen:
            continue  # such scripts read lines as LF; a CR before a space looks too similar to a newline
        characters = set(lowered if lower_case else seen) | ({BYTE_ORDER_MARK} if mark else set())
        if newlines == "lf":
            characters = characters - {"\r"} | {"\n"}
        if spaces:
            characters = characters - {"\n"} | {" "}
        parts = [
            "byte order mark kept" if mark else "byte order mark removed" if marked else "",
            "CR LF converted to LF" if newlines == "lf" else "CR LF kept" if converts else "",
            "lower case" if lower_case else "",
            "newlines replaced by spaces" if spaces else "",
        ]
        words = ", ".join(part for part in parts if part) or "unchanged"
        readings.append(Reading(words, mark, newlines, lower_case, spaces, "".join(sorted(characters))))
    return readings


def _has_byte_order_mark(corpus: Corpus) -> bool:
    """Return whether charloom removed a byte order mark that ``open(path, encoding=...)`` keeps."""
    removed = any(getattr(notice, "code", "") == "byte_order_mark_removed" for notice in corpus.notices)
    return removed and codecs.lookup(corpus.format.encoding).name not in ("utf-8-sig", "utf-16", "utf-32")


def _lower_case(corpus: Corpus) -> set[str]:
    """Return the distinct characters of a text in lower case."""
    characters = corpus.index.characters
    if "Σ" not in characters:
        return set().union(*map(str.lower, characters))
    pieces = TextSpan(corpus.index, 0, len(corpus)).pieces()  # the lower case of Σ depends on its position in a word
    return set().union(*map(str.lower, pieces))


def fitting(readings: Sequence[Reading], ids: int) -> list[Candidate]:
    """Return the readings that fit a model with this number of ids, those with the fewest unknown ids first."""
    pairs = ((reading, ids - len(reading.characters)) for reading in readings)
    found = [Candidate(reading, unknown) for reading, unknown in pairs if 0 <= unknown <= MAX_UNKNOWN_IDS]
    return sorted(found, key=lambda candidate: candidate.unknown_ids)


def compare(candidates: Sequence[Candidate], corpus: Corpus, model_of: Callable[[Candidate], Model]) -> list[Candidate]:
    """Compute the loss of each candidate on evenly spaced passages of the text.

    Candidates that give the same ids on these passages count as one; the first of them is kept.

    Args:
        candidates: The readings that fit.
        corpus: The text.
        model_of: Returns the model with the vocabulary of a candidate.

    Returns:
        The distinct candidates with their losses, in the same order; without losses if the text is too short.
    """
    passages = _passages(corpus)
    distinct: dict[bytes, Candidate] = {}
    for candidate in candidates:
        texts = [text for text in map(candidate.reading.apply, passages) if len(text) > 1]
        ids = [candidate.vocabulary.encode(text) for text in texts]
        key = b"".join((row.astype(np.int64) + candidate.unknown_ids).tobytes() for row in ids)
        if key in distinct:
            continue
        distinct[key] = candidate
        if sum(map(len, texts)) >= _MIN_SAMPLE:
            every = np.concatenate(ids)
            unigram = baselines(every, every, len(candidate.vocabulary)).unigram
            scores = model_of(candidate).score_many(texts)
            count = sum(score.characters for score in scores)
            loss = sum(score.total_nats for score in scores) / count
            # Compared with the baseline of the same reading, because lower case and spaces instead of newlines make a
            # text easier to predict under any model.
            gain = (unigram - loss) * count
            distinct[key] = replace(candidate, loss=loss, unigram_loss=unigram, gain=gain)
    return list(distinct.values())


def _passages(corpus: Corpus) -> list[str]:
    """Return evenly spaced passages of a text, or the whole text if it is short."""
    length = len(corpus)
    if length <= _PASSAGE * _PASSAGES:
        return [TextSpan(corpus.index, 0, length).text]
    starts = np.linspace(0, length - _PASSAGE, _PASSAGES).astype(int).tolist()
    return [TextSpan(corpus.index, start, start + _PASSAGE).text for start in starts]


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate | None, Candidate | None]:
    """Return the clear winner of a comparison, or None; and the runner-up, or None.

    The winner's loss is below the unigram baseline, and clearly further below it than the runner-up's. Without such a
    winner, the unchanged reading is accepted if only it has as many characters as the model has ids, and if the text is
    too short for a comparison, the reading with the fewest unknown ids.
    """
    ranked = sorted(candidates, key=lambda candidate: -candidate.gain)
    best, runner_up = ranked[0], (ranked[1] if len(ranked) > 1 else None)
    if best.is_better_than_unigram and (runner_up is None or best.gain - runner_up.gain >= _CLEAR):
        return best, runner_up
    first = candidates[0]
    is_only = all(candidate.unknown_ids > first.unknown_ids for candidate in candidates[1:])
    if is_only and (first.loss is None or (first.reading.is_unchanged and first.unknown_ids == 0)):
        return first, next((candidate for candidate in ranked if candidate is not first), None)
    return None, runner_up


def rules_of(candidate: Candidate, corpus: Corpus) -> TextRules:
    """Return the rules for texts of a model that was trained on a reading of the text."""
    return replace(corpus.rules, newlines="lf") if candidate.reading.newlines == "lf" else corpus.rules
