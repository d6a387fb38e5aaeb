"""Continuous batching: sequences join and leave a batch while the other sequences are generated.

All sequences of a batch advance by the same number of characters per step. A sequence does not depend on the rest of
the batch: each row is computed exactly as in a batch of one, and sampled with its own seed and position.
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

_DECODE_BUDGET = 1024  # characters sampled per step over all sequences: a step takes a few milliseconds
_PREFILL_BUDGET = 256  # prompt characters processed per step over all sequences
_CACHE_BYTES = 64 << 20  # size of the prefix cache


@dataclass(frozen=True)
class SequenceRequest:
    """A request to generate one sequence.

    Attributes:
        prompt: Ids of the prompt, (T,), T >= 1; ``prompt_ids`` encodes a text.
        length: Maximum number of ids to sample; 0 or more.
        sampling: Sampling options.
        ending: Stop conditions.
        seed: Seed; the same seed gives the same text.
        bias: Values added to the logits, by id.
        top_logprobs: Number of most probable characters to report at each position, 0 or more. The log-probability of
            the sampled character is reported too. None reports neither.
    """

    prompt: NDArray[np.integer]
    length: int
    sampling: Sampling = field(default_factory=Sampling)
    ending: Ending = field(default_factory=Ending)
    seed: int = 0
    bias: Mapping[int, float] | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class Token:
    """A generated character.

    Attributes:
        text: The character.
        log_prob: Log-probability (natural logarithm) under the model, before bias, temperature and filters.
        top_logprobs: The most probable characters at this position with their log-probabilities, in descending order.
    """

    text: str
    log_prob: float
    top_logprobs: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class SequenceOutput:
    """The next part of a generated text, to be appended to the previous parts.

    Attributes:
        key: Key of the sequence, as returned by ``ContinuousBatch.add``.
        text: Complete characters that cannot belong to a stop sequence.
        finish_reason: None until the last part; then "length" or "stop".
        tokens: The characters of ``text`` with log-probabilities, if requested; else None.
    """

    key: int
    text: str
    finish_reason: str | None = None
    tokens: tuple[Token, ...] | None = None


class _ActiveSequence:
    """A sequence that is waiting, in prefill, in decode or paused.

    Args:
        key: Key of the sequence.
        request: The request.
        vocabulary: The model's vocabulary.
        bias: Bias on the logits, (V,), or None.

    Attributes:
        remaining: Number of ids still to sample.
        prefix: State after the processed part of the prompt; None before prefill.
        cursor: Position of the sequence while it is outside the batch's cursor; None inside it and before prefill ends.
    """

    def __init__(
        self, key: int, request: SequenceRequest, vocabulary: Vocabulary, bias: NDArray[np.float32] | None
    ) -> None:
        self.key, self.request, self.bias = key, request, bias
        self.remaining = request.length
        self.streamer = TextStreamer(0, StopMatcher(request.ending), vocabulary)
        self.sampled: list[NDArray[np.int32]] = []
        self.tokens: list[Token] = []
        self.prefix: PrefixState | None = None
        self.cursor: Cursor | None = None

    def ids(self) -> NDArray[np.integer]:
        """Return the ids of the prompt and of all sampled characters."""
        return np.concatenate([self.request.prompt, *self.sampled])


class ContinuousBatch:
    """Generates many sequences with one model, a few characters per step.

    The states of a sequence::

        add() -> waiting -> prefilling -> decoding -> finished
                    ^___________|____________|
                       resume() after pause()

    Args:
        engine: Runs the model.
        vocabulary: The model's vocabulary.
        max_active: Maximum number of sequences in prefill and decode; further ones wait.

    Attributes:
        cache: Model states after prompts and finished texts.
        cache_hits: Number of sequences whose prompt had a cached prefix.
        characters: Number of characters sampled so far.
        prompt_characters: Number of prompt characters processed so far.
    """

    def __init__(self, engine: Engine, vocabulary: Vocabulary, max_active: int = 64) -> None:
        self.cache = PrefixCache(_CACHE_BYTES)
        self.characters = self.prompt_characters = self.cache_hits = 0
        self._engine, self._vocabulary, self._max_active = engine, vocabulary, max_active
        self._sequences: dict[int, _ActiveSequence] = {}
        self._waiting: deque[int] = deque()
        self._prefilling: deque[int] = deque()
        self._decoding: list[int] = []
        self._cursor: Cursor | None = None  # rows are in the order of _decoding
        self._next_key = 0

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def active(self) -> int:
        """Number of sequences in prefill and decode."""
        return len(self._prefilling) + len(self._decoding)

    @property
    def idle(self) -> bool:
        """Whether ``step`` has nothing to do: there are no sequences, or all are paused."""
        return not (self._waiting or self._prefilling or self._decoding)

    def add(self, request: SequenceRequest) -> int:
        """Add a sequence and return its key.

        Raises:
            SettingsError: If a value is out of range, or ``top_logprobs`` is requested from a byte model.
            UnknownCharacterError: If an allowed or forbidden character is not in the vocabulary.
        """
        sequence = _ActiveSequence(self._next_key, request, self._vocabulary, self.check(request))
        self._next_key += 1
        self._sequences[sequence.key] = sequence
        self._waiting.append(sequence.key)
        return sequence.key

    def check(self, request: SequenceRequest) -> NDArray[np.float32] | None:
        """Validate a request as ``add`` does; return its bias on the logits, (V,), or None. Thread-safe."""
        check_length(request.length)
        check_seed(request.seed)
        if request.top_logprobs is not None and self._vocabulary.unit != "char":
            raise SettingsError(
                "top_logprobs is not supported for byte models, only for character models.",
                code="unsupported_logprobs",
            )
        bias = allowed_bias(self._vocabulary, request.sampling)
        if request.bias:
            bias = np.zeros(len(self._vocabulary), np.float32) if bias is None else bias
            bias[list(request.bias)] += np.array(list(request.bias.values()), np.float32)
        return bias

    def remove(self, key: int) -> None:
        """Remove a sequence in any state; do nothing if it has finished."""
        self._deactivate(key)
        self._sequences.pop(key, None)

    def pause(self, key: int) -> None:
        """Suspend a sequence until ``resume`` and free its place in the batch."""
        self._deactivate(key)

    def resume(self, key: int) -> None:
        """Queue a paused sequence for the next free place in the batch."""
        if key in self._sequences and key not in (*self._waiting, *self._prefilling, *self._decoding):
            self._waiting.append(key)

    def _deactivate(self, key: int) -> None:
        for queue in (self._waiting, self._prefilling):
            if key in queue:
                queue.remove(key)
        if key in self._decoding:
            row = self._decoding.index(key)
            assert self._cursor is not None
            self._sequences[key].cursor = self._cursor.rows([row])
            self._keep_rows([kept for kept in range(len(self._decoding)) if kept != row])

    def step(self) -> list[SequenceOutput]:
        """Process the next part of the prompts, sample the next characters of all sequences, and return the outputs."""
        while self._waiting and self.active < self._max_active:
            self._prefilling.append(self._waiting.popleft())
        finished = self._prefill()
        return finished + (self._decode() if self._decoding else [])

    def _prefill(self) -> list[SequenceOutput]:
        """Process prompts in rotation up to the budget of a step; return the outputs of sequences of length 0."""
        budget, ready, finished = _PREFILL_BUDGET, [], []
        while self._prefilling and budget > 0:
            sequence = self._sequences[self._prefilling.popleft()]
            if sequence.cursor is None:
                budget -= self._prefill_part(sequence, budget)
            if sequence.cursor is None:
                self._prefilling.append(sequence.key)
            elif sequence.remaining:
                ready.append(sequence)
            else:
                del self._sequences[sequence.key]
                tokens = None if sequence.request.top_logprobs is None else ()
                finished.append(SequenceOutput(sequence.key, "", "length", tokens))
        self._join(ready)
        return finished

    def _prefill_part(self, sequence: _ActiveSequence, max_count: int) -> int:
        """Process the next part of a prompt, starting from the cache; return the number of characters processed."""
        prompt, prefix = sequence.request.prompt, self._longest_prefix(sequence)
        part = prompt[prefix.length : prefix.length + max_count]
        if len(part):
            logits, state = self._engine.forward(part[None], prefix.state, last=True)
            prefix = PrefixState(prefix.length + len(part), logits[:, -1], state)
            self.cache.put(prompt[: prefix.length], prefix)
            self.prompt_characters += len(part)
        sequence.prefix = prefix
        if prefix.length == len(prompt):
            seeds = np.array([sequence.request.seed], np.uint64)
            sequence.cursor = cursor_after(prompt, prefix.logits, prefix.state, sequence.request.sampling, seeds)
        return len(part)

    def _longest_prefix(self, sequence: _ActiveSequence) -> PrefixState:
        """Return the state after the longest processed or cached prefix of a prompt."""
        cached = self.cache.longest(sequence.request.prompt)
        if sequence.prefix is None:
            self.cache_hits += cached is not None
            sequence.prefix = PrefixState(0, np.empty((1, 0), np.float32), self._engine.initial_state(1))
        # another sequence with the same prefix may be further than this one
        return cached if cached is not None and cached.length > sequence.prefix.length else sequence.prefix

    def _join(self, sequences: Sequence[_ActiveSequence]) -> None:
        """Move sequences from prefill to decode."""
        if not sequences:
            return
        cursors = [sequence.cursor for sequence in sequences if sequence.cursor is not None]
        self._cursor = Cursor.joined([self._cursor, *cursors] if self._cursor else cursors)
        self._decoding += [sequence.key for sequence in sequences]
        for sequence in sequences:
            sequence.cursor = None

    def _decode(self) -> list[SequenceOutput]:
        """Sample the next characters of all sequences in decode, and remove the finished ones."""
        assert self._cursor is not None
        sequences = [self._sequences[key] for key in self._decoding]
        count = min(
            max(1, _DECODE_BUDGET // len(sequences)),
            self._engine.chunk,
            *(sequence.remaining for sequence in sequences),
        )
        with_logprobs = [row for row, sequence in enumerate(sequences) if sequence.request.top_logprobs is not None]
        before = self._cursor.rows(with_logprobs)
        samplings = [sequence.request.sampling for sequence in sequences]
        sampled = self._engine.sample(self._cursor, count, samplings, self._biases(sequences)).ids
        self.characters += sampled.size
        self._attach_logprobs(sequences, with_logprobs, before, sampled)
        outputs, unfinished = [], []
        for row, sequence in enumerate(sequences):
            part = self._collect(sequence, sampled[row])
            if part is not None:
                outputs.append(part)
            if sequence.streamer.done:
                self._finish(sequence, row, part)
            else:
                unfinished.append(row)
        self._keep_rows(unfinished)
        return outputs

    def _biases(self, sequences: Sequence[_ActiveSequence]) -> NDArray[np.float32] | None:
        if all(sequence.bias is None for sequence in sequences):
            return None
        zeros = np.zeros(len(self._vocabulary), np.float32)
        return np.stack([zeros if sequence.bias is None else sequence.bias for sequence in sequences])

    def _attach_logprobs(
        self, sequences: Sequence[_ActiveSequence], rows: list[int], before: Cursor, sampled: NDArray[np.int32]
    ) -> None:
        """Compute tokens for the sampled ids of some rows, with a second forward pass over these ids."""
        if not rows:
            return
        after, _ = self._engine.forward(sampled[rows], before.state)
        log_probs = log_softmax(np.concatenate([before.logits[:, None], after[:, :-1]], axis=1))
        for i, row in enumerate(rows):
            sequence = sequences[row]
            best = np.argsort(-log_probs[i], axis=1, kind="stable")[:, : sequence.request.top_logprobs]
            for id_, position, best_ids in zip(sampled[row].tolist(), log_probs[i], best.tolist(), strict=True):
                pairs = tuple((self._vocabulary.characters[j], float(position[j])) for j in best_ids)
                sequence.tokens.append(Token(self._vocabulary.characters[id_], float(position[id_]), pairs))

    def _collect(self, sequence: _ActiveSequence, ids: NDArray[np.int32]) -> SequenceOutput | None:
        """Add sampled ids to a sequence; return its next output, or None if no character can be shown yet."""
        sequence.sampled.append(ids)
        sequence.remaining -= len(ids)
        piece, tokens = sequence.streamer.take(ids, None, sequence.remaining == 0), None
        if piece is None:
            return None
        if sequence.request.top_logprobs is not None:
            tokens, sequence.tokens = tuple(sequence.tokens[: len(piece.text)]), sequence.tokens[len(piece.text) :]
        return SequenceOutput(sequence.key, piece.text, piece.finish_reason, tokens)

    def _finish(self, sequence: _ActiveSequence, row: int, part: SequenceOutput | None) -> None:
        """Remove a finished sequence; cache the state after it unless a stop condition ended it."""
        assert self._cursor is not None
        if part is not None and part.finish_reason == "length":
            ids, cursor = sequence.ids(), self._cursor.rows([row])
            self.cache.put(ids, PrefixState(len(ids), cursor.logits, cursor.state))
        del self._sequences[sequence.key]

    def _keep_rows(self, rows: list[int]) -> None:
        if len(rows) < len(self._decoding):
            assert self._cursor is not None
            self._decoding = [self._decoding[row] for row in rows]
            self._cursor = self._cursor.rows(rows) if rows else None
