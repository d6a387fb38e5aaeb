"""``/v1/completions``: from a request to texts that are written, and from their parts to OpenAI's JSON and events."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from charloom.errors import CharloomError
from charloom.inference.batching import SequenceOutput, SequenceRequest
from charloom.inference.generation import random_seed
from charloom.inference.generation_options import Ending, Sampling
from charloom.inference.sampling import sample_seeds
from charloom.serve.completions.choices import Choices
from charloom.serve.completions.prompts import Prompt, make_prompts
from charloom.serve.errors import ApiError, to_api_error
from charloom.serve.models import ModelRegistry, ServedModel
from charloom.serve.responses import DONE, EventStreamResponse, JsonResponse, server_sent_event
from charloom.serve.scheduler import Job
from charloom.serve.schema import CompletionRequest
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import parse_request


async def complete(models: ModelRegistry, limits: Limits, request: Request) -> Response:
    """Answer a request for continuations."""
    asked = await parse_request(request, CompletionRequest)
    _check_together(asked, limits)
    served = models.find(asked.model)
    prompts = await make_prompts(served, asked)
    task = _Task(served, asked, prompts, random_seed() if asked.seed is None else asked.seed)
    job = served.scheduler.submit(task.writings())
    if asked.stream:
        return EventStreamResponse(_events(task, job, limits.event_seconds), job.cancel)
    try:
        return JsonResponse(await _whole(task, job))
    finally:
        job.cancel()


def _check_together(asked: CompletionRequest, limits: Limits) -> None:
    """Raise ``ApiError`` if fields that are right by themselves do not go together."""
    tried = asked.n if asked.best_of is None else asked.best_of
    texts = len(asked.prompt) * tried
    if tried < asked.n:
        raise _wrong("best_of", f"best_of must be n or more, {asked.n} here; got {tried}.")
    if asked.stream and tried > asked.n:
        raise _wrong("best_of", "best_of above n cannot be streamed: which texts are the best is known at their end.")
    if asked.stream_options is not None and not asked.stream:
        raise _wrong("stream_options", "stream_options are of a stream alone: add stream, or leave them out.")
    if texts > limits.texts:
        raise _wrong("n", f"One request may ask for {limits.texts} texts, prompts times n or best_of; got {texts}.")
    if texts * asked.max_tokens > limits.characters:
        message = (
            f"One request may ask for {limits.characters:,} characters, prompts times n or best_of times max_tokens; "
            f"got {texts * asked.max_tokens:,}."
        )
        raise _wrong("max_tokens", message)


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_value")


@dataclass(frozen=True)
class _Task:
    """A request as it is carried out.

    Attributes:
        served: With which model.
        asked: What was asked for.
        prompts: What each text goes on from.
        seed: Of the first text of each prompt.
    """

    served: ServedModel
    asked: CompletionRequest
    prompts: Sequence[Prompt]
    seed: int

    @property
    def tried(self) -> int:
        """How many texts are written for each prompt."""
        return self.asked.n if self.asked.best_of is None else self.asked.best_of

    def writings(self) -> list[SequenceRequest]:
        """Return the texts to be written: those of the first prompt, then those of the next.

        Raises:
            SettingsError: If a number is out of range.
        """
        asked = self.asked
        self.served.check_ids(list(asked.logit_bias), "logit_bias")
        sampling = Sampling(
            asked.temperature,
            asked.top_k,
            asked.top_p,
            asked.min_p,
            asked.repetition_penalty,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
        )
        ending, bias, guesses = Ending(asked.stop), dict(asked.logit_bias) or None, self._guesses()
        seeds = sample_seeds(self.seed, self.tried)
        return [
            SequenceRequest(
                # where nothing is written, nothing needs to be read
                prompt.read if asked.max_tokens else prompt.read[:1],
                asked.max_tokens,
                sampling,
                ending,
                seed,
                bias,
                guesses,
            )
            for prompt in self.prompts
            for seed in seeds
        ]

    def _guesses(self) -> int | None:
        """Return how many guesses the writing must tell, or None if not even what its characters cost is needed."""
        if self.asked.max_tokens == 0 or (self.asked.logprobs is None and self.tried == self.asked.n):
            return None
        return min(self.asked.logprobs or 0, len(self.served.model.vocabulary))

    def head(self) -> dict[str, Any]:
        """Return what all parts of an answer have in common."""
        return {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
            "seed": self.seed,
        }

    def usage(self, written: int) -> dict[str, int]:
        """Return how much was read and written."""
        read = sum(prompt.size for prompt in self.prompts)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def size(self, text: str) -> int:
        """Return how many ids a text has."""
        sizes = self.served.model.vocabulary.sizes(text)
        return len(text) if sizes is None else int(sizes.sum())


async def _parts(job: Job) -> AsyncIterator[list[SequenceOutput]]:
    """Yield what is written, as often as there is something."""
    while True:
        try:
            parts = await job.next()
        except StopAsyncIteration:
            return
        yield parts


async def _whole(task: _Task, job: Job) -> dict[str, Any]:
    """Return the answer when all texts have ended."""
    asked, tried = task.asked, task.tried
    choices = Choices(task.prompts, tried, asked.echo, asked.logprobs is not None)
    costs = np.zeros(len(task.prompts) * tried)
    counts = np.zeros(len(costs))
    texts: list[list[dict[str, Any]]] = [[choices.beginning(index)] for index in range(len(costs))]
    written = 0
    async for parts in _parts(job):
        for part in parts:
            texts[part.key].append(choices.take(part))
            written += task.size(part.text)
            costs[part.key] += sum(token.log_prob for token in part.tokens or ())
            counts[part.key] += len(part.tokens or ())
    found = [choices.joined(parts) for parts in texts]
    means = np.where(counts, costs / np.maximum(counts, 1), -np.inf)  # an empty text is the last choice
    kept = [found[i] for i in _best(means, asked.n, tried)]
    for index, choice in enumerate(kept):
        choice["index"] = index
    return {**task.head(), "choices": kept, "usage": task.usage(written)}


def _best(means: Any, kept: int, tried: int) -> list[int]:
    """Return the places of the texts that are answered: of each prompt the likeliest a character, the best first."""
    if kept == tried:
        return list(range(len(means)))
    rows = np.argsort(-means.reshape(-1, tried), axis=1, kind="stable")[:, :kept]
    return [int(place) + tried * row for row, places in enumerate(rows) for place in places]


async def _events(task: _Task, job: Job, seconds: float) -> AsyncIterator[bytes]:
    """Yield the events of a stream; an error that ends it is the last."""
    asked, head, written = task.asked, task.head(), 0
    left = len(task.prompts) * asked.n
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    if with_usage:
        head["usage"] = None
    choices = Choices(task.prompts, task.tried, asked.echo, asked.logprobs is not None)
    if asked.echo:
        yield b"".join(server_sent_event({**head, "choices": [choices.beginning(index)]}) for index in range(left))
    try:
        async for parts in _parts(job):
            written += sum(task.size(part.text) for part in parts)
            yield b"".join(server_sent_event({**head, "choices": [choices.take(part)]}) for part in parts)
            left -= sum(part.finish_reason is not None for part in parts)
            if left:
                await asyncio.sleep(seconds)
    except CharloomError as error:
        yield server_sent_event(to_api_error(error).to_dict())
        return
    if with_usage:
        yield server_sent_event({**head, "choices": [], "usage": task.usage(written)})
    yield DONE
