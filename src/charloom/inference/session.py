"""An interactive session: a user and a model extend a text in turns, with undo."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.data.text_format import PLAIN_RULES, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, Notice
from charloom.inference.engines.base import Cursor, Engine, State
from charloom.inference.generation import (
    Request,
    check_marks,
    choose_label,
    continue_text,
    cursor_after,
    known_text,
    prefill,
    random_seed,
    record_start,
    start_character,
    unknown_notices,
    with_rules,
)
from charloom.inference.generation_options import check_samples
from charloom.inference.sampling import allowed_bias, sample_seeds


@dataclass(frozen=True)
class _Snapshot:
    """The text at one point of the session with the model state after it, which makes undo free of computation."""

    text: str
    known_text: str  # the text as the model has read it, without unknown characters
    state: State
    logits: NDArray[np.float32]


class Session:
    """An interactive session.

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        request: Length, sampling options and stop conditions of continuations. Its prompt is the beginning of the text,
            its seed the seed of the first continuation; later continuations have random seeds.
        rules: How the model expects its texts. Of a model of records, the text is one record.

    Attributes:
        request: The current request; it may be replaced at any time.
        rules: How the model expects its texts.
    """

    def __init__(
        self, engine: Engine, vocabulary: Vocabulary, request: Request, rules: TextRules = PLAIN_RULES
    ) -> None:
        self.request = with_rules(request, rules)
        self._engine, self._vocabulary, self.rules = engine, vocabulary, rules
        start = record_start(rules, choose_label(rules, request.label, request.seed)) or start_character(vocabulary)
        logits, state = prefill(engine, vocabulary.encode(start))
        self._snapshots = [_Snapshot("", "", state, logits)]
        self._seed: int | None = request.seed
        self._choices: list[str] = []
        self._is_begun = rules.records is not None  # the record mark precedes the text
        self.add(self.request.prompt)

    @property
    def text(self) -> str:
        """The text so far."""
        return self._snapshots[-1].text

    def add(self, text: str, noun: str = "prompt", advice: str = "") -> None:
        """Append text. The model reads its unknown characters as the request's ``unknown`` says.

        Args:
            text: The text.
            noun: What the text is called in the error message.
            advice: What the user can do about unknown characters; see ``known_text``.

        Raises:
            UnknownCharacterError: If it contains a character that is not in the vocabulary, and ``unknown`` is
                "error". The session is unchanged.
        """
        text = self.rules.prepare(text)
        check_marks(text, self.rules)
        if not text:
            return
        known = known_text(self._vocabulary, text, self.request.unknown, noun, advice)
        current = self._snapshots[-1]
        # the first text is processed from the initial state, as `generate` processes a prompt
        state_before = current.state if current.known_text or self._is_begun else None
        logits, state = current.logits, current.state
        if known:
            logits, state = prefill(self._engine, self._vocabulary.encode(known), state_before)
        self._snapshots.append(_Snapshot(current.text + text, current.known_text + known, state, logits))
        self._choices = []

    def unknown_notices(self, text: str) -> list[Notice]:
        """Return a notice for each unknown character that ``add`` skips or replaces in a text."""
        return unknown_notices(self._vocabulary, [text], self.request.unknown, self.rules)

    def continue_text(self) -> Iterator[str]:
        """Generate a continuation and yield it in pieces; the pieces that were yielded are appended to the text.

        This holds even if the caller stops the iteration early.
        """
        seeds = [random_seed() if self._seed is None else self._seed]
        self._seed = None
        pieces: list[str] = []
        try:
            for piece in continue_text(self._engine, self._vocabulary, self._cursor(seeds), self.request, self._bias()):
                pieces.append(piece.text)
                yield piece.text
        finally:
            self.add("".join(pieces))

    def undo(self) -> str:
        """Remove the text that was appended last, and return it.

        Raises:
            InputError: If the text is empty.
        """
        if len(self._snapshots) == 1:
            raise InputError("Nothing to undo.", code="nothing_to_undo")
        last = self._snapshots.pop()
        self._choices = []
        return last.text[len(self.text) :]

    def choices(self, count: int) -> list[str]:
        """Generate ``count`` alternative continuations; ``pick`` appends one of them.

        Raises:
            SettingsError: If ``count`` is out of range.
        """
        seeds = sample_seeds(random_seed(), check_samples(count))
        texts = [""] * count
        for piece in continue_text(self._engine, self._vocabulary, self._cursor(seeds), self.request, self._bias()):
            texts[piece.sample] += piece.text
        self._choices = texts
        return texts

    def pick(self, number: int) -> str:
        """Append one of the continuations that ``choices`` returned last, and return it.

        Args:
            number: Number of the choice, from 1.

        Raises:
            InputError: If the choice does not exist.
        """
        if not 1 <= number <= len(self._choices):
            raise InputError(
                f"Invalid choice {number}: {len(self._choices)} choices are available. Generate choices first.",
                code="invalid_choice",
                number=number,
                choices=len(self._choices),
            )
        text = self._choices[number - 1]
        self.add(text)
        return text

    def set_sampling(self, **values: float) -> None:
        """Change sampling options; raises ``SettingsError`` if a value is out of range."""
        self.request = replace(self.request, sampling=replace(self.request.sampling, **values))  # type: ignore[arg-type]

    def _cursor(self, seeds: list[int]) -> Cursor:
        current, window = self._snapshots[-1], self.request.sampling.window
        known = current.known_text
        last = self._vocabulary.encode(known[len(known) - min(window, len(known)) :])
        return cursor_after(last, current.logits, current.state, self.request.sampling, np.array(seeds, np.uint64))

    def _bias(self) -> NDArray[np.float32] | None:
        return allowed_bias(self._vocabulary, self.request.sampling)
