"""Many writers at once: texts that join and leave while the others are written, each as it would be alone.

All texts under way advance by the same few characters a step, whoever came first. What one text is does not depend on
the others: a row of a batch is computed as it would be alone, and draws its characters by its own seed and position.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError
from charloom.inference.engines.base import Cursor, Engine
from charloom.inference.generation import TextStreamer, cursor_after
from charloom.inference.generation_options import Ending, Sampling, check_length, check_seed
from charloom.inference.log_probs import log_softmax
from charloom.inference.prefix_cache import PrefixCache, PrefixState
from charloom.inference.sampling import allowed_bias
from charloom.inference.stop_conditions import StopMatcher

_STEP = 1024  # characters drawn in a step, of all texts together: some milliseconds
_BLOCK = 256  # characters of prompts read in a step, of all texts together
_CACHED = 64 << 20  # bytes of states behind texts


@dataclass(frozen=True)
class SequenceRequest:
    """One text to be written.

    Attributes:
        prompt: What is read before, ids (T,), T >= 1; ``prompt_ids`` makes them of a text.
        length: How many ids to draw, at most; 0 or more.
        sampling: How to draw them.
        ending: When to end before that.
        seed: The same seed gives the same text.
        bias: What is added to the logits of some ids.
        guesses: None, or how many of the likeliest characters to tell at each place, 0 or more, and what each character
            cost.
    """

    prompt: NDArray[np.integer]
    length: int
    sampling: Sampling = field(default_factory=Sampling)
    ending: Ending = field(default_factory=Ending)
    seed: int = 0
    bias: Mapping[int, float] | None = None
    guesses: int | None = None


@dataclass(frozen=True)
class Token:
    """A character that was written.

    Attributes:
        text: The character.
        log_prob: The natural logarithm of the probability that the model gives it, whatever bias, temperature and
            filters.
        likeliest: The likeliest characters at its place and theirs, the likeliest first.
    """

    text: str
    log_prob: float
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class SequenceOutput:
    """A part of a text, to be put behind the parts before it.

    Attributes:
        key: Which text: what ``Batch.add`` returned.
        text: The characters; never half of one, nor what may be the beginning of a stop string.
        finish_reason: None until the last part; then "length" or "stop".
        tokens: The same characters one by one, if asked for.
    """

    key: int
    text: str
    finish_reason: str | None = None
    tokens: tuple[Token, ...] | None = None


class _Text:
    """A text under way.

    Args:
        key: Its number.
        writing: What is asked for.
        vocabulary: The model's.
        bias: What is added to logits, (V,), or None.
    """

    def __init__(
        self, key: int, writing: SequenceRequest, vocabulary: Vocabulary, bias: NDArray[np.float32] | None
    ) -> None:
        self.key, self.writing, self.bias = key, writing, bias
        self.left = writing.length
        self.writer = TextStreamer(0, StopMatcher(writing.ending), vocabulary)
        self.drawn: list[NDArray[np.int32]] = []
        self.tokens: list[Token] = []
        self.behind: PrefixState | None = None  # as much of its prompt as was read
        self.cursor: Cursor | None = None  # where it stands, unless it is among those that are written

    def ids(self) -> NDArray[np.integer]:
        """Return all that was read and drawn."""
        return np.concatenate([self.writing.prompt, *self.drawn])


class ContinuousBatch:
    """Texts of one model that are written together, a few characters a step.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        most: How many texts are written at once; others wait for their turn.

    Attributes:
        cache: States behind texts that were read or written.
        cache_hits: Texts whose beginning was there.
        characters: Drawn so far.
        prompt_characters: Read so far.
    """

    def __init__(self, engine: Engine, vocabulary: Vocabulary, most: int = 64) -> None:
        self.cache = PrefixCache(_CACHED)
        self.characters = self.prompt_characters = self.cache_hits = 0
        self._engine, self._vocabulary, self._most = engine, vocabulary, most
        self._texts: dict[int, _Text] = {}
        self._waiting: deque[int] = deque()
        self._reading: deque[int] = deque()
        self._writing: list[int] = []
        self._cursor: Cursor | None = None  # of those that are written, in their order
        self._next_key = 0

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def active(self) -> int:
        """How many texts are read or written now."""
        return len(self._reading) + len(self._writing)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do: no text, or all are paused."""
        return not (self._waiting or self._reading or self._writing)

    def add(self, writing: SequenceRequest) -> int:
        """Take a text and return its key.

        Raises:
            SettingsError: If a number is out of range, or ``guesses`` are asked of a model of bytes.
            UnknownCharacterError: If a character that is allowed or forbidden is not known.
        """
        text = _Text(self._next_key, writing, self._vocabulary, self.check(writing))
        self._next_key += 1
        self._texts[text.key] = text
        self._waiting.append(text.key)
        return text.key

    def check(self, writing: SequenceRequest) -> NDArray[np.float32] | None:
        """Raise what ``add`` would raise; return what is added to logits, (V,), if anything. Any thread may ask."""
        check_length(writing.length)
        check_seed(writing.seed)
        if writing.guesses is not None and self._vocabulary.unit != "char":
            raise SettingsError("A model of bytes tells no log-probabilities of characters while it writes.")
        bias = allowed_bias(self._vocabulary, writing.sampling)
        if writing.bias:
            bias = np.zeros(len(self._vocabulary), np.float32) if bias is None else bias
            bias[list(writing.bias)] += np.array(list(writing.bias.values()), np.float32)
        return bias

    def remove(self, key: int) -> None:
        """Forget a text, wherever it stands; one that has ended is forgotten already."""
        self._take_out(key)
        self._texts.pop(key, None)

    def pause(self, key: int) -> None:
        """Let a text stand where it is until it is resumed; its place is free for others."""
        self._take_out(key)

    def resume(self, key: int) -> None:
        """Let a text that was paused go on when there is a place."""
        if key in self._texts and key not in (*self._waiting, *self._reading, *self._writing):
            self._waiting.append(key)

    def _take_out(self, key: int) -> None:
        for queue in (self._waiting, self._reading):
            if key in queue:
                queue.remove(key)
        if key in self._writing:
            row = self._writing.index(key)
            assert self._cursor is not None
            self._texts[key].cursor = self._cursor.rows([row])
            self._keep_rows([other for other in range(len(self._writing)) if other != row])

    def step(self) -> list[SequenceOutput]:
        """Read the next characters of prompts, write the next of all texts, and return what was written."""
        while self._waiting and self.active < self._most:
            self._reading.append(self._waiting.popleft())
        ended = self._read_prompts()
        return ended + (self._write() if self._writing else [])

    def _read_prompts(self) -> list[SequenceOutput]:
        """Read as much as a step may, the prompts in turn; return the texts of which nothing is to be written."""
        budget, ready, ended = _BLOCK, [], []
        while self._reading and budget > 0:
            text = self._texts[self._reading.popleft()]
            if text.cursor is None:
                budget -= self._read_part(text, budget)
            if text.cursor is None:
                self._reading.append(text.key)
            elif text.left:
                ready.append(text)
            else:
                del self._texts[text.key]
                tokens = None if text.writing.guesses is None else ()
                ended.append(SequenceOutput(text.key, "", "length", tokens))
        self._join(ready)
        return ended

    def _read_part(self, text: _Text, most: int) -> int:
        """Read a part of a text's prompt, or find what is behind it; return how many characters were read."""
        prompt, behind = text.writing.prompt, self._behind(text)
        part = prompt[behind.length : behind.length + most]
        if len(part):
            logits, state = self._engine.forward(part[None], behind.state, last=True)
            behind = PrefixState(behind.length + len(part), logits[:, -1], state)
            self.cache.put(prompt[: behind.length], behind)
            self.prompt_characters += len(part)
        text.behind = behind
        if behind.length == len(prompt):
            seeds = np.array([text.writing.seed], np.uint64)
            text.cursor = cursor_after(prompt, behind.logits, behind.state, text.writing.sampling, seeds)
        return len(part)

    def _behind(self, text: _Text) -> PrefixState:
        """Return what is known behind the longest beginning of a text's prompt: others may have read on meanwhile."""
        found = self.cache.longest(text.writing.prompt)
        if text.behind is None:
            self.cache_hits += found is not None
            text.behind = PrefixState(0, np.empty((1, 0), np.float32), self._engine.initial_state(1))
        return found if found is not None and found.length > text.behind.length else text.behind

    def _join(self, texts: Sequence[_Text]) -> None:
        """Put texts among those that are written."""
        if not texts:
            return
        cursors = [text.cursor for text in texts if text.cursor is not None]
        self._cursor = Cursor.joined([self._cursor, *cursors] if self._cursor else cursors)
        self._writing += [text.key for text in texts]
        for text in texts:
            text.cursor = None

    def _write(self) -> list[SequenceOutput]:
        """Draw the next characters of all texts."""
        assert self._cursor is not None
        texts = [self._texts[key] for key in self._writing]
        count = min(max(1, _STEP // len(texts)), self._engine.chunk, *(text.left for text in texts))
        told = [row for row, text in enumerate(texts) if text.writing.guesses is not None]
        before = self._cursor.rows(told)
        samplings = [text.writing.sampling for text in texts]
        drawn = self._engine.sample(self._cursor, count, samplings, self._biases(texts)).ids
        self.characters += drawn.size
        self._tell(texts, told, before, drawn)
        written, going = [], []
        for row, text in enumerate(texts):
            part = self._take(text, drawn[row])
            if part is not None:
                written.append(part)
            if text.writer.done:
                self._end(text, row, part)
            else:
                going.append(row)
        self._keep_rows(going)
        return written

    def _biases(self, texts: Sequence[_Text]) -> NDArray[np.float32] | None:
        if all(text.bias is None for text in texts):
            return None
        none = np.zeros(len(self._vocabulary), np.float32)
        return np.stack([none if text.bias is None else text.bias for text in texts])

    def _tell(self, texts: Sequence[_Text], told: list[int], before: Cursor, drawn: NDArray[np.int32]) -> None:
        """Look again at what was drawn for some of the texts, and add what each character cost to what they tell."""
        if not told:
            return
        after, _ = self._engine.forward(drawn[told], before.state)
        log_probs = log_softmax(np.concatenate([before.logits[:, None], after[:, :-1]], axis=1))
        for i, row in enumerate(told):
            text = texts[row]
            best = np.argsort(-log_probs[i], axis=1, kind="stable")[:, : text.writing.guesses]
            for id_, costs, likeliest in zip(drawn[row].tolist(), log_probs[i], best.tolist(), strict=True):
                pairs = tuple((self._vocabulary.characters[j], float(costs[j])) for j in likeliest)
                text.tokens.append(Token(self._vocabulary.characters[id_], float(costs[id_]), pairs))

    def _take(self, text: _Text, ids: NDArray[np.int32]) -> SequenceOutput | None:
        """Return what can be shown of a text after these ids, if anything."""
        text.drawn.append(ids)
        text.left -= len(ids)
        piece, tokens = text.writer.take(ids, None, text.left == 0), None
        if piece is None:
            return None
        if text.writing.guesses is not None:
            tokens, text.tokens = tuple(text.tokens[: len(piece.text)]), text.tokens[len(piece.text) :]
        return SequenceOutput(text.key, piece.text, piece.finish_reason, tokens)

    def _end(self, text: _Text, row: int, part: SequenceOutput | None) -> None:
        """Forget a text that has ended; what is behind it is kept, unless a stop string cut it short."""
        assert self._cursor is not None
        if part is not None and part.finish_reason == "length":
            ids, here = text.ids(), self._cursor.rows([row])
            self.cache.put(ids, PrefixState(len(ids), here.logits, here.state))
        del self._texts[text.key]

    def _keep_rows(self, rows: list[int]) -> None:
        if len(rows) < len(self._writing):
            assert self._cursor is not None
            self._writing = [self._writing[row] for row in rows]
            self._cursor = self._cursor.rows(rows) if rows else None
