"""The handler of ``/v1/completions``: validates a request, generates, and responds with JSON or an event stream."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from charloom.errors import CharloomError
from charloom.inference.batching import SequenceOutput, SequenceRequest
from charloom.inference.generation import adapt_options, random_seed
from charloom.inference.generation_options import Ending, Sampling
from charloom.inference.sampling import sample_seeds
from charloom.serve.completions.choices import Choices
from charloom.serve.completions.prompts import Prompt, make_prompts
from charloom.serve.errors import ApiError, to_api_error
from charloom.serve.models import ModelRegistry, ServedModel
from charloom.serve.request_log import Usage, usage_of
from charloom.serve.responses import DONE, EventStreamResponse, JsonResponse, server_sent_event
from charloom.serve.scheduler import Job
from charloom.serve.schema import CompletionRequest
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import parse_request


async def complete(models: ModelRegistry, limits: Limits, request: Request) -> Response:
    """Handle a completion request."""
    body = await parse_request(request, CompletionRequest)
    _check_combinations(body, limits)
    served = models.find(body.model)
    prompts = await make_prompts(served, body)
    usage = usage_of(request)
    usage.prompt_tokens = sum(prompt.size for prompt in prompts)
    completion = _Completion(served, body, prompts, random_seed() if body.seed is None else body.seed, usage)
    job = served.scheduler.submit(completion.sequences())
    if body.stream:
        return EventStreamResponse(_events(completion, job, limits.min_event_seconds), job.cancel)
    try:
        return JsonResponse(await _response(completion, job))
    finally:
        job.cancel()


def _check_combinations(body: CompletionRequest, limits: Limits) -> None:
    """Raise ``ApiError`` if fields cannot be combined."""
    candidates = body.n if body.best_of is None else body.best_of
    texts = len(body.prompt) * candidates
    if candidates < body.n:
        raise _invalid("best_of", f"best_of must be at least n ({body.n}), got {candidates}.")
    if body.stream and candidates > body.n:
        raise _invalid("best_of", "stream cannot be combined with best_of greater than n.")
    if body.stream_options is not None and not body.stream:
        raise _invalid("stream_options", "stream_options requires stream to be true.")
    if texts > limits.max_texts:
        message = f"The number of texts, prompts * (best_of or n), must be at most {limits.max_texts}, got {texts}."
        raise _invalid("n", message)
    if texts * body.max_tokens > limits.max_characters:
        message = (
            f"The number of tokens, prompts * (best_of or n) * max_tokens, must be at most {limits.max_characters:,}, "
            f"got {texts * body.max_tokens:,}."
        )
        raise _invalid("max_tokens", message)


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_value")


@dataclass(frozen=True)
class _Completion:
    """A completion request in progress.

    Attributes:
        served: The model.
        body: The request body.
        prompts: The encoded prompts.
        seed: Seed of the first text of each prompt.
        counted: The tokens so far.
    """

    served: ServedModel
    body: CompletionRequest
    prompts: Sequence[Prompt]
    seed: int
    counted: Usage

    @property
    def candidates(self) -> int:
        """Number of texts that are generated per prompt: ``best_of`` or ``n``."""
        return self.body.n if self.body.best_of is None else self.body.best_of

    def sequences(self) -> list[SequenceRequest]:
        """Return the texts to generate: all candidates of the first prompt, then those of the second, and so on.

        Raises:
            SettingsError: If a number is out of range.
        """
        body = self.body
        self.served.check_ids(list(body.logit_bias), "logit_bias")
        sampling = Sampling(
            body.temperature,
            body.top_k,
            body.top_p,
            body.min_p,
            body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
        )
        sampling, ending = adapt_options(sampling, Ending(body.stop), self.served.model.rules)
        bias, top_logprobs = dict(body.logit_bias) or None, self._top_logprobs()
        seeds = sample_seeds(self.seed, self.candidates)
        labels = [self.served.label(body.label, seed) for seed in seeds]
        return [
            SequenceRequest(
                self._input_ids(prompt, label),
                body.max_tokens,
                sampling,
                ending,
                seed,
                bias,
                top_logprobs,
            )
            for prompt in self.prompts
            for seed, label in zip(seeds, labels, strict=True)
        ]

    def _input_ids(self, prompt: Prompt, label: str | None) -> NDArray[np.integer]:
        """Return the ids that the model reads before it generates; if nothing is generated, only the first one."""
        ids = np.concatenate([self.served.start_ids(label, is_empty=not prompt.size), prompt.ids])
        return ids if self.body.max_tokens else ids[:1]

    def _top_logprobs(self) -> int | None:
        """Return the number of top log-probabilities to compute; None if no log-probabilities are needed."""
        if self.body.max_tokens == 0 or (self.body.logprobs is None and self.candidates == self.body.n):
            return None
        return min(self.body.logprobs or 0, len(self.served.model.vocabulary))

    def head(self) -> dict[str, Any]:
        """Return the fields that every event of a stream repeats."""
        return {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
            "seed": self.seed,
        }

    def count(self, text: str) -> None:
        """Add a generated text to the token counts."""
        self.counted.completion_tokens += self.served.count(text)

    def usage(self) -> dict[str, int]:
        """Return the token counts of the prompts and of the generated texts."""
        prompt_tokens, completion_tokens = self.counted.prompt_tokens, self.counted.completion_tokens
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }


async def _outputs(job: Job) -> AsyncIterator[list[SequenceOutput]]:
    """Yield the new output of a job until all texts are finished."""
    while True:
        try:
            parts = await job.next()
        except StopAsyncIteration:
            return
        yield parts


async def _response(completion: _Completion, job: Job) -> dict[str, Any]:
    """Return the response body when all texts are finished."""
    body, candidates = completion.body, completion.candidates
    choices = Choices(completion.prompts, candidates, body.echo, body.logprobs is not None)
    log_probs = np.zeros(len(completion.prompts) * candidates)
    counts = np.zeros(len(log_probs))
    texts: list[list[dict[str, Any]]] = [[choices.initial(index)] for index in range(len(log_probs))]
    async for parts in _outputs(job):
        for part in parts:
            texts[part.key].append(choices.format(part))
            completion.count(part.text)
            log_probs[part.key] += sum(token.log_prob for token in part.tokens or ())
            counts[part.key] += len(part.tokens or ())
    joined = [choices.join(parts) for parts in texts]
    means = np.where(counts, log_probs / np.maximum(counts, 1), -np.inf)  # empty texts rank last
    selected = [joined[i] for i in _best_indices(means, body.n, candidates)]
    for index, choice in enumerate(selected):
        choice["index"] = index
    return {**completion.head(), "choices": selected, "usage": completion.usage()}


def _best_indices(means: Any, n: int, candidates: int) -> list[int]:
    """Return the indices of the n texts per prompt with the highest mean log-probability, in descending order."""
    if n == candidates:
        return list(range(len(means)))
    rows = np.argsort(-means.reshape(-1, candidates), axis=1, kind="stable")[:, :n]
    return [int(index) + candidates * row for row, indices in enumerate(rows) for index in indices]


async def _events(completion: _Completion, job: Job, min_seconds: float) -> AsyncIterator[bytes]:
    """Yield the events of a stream. If an error occurs, the last event describes it."""
    body, head = completion.body, completion.head()
    remaining = len(completion.prompts) * body.n
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    if with_usage:
        head["usage"] = None
    choices = Choices(completion.prompts, completion.candidates, body.echo, body.logprobs is not None)
    if body.echo:
        yield b"".join(server_sent_event({**head, "choices": [choices.initial(index)]}) for index in range(remaining))
    try:
        async for parts in _outputs(job):
            for part in parts:
                completion.count(part.text)
            yield b"".join(server_sent_event({**head, "choices": [choices.format(part)]}) for part in parts)
            remaining -= sum(part.finish_reason is not None for part in parts)
            if remaining:
                await asyncio.sleep(min_seconds)
    except CharloomError as error:
        yield server_sent_event(to_api_error(error).to_dict())
        return
    if with_usage:
        yield server_sent_event({**head, "choices": [], "usage": completion.usage()})
    yield DONE
