"""Continuous batching for the server: one worker thread per model generates the texts of all requests together.

Two threads share the work. Each attribute is used by only one of them, or is guarded by ``_wake``::

    event loop (asyncio)                                worker thread, one per model
    --------------------------------------------        -----------------------------------------------
    submit() --- _post_to_worker(start) -------------->  _run(): loop over
    score()  --- append to _score_queue ------------->           1. the posted commands,
    Job.cancel() --- _post_to_worker(remove) -------->           2. one step of the batch,
                                                                 3. one block of one text to score
    Job.next() --- _post_to_worker(job._resume) ----->
    job._deliver() <-------- _post_to_loop(_deliver) --  _publish(): the new characters of each job
    future.set_result() <----------- _post_to_loop ----  _score_next_block(): the scores of a finished text

Backpressure: the worker pauses a job when more than ``max_unread`` characters are waiting for its client, and
``Job.next`` resumes it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CharloomError
from charloom.inference.batching import ContinuousBatch, SequenceOutput, SequenceRequest
from charloom.inference.log_probs import log_softmax
from charloom.inference.model import Model

_BLOCK = 256  # characters that are scored between two steps of the batch


class Overloaded(CharloomError):
    """Too many texts are being generated or waiting."""


class ShuttingDown(CharloomError):
    """The server is shutting down."""


@dataclass(frozen=True)
class TextScores:
    """Log-probabilities of the ids of a text, and the top-k predictions at each position.

    Attributes:
        log_probs: Natural logarithm of the probability of each id except the first, given all preceding ids, (T - 1,).
        top_ids: The k most likely next ids after each id, in descending order, (T, k).
        top_log_probs: Log-probabilities of ``top_ids``, (T, k).
    """

    log_probs: NDArray[np.float64]
    top_ids: NDArray[np.intp]
    top_log_probs: NDArray[np.float64]


@dataclass
class Stats:
    """Statistics of one model: totals since the start; current values of ``active``, ``waiting``, ``cached_states``."""

    requests: int = 0
    characters: int = 0
    prompt_characters: int = 0
    active: int = 0
    waiting: int = 0
    cached_states: int = 0
    cache_hits: int = 0


class Job:
    """The texts of one request while they are generated.

    Args:
        scheduler: The scheduler that generates them.
        count: Number of texts.
        max_unread: Number of unread characters at which generation pauses.
    """

    def __init__(self, scheduler: "Scheduler", count: int, max_unread: int) -> None:
        self._scheduler, self._max_unread = scheduler, max_unread
        self._num_open = count  # unfinished texts
        self._num_generated = self._num_read = 0  # characters; the worker writes the first, the event loop the second
        self._paused = self._cancelled = False
        self._parts: dict[int, list[SequenceOutput]] = {}
        self._error: CharloomError | None = None
        self._changed = asyncio.Event()
        self.keys: list[int] = []

    async def next(self) -> list[SequenceOutput]:
        """Wait for new characters, and return one output for each text that has some.

        ``SequenceOutput.key`` is the index of the text in the job.

        Raises:
            StopAsyncIteration: If all texts are finished.
            CharloomError: If generation failed, or the server is shutting down.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if not self._num_open:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        parts, self._parts = self._parts, {}
        self._num_read += sum(len(output.text) for outputs in parts.values() for output in outputs)
        if self._paused:
            self._paused = False
            self._scheduler._post_to_worker(self._resume)
        return [_join(index, outputs) for index, outputs in sorted(parts.items())]

    def cancel(self) -> None:
        """Stop generating and discard pending output."""
        if not self._cancelled:
            self._cancelled = True
            self._scheduler._remove(self)

    def _deliver(self, index: int, part: SequenceOutput) -> None:
        """Store new characters of a text for ``next``. Runs on the event loop."""
        self._parts.setdefault(index, []).append(part)
        self._num_open -= part.finish_reason is not None
        self._changed.set()

    def _pause_if_unread(self, part: SequenceOutput, batch: ContinuousBatch) -> None:
        """Pause if too many characters are unread. Runs on the worker, so that it also limits a slow event loop."""
        self._num_generated += len(part.text)
        if self._num_generated - self._num_read > self._max_unread and not self._paused:
            self._paused = True
            for key in self.keys:
                batch.pause(key)

    def _resume(self, batch: ContinuousBatch) -> None:
        for key in self.keys:
            batch.resume(key)

    def _fail(self, error: CharloomError) -> None:
        self._error = error
        self._changed.set()


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The server is shutting down.", code="closing")


def _join(index: int, parts: Sequence[SequenceOutput]) -> SequenceOutput:
    """Join consecutive outputs of one text."""
    tokens = None if parts[0].tokens is None else tuple(token for part in parts for token in part.tokens or ())
    return SequenceOutput(index, "".join(part.text for part in parts), parts[-1].finish_reason, tokens)


class Scheduler:
    """Generates and scores texts for many requests with one model, on a worker thread.

    All public methods must be called on the event loop.

    Args:
        model: The model.
        precision: Precision of generation; see ``Model.stream``.
        max_sequences: Maximum number of texts generated at the same time.
        max_waiting: Maximum number of further texts in the queue.
        max_unread: Number of unread characters at which a job pauses.
    """

    def __init__(
        self,
        model: Model,
        *,
        precision: str = "auto",
        max_sequences: int = 64,
        max_waiting: int = 64,
        max_unread: int = 16_384,
    ) -> None:
        self.model = model
        self.stats = Stats()
        self._max_texts, self._max_unread = max_sequences + max_waiting, max_unread
        self._batch = ContinuousBatch(model.engine_for(precision), model.vocabulary, max_sequences)
        self._scoring_engine = model.engine("float32")
        self._owners: dict[int, tuple[Job, int]] = {}  # job and text index of each sequence, by key; worker only
        self._jobs: set[Job] = set()  # unfinished jobs; event loop only, like _texts
        self._texts = 0  # unfinished texts of all jobs
        self._score_queue: deque[tuple[Iterator[TextScores | None], asyncio.Future[TextScores]]] = deque()
        self._commands: list[Callable[[ContinuousBatch], object]] = []  # guarded by _wake, like _score_queue
        self._wake = threading.Condition()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="charloom scheduler", daemon=True)

    def start(self) -> None:
        """Start the worker thread, and bind the scheduler to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop the worker thread, and fail all unfinished jobs with ``ShuttingDown``."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._fail_all(_shutting_down())

    def submit(self, requests: Sequence[SequenceRequest]) -> Job:
        """Queue texts for generation and return at once. The job's ``next`` returns the generated parts.

        Raises:
            Overloaded: If too many texts are being generated or waiting.
            ShuttingDown: If the server is shutting down.
            SettingsError: If a request is invalid.
            UnknownCharacterError: If the sampling options contain a character that is not in the vocabulary.
        """
        if self._closing:
            raise _shutting_down()
        for request in requests:
            self._batch.check(request)
        if self._texts + len(requests) > self._max_texts:
            raise Overloaded(
                f"Too many requests: {self._texts} texts are being generated or waiting, and the limit is "
                f"{self._max_texts}. Retry later.",
                code="too_many_requests",
                texts=self._texts,
                limit=self._max_texts,
            )
        job = Job(self, len(requests), self._max_unread)
        self._jobs.add(job)
        self._texts += len(requests)
        self.stats.requests += 1

        def start(batch: ContinuousBatch) -> None:
            for index, request in enumerate(requests):
                key = batch.add(request)
                job.keys.append(key)
                self._owners[key] = job, index

        self._post_to_worker(start)
        return job

    async def score(self, ids: NDArray[np.integer], top_k: int = 0) -> TextScores:
        """Score a text in float32, one block at a time between the steps of the batch.

        Args:
            ids: The ids of the text, (T,), T >= 1.
            top_k: Number of top predictions to return for each position.

        Raises:
            ShuttingDown: If the server is shutting down.
        """
        if self._closing:
            raise _shutting_down()
        future: asyncio.Future[TextScores] = asyncio.get_running_loop().create_future()
        with self._wake:
            self._score_queue.append((self._score_in_blocks(ids, top_k), future))
            self._wake.notify()
        return await future

    def _score_in_blocks(self, ids: NDArray[np.integer], top_k: int) -> Iterator[TextScores | None]:
        """Yield None after each block of a text, and finally the scores."""
        state = self._scoring_engine.initial_state(1)
        log_probs, top_ids, top_log_probs = np.empty(len(ids)), [], []
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            logits, state = self._scoring_engine.forward(block[None], state)
            predictions = log_softmax(logits[0])
            targets = ids[start + 1 : start + 1 + _BLOCK].astype(np.intp)
            log_probs[start : start + len(targets)] = predictions[np.arange(len(targets)), targets]
            top_ids.append(np.argsort(-predictions if top_k else predictions[:, :0], axis=1, kind="stable")[:, :top_k])
            top_log_probs.append(np.take_along_axis(predictions, top_ids[-1], axis=1))
            yield None
        yield TextScores(log_probs[: len(ids) - 1], np.concatenate(top_ids), np.concatenate(top_log_probs))

    def _post_to_worker(self, command: Callable[[ContinuousBatch], object]) -> None:
        """Queue a function that the worker calls with its batch before the next step."""
        with self._wake:
            self._commands.append(command)
            self._wake.notify()

    def _remove(self, job: Job) -> None:
        def remove(batch: ContinuousBatch) -> None:
            for key in job.keys:
                batch.remove(key)
                self._owners.pop(key, None)

        self._jobs.discard(job)
        self._texts -= job._num_open
        job._num_open = 0
        self._post_to_worker(remove)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._commands or self._score_queue or self._closing) and self._batch.idle:
                    self._wake.wait()
                if self._closing:
                    return
                commands, self._commands = self._commands, []
            for command in commands:
                command(self._batch)
            try:
                outputs = self._batch.step()
                self._score_next_block()
            except Exception as error:  # a bug: fail all jobs, so that no client waits forever
                self._post_to_loop(self._abort, error)
                raise
            self._update_stats()
            if outputs:
                self._publish(outputs)

    def _publish(self, outputs: Sequence[SequenceOutput]) -> None:
        parts = [(*self._owners[part.key], part) for part in outputs]
        for job, _, part in parts:
            job._pause_if_unread(part, self._batch)
            if part.finish_reason is not None:
                del self._owners[part.key]
        self._post_to_loop(self._deliver, parts)

    def _score_next_block(self) -> None:
        """Score one block of the first text in the queue, then move the text to the end of the queue."""
        with self._wake:
            if not self._score_queue:
                return
            blocks, future = self._score_queue[0]
        scores = None if future.cancelled() else next(blocks)
        with self._wake:
            self._score_queue.popleft()
            if scores is None and not future.cancelled():
                self._score_queue.append((blocks, future))
        if scores is not None:
            self._post_to_loop(lambda: None if future.done() else future.set_result(scores))

    def _post_to_loop(self, function: Callable[..., object], *arguments: object) -> None:
        """Schedule a function call on the event loop; do nothing if the loop is closed."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _deliver(self, parts: Sequence[tuple[Job, int, SequenceOutput]]) -> None:
        for job, index, part in parts:
            if not job._cancelled:
                self._texts -= part.finish_reason is not None
                job._deliver(index, replace(part, key=index))
                if not job._num_open:
                    self._jobs.discard(job)

    def _abort(self, error: Exception) -> None:
        self._closing = True
        self._fail_all(CharloomError(f"Generation failed: {error}.", code="generation_failed", reason=str(error)))

    def _fail_all(self, error: CharloomError) -> None:
        """Fail all jobs and scoring requests. Runs on the event loop, after the worker has stopped."""
        for job in self._jobs:
            job._fail(error)
        self._jobs.clear()
        for _, future in self._score_queue:
            if not future.done():
                future.set_exception(error)
        self._score_queue.clear()

    def _update_stats(self) -> None:
        batch, stats = self._batch, self.stats
        stats.characters, stats.prompt_characters = batch.characters, batch.prompt_characters
        stats.active, stats.waiting = batch.active, len(batch) - batch.active
        stats.cached_states, stats.cache_hits = len(batch.cache), batch.cache_hits
