"""One model's thread: it draws for all requests together; the event loop hands what was written to those who wait."""

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

_BLOCK = 256  # characters of a text that are read between two steps of the writers


class Overloaded(CharloomError):
    """Too much is waiting already."""


class ShuttingDown(CharloomError):
    """The server ends."""


@dataclass(frozen=True)
class TextScores:
    """What a model makes of a text.

    Attributes:
        log_probs: Of every id but the first, given all before it, from the zero state: natural logarithms, (T - 1,).
        likeliest_ids: The likeliest ids after each, the likeliest first, (T, k).
        likeliest_log_probs: Theirs, (T, k).
    """

    log_probs: NDArray[np.float64]
    likeliest_ids: NDArray[np.intp]
    likeliest_log_probs: NDArray[np.float64]


@dataclass
class Stats:
    """Numbers of one model since it was started; ``active``, ``waiting`` and ``cached_states`` are of this moment."""

    requests: int = 0
    characters: int = 0
    prompt_characters: int = 0
    active: int = 0
    waiting: int = 0
    cached_states: int = 0
    cache_hits: int = 0


class Job:
    """The texts of one request; of its methods only those without an underscore are for others.

    Args:
        scheduler: Whose thread writes them.
        count: How many texts.
        most_unread: How many characters may wait to be taken before the texts pause.
    """

    def __init__(self, scheduler: "Scheduler", count: int, most_unread: int) -> None:
        self._scheduler, self._most_unread = scheduler, most_unread
        self._open = count
        self._written = self._taken = 0  # characters: the thread adds to the first alone, the event loop to the second
        self._paused = self._cancelled = False
        self._parts: dict[int, list[SequenceOutput]] = {}
        self._error: CharloomError | None = None
        self._news = asyncio.Event()
        self.keys: list[int] = []

    async def next(self) -> list[SequenceOutput]:
        """Return all that was written since the last call, one part for each text of which there is any.

        ``Written.key`` is the text's place among the job's writings.

        Raises:
            StopAsyncIteration: If all texts have ended.
            CharloomError: If they cannot be written to their end.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if not self._open:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        parts, self._parts = self._parts, {}
        self._taken += sum(len(one.text) for part in parts.values() for one in part)
        if self._paused:
            self._paused = False
            self._scheduler._tell(self._resume)
        return [_joined(place, part) for place, part in sorted(parts.items())]

    def cancel(self) -> None:
        """Write no more of it."""
        if not self._cancelled:
            self._cancelled = True
            self._scheduler._leave(self)

    def _take(self, place: int, part: SequenceOutput) -> None:
        """Take what was written of a text; called on the event loop."""
        self._parts.setdefault(place, []).append(part)
        self._open -= part.finish_reason is not None
        self._news.set()

    def _wrote(self, part: SequenceOutput, batch: ContinuousBatch) -> None:
        """Count what was written; called on the thread, so that a slow event loop stops it, too."""
        self._written += len(part.text)
        if self._written - self._taken > self._most_unread and not self._paused:
            self._paused = True
            for key in self.keys:
                batch.pause(key)

    def _resume(self, batch: ContinuousBatch) -> None:
        for key in self.keys:
            batch.resume(key)

    def _fail(self, error: CharloomError) -> None:
        self._error = error
        self._news.set()


def _joined(place: int, parts: Sequence[SequenceOutput]) -> SequenceOutput:
    """Return several parts of one text as one."""
    tokens = None if parts[0].tokens is None else tuple(token for part in parts for token in part.tokens or ())
    return SequenceOutput(place, "".join(part.text for part in parts), parts[-1].finish_reason, tokens)


class Scheduler:
    """Writes for many requests with one model, on a thread of its own; everything else is called on the event loop.

    Args:
        model: The model.
        precision: See ``Model.pieces``.
        most_writings: How many texts are written at once.
        most_waiting: How many more may wait.
        most_unread: How many characters of a job may wait to be taken before it pauses.
    """

    def __init__(
        self,
        model: Model,
        *,
        precision: str = "auto",
        most_writings: int = 64,
        most_waiting: int = 64,
        most_unread: int = 16_384,
    ) -> None:
        self.model = model
        self.stats = Stats()
        self._most, self._most_unread = most_writings + most_waiting, most_unread
        self._batch = ContinuousBatch(model.engine_for(precision), model.vocabulary, most_writings)
        self._judge = model.engine("float32")
        self._places: dict[int, tuple[Job, int]] = {}  # by key: whose text it is, and which of them; the thread's alone
        self._jobs: set[Job] = set()  # those that have not ended; the event loop's, as is the number of their texts
        self._texts = 0
        self._readings: deque[tuple[Iterator[TextScores | None], asyncio.Future[TextScores]]] = deque()
        self._commands: list[Callable[[ContinuousBatch], object]] = []
        self._news = threading.Condition()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="charloom writers", daemon=True)

    def start(self) -> None:
        """Begin; on the event loop that will be asked."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """End all jobs, and the thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()
        self._fail_all(ShuttingDown("The server ends."))

    def submit(self, writings: Sequence[SequenceRequest]) -> Job:
        """Begin to write texts.

        Raises:
            Overloaded: If too many are under way.
            SettingsError: If a writing is not possible.
            UnknownCharacterError: If a character that is allowed or forbidden is not known.
        """
        if self._closing:
            raise ShuttingDown("The server ends.")
        for writing in writings:
            self._batch.check(writing)
        if self._texts + len(writings) > self._most:
            raise Overloaded(
                f"{self._texts} texts are written or wait already; at most {self._most} may. Try again soon."
            )
        job = Job(self, len(writings), self._most_unread)
        self._jobs.add(job)
        self._texts += len(writings)
        self.stats.requests += 1

        def begin(batch: ContinuousBatch) -> None:
            for place, writing in enumerate(writings):
                key = batch.add(writing)
                job.keys.append(key)
                self._places[key] = job, place

        self._tell(begin)
        return job

    async def read(self, ids: NDArray[np.integer], guesses: int = 0) -> TextScores:
        """Return what the model makes of a text, in float32; it is read a block at a time, between the writers' steps.

        Args:
            ids: (T,), T >= 1.
            guesses: k: how many of the likeliest to tell after each.
        """
        if self._closing:
            raise ShuttingDown("The server ends.")
        future: asyncio.Future[TextScores] = asyncio.get_running_loop().create_future()
        with self._news:
            self._readings.append((self._read(ids, guesses), future))
            self._news.notify()
        return await future

    def _read(self, ids: NDArray[np.integer], guesses: int) -> Iterator[TextScores | None]:
        """Yield None after each block of a text, and at its end what was made of it."""
        state = self._judge.initial_state(1)
        log_probs, likeliest, costs = np.empty(len(ids)), [], []
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            logits, state = self._judge.forward(block[None], state)
            exact = log_softmax(logits[0])
            targets = ids[start + 1 : start + 1 + _BLOCK].astype(np.intp)
            log_probs[start : start + len(targets)] = exact[np.arange(len(targets)), targets]
            likeliest.append(np.argsort(-exact if guesses else exact[:, :0], axis=1, kind="stable")[:, :guesses])
            costs.append(np.take_along_axis(exact, likeliest[-1], axis=1))
            yield None
        yield TextScores(log_probs[: len(ids) - 1], np.concatenate(likeliest), np.concatenate(costs))

    def _tell(self, command: Callable[[ContinuousBatch], object]) -> None:
        """Have the thread do something with its batch before its next step."""
        with self._news:
            self._commands.append(command)
            self._news.notify()

    def _leave(self, job: Job) -> None:
        def remove(batch: ContinuousBatch) -> None:
            for key in job.keys:
                batch.remove(key)
                self._places.pop(key, None)

        self._jobs.discard(job)
        self._texts -= job._open
        job._open = 0
        self._tell(remove)

    def _run(self) -> None:
        while True:
            with self._news:
                while not (self._commands or self._readings or self._closing) and self._batch.idle:
                    self._news.wait()
                if self._closing:
                    return
                commands, self._commands = self._commands, []
            for command in commands:
                command(self._batch)
            try:
                written = self._batch.step()
                self._read_on()
            except Exception as error:  # a defect of ours must not leave everybody waiting
                self._call(self._give_up, error)
                raise
            self._count()
            if written:
                self._hand_over(written)

    def _hand_over(self, written: Sequence[SequenceOutput]) -> None:
        parts = [(*self._places[part.key], part) for part in written]
        for job, _, part in parts:
            job._wrote(part, self._batch)
            if part.finish_reason is not None:
                del self._places[part.key]
        self._call(self._deliver, parts)

    def _read_on(self) -> None:
        """Read a block of the texts that are read, in turn."""
        with self._news:
            if not self._readings:
                return
            blocks, future = self._readings[0]
        found = None if future.cancelled() else next(blocks)
        with self._news:
            self._readings.popleft()
            if found is None and not future.cancelled():
                self._readings.append((blocks, future))
        if found is not None:
            self._call(lambda: None if future.done() else future.set_result(found))

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call something on the event loop, which may have ended."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _deliver(self, parts: Sequence[tuple[Job, int, SequenceOutput]]) -> None:
        for job, place, part in parts:
            if not job._cancelled:
                self._texts -= part.finish_reason is not None
                job._take(place, replace(part, key=place))
                if not job._open:
                    self._jobs.discard(job)

    def _give_up(self, error: Exception) -> None:
        self._closing = True
        self._fail_all(CharloomError(f"Writing failed: {error}"))

    def _fail_all(self, error: CharloomError) -> None:
        """Tell all who wait that nothing will come; called on the event loop when the thread has ended."""
        for job in self._jobs:
            job._fail(error)
        self._jobs.clear()
        for _, future in self._readings:
            if not future.done():
                future.set_exception(error)
        self._readings.clear()

    def _count(self) -> None:
        batch, stats = self._batch, self.stats
        stats.characters, stats.prompt_characters = batch.characters, batch.prompt_characters
        stats.active, stats.waiting = batch.active, len(batch) - batch.active
        stats.cached_states, stats.cache_hits = len(batch.cache), batch.cache_hits
