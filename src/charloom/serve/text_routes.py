"""Handlers that process texts: tokenize, detokenize, score, top-k predictions, torch-rnn's ``/generate``."""

import math
import re
import time

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from charloom.data.text_format import LABEL_MARK
from charloom.errors import CorpusError
from charloom.inference.batching import SequenceRequest
from charloom.inference.generation import adapt_options, random_seed, start_character
from charloom.inference.generation_options import Ending, Sampling
from charloom.inference.log_probs import nats_to_bits
from charloom.inference.sampling import sample_seeds
from charloom.inference.scoring import Score, bits_of_characters, too_short
from charloom.serve.errors import ApiError, to_api_error, unknown_name_message
from charloom.serve.models import ModelRegistry, ServedModel
from charloom.serve.request_log import usage_of
from charloom.serve.responses import JsonResponse
from charloom.serve.schema import DetokenizeRequest, GuessesRequest, ScoreRequest, TokenizeRequest
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import parse_request

_SENTENCE = re.compile(r"[^.!?]*\S[^.!?]*[.!?]+", re.DOTALL)
_MAX_SENTENCE = 400  # characters; /generate stops here if there is no end of sentence


async def tokenizer_info(models: ModelRegistry, request: Request) -> JsonResponse:
    """Describe the vocabulary in the format of a tokenizer. ``eos_token`` is the implicit start of every text."""
    served = models.find(_query(request, ("model",)).get("model"))
    vocabulary = served.model.vocabulary
    return JsonResponse(
        {
            "tokenizer_class": "Characters" if vocabulary.unit == "char" else "Bytes",
            "vocab_size": len(vocabulary),
            "eos_token": served.model.rules.mark or start_character(vocabulary),
            "bos_token": None,
            "pad_token": None,
            "chat_template": None,
        }
    )


async def tokenize(models: ModelRegistry, limits: Limits, request: Request) -> JsonResponse:
    """Encode a text to ids."""
    body = await parse_request(request, TokenizeRequest)
    served = models.find(body.model)
    ids = served.ids(served.prepare(body.prompt, "prompt"), "prompt").tolist()
    usage_of(request).prompt_tokens = len(ids)
    return JsonResponse({"count": len(ids), "max_model_len": limits.max_prompt_characters, "tokens": ids})


async def detokenize(models: ModelRegistry, request: Request) -> JsonResponse:
    """Decode ids to a text."""
    body = await parse_request(request, DetokenizeRequest)
    served = models.find(body.model)
    return JsonResponse({"prompt": served.model.vocabulary.decode(served.check_ids(body.tokens, "tokens"))})


async def score(models: ModelRegistry, request: Request) -> JsonResponse:
    """Score a text, as ``charloom score`` does."""
    body = await parse_request(request, ScoreRequest)
    served = models.find(body.model)
    try:
        text = served.prepare(body.text, "text")
        usage_of(request).prompt_tokens = served.count(text)
        result, surprisals = await _score(served, text, body.label)
    except CorpusError as error:
        raise to_api_error(error, "text") from None
    return JsonResponse(
        {
            "characters": result.characters,
            "total_nats": result.total_nats,
            "nats_per_char": result.nats_per_char,
            "bits_per_char": result.bits_per_char,
            "perplexity": result.perplexity if math.isfinite(result.perplexity) else None,
            "surprisals": surprisals,
        }
    )


async def _score(served: ServedModel, text: str, label: str | None) -> tuple[Score, list[float | None]]:
    """Return the score of a text and the surprisal of each character in bits; the first character has None.

    A text without a label is scored under one that is drawn by its frequency, for the fixed seed 0.
    """
    rules = served.model.rules
    label = served.label(label, 0)
    hidden = f"{label}{LABEL_MARK}" if label is not None else ""
    whole = served.model.as_scored(hidden + text)
    first = len(hidden) + (rules.mark is not None)  # the characters that were put before the text
    ids = served.ids(whole, "text")
    if len(whole) < 2:
        raise too_short(len(whole))
    scores = await served.scheduler.score(ids, 0)
    bits = bits_of_characters(served.model.vocabulary, whole[1:], nats_to_bits(scores.log_probs))
    surprisals = [None, *bits.tolist()]
    return Score(bits, whole), surprisals[first : first + len(text)]


async def guesses(models: ModelRegistry, request: Request) -> JsonResponse:
    """Return the top-k predictions for the next character, the most likely first."""
    body = await parse_request(request, GuessesRequest)
    served = models.find(body.model)
    count = min(body.k, len(served.model.vocabulary))
    ids = served.ids(served.prepare(body.text, "text"), "text")
    usage_of(request).prompt_tokens = len(ids)
    start = served.start_ids(served.label(body.label, 0), is_empty=not len(ids))
    scores = await served.scheduler.score(np.concatenate([start, ids]), count)
    names = served.names()
    pairs = zip(scores.top_ids[-1].tolist(), scores.top_log_probs[-1].tolist(), strict=True)
    return JsonResponse(
        {"guesses": [{"text": names[id_], "probability": math.exp(log_prob)} for id_, log_prob in pairs]}
    )


async def sentences(models: ModelRegistry, limits: Limits, request: Request) -> JsonResponse:
    """Continue a text to the end of a sentence, in the format of torch-rnn-server."""
    parameters = _query(request, ("start_text", "n", "model"))
    served = models.find(parameters.get("model"))
    start_text = parameters.get("start_text", "")
    if len(start_text) > limits.max_prompt_characters:
        message = f"start_text must have at most {limits.max_prompt_characters:,} characters, got {len(start_text):,}."
        raise ApiError(400, message, param="start_text", code="invalid_value")
    started = time.perf_counter()
    seeds = sample_seeds(random_seed(), _count(parameters.get("n", "1"), limits))
    start_text = served.prepare(start_text, "start_text")
    ids, usage = served.ids(start_text, "start_text"), usage_of(request)
    usage.prompt_tokens = len(ids)
    texts = await _complete_sentences(served, ids, seeds)
    usage.completion_tokens = sum(map(served.count, texts))
    seconds = f"{time.perf_counter() - started:.2f}"
    return JsonResponse({"start_text": start_text, "completions": texts, "time": seconds})


async def _complete_sentences(served: ServedModel, ids: NDArray[np.integer], seeds: list[int]) -> list[str]:
    """Generate one sentence per seed after the prompt ``ids``.

    Each text ends after its first complete sentence, or after 400 characters if it has none.
    """
    texts = [""] * len(seeds)
    sampling, ending = adapt_options(Sampling(1.0), Ending(), served.model.rules)
    starts = [served.start_ids(served.label(None, seed), is_empty=not len(ids)) for seed in seeds]
    job = served.scheduler.submit(
        [
            SequenceRequest(np.concatenate([start, ids]), _MAX_SENTENCE, sampling, ending, seed)
            for start, seed in zip(starts, seeds, strict=True)
        ]
    )
    try:
        while not all(map(_SENTENCE.match, texts)):
            for part in await job.next():
                texts[part.key] += part.text
    except StopAsyncIteration:
        pass
    finally:
        job.cancel()
    return [match[0] if (match := _SENTENCE.match(text)) else text for text in texts]


def _count(text: str, limits: Limits) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= limits.max_choices):
        message = f"n must be an integer from 1 to {limits.max_choices}, got {text!r:.40}."
        raise ApiError(400, message, param="n", code="invalid_value")
    return int(text)


def _query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """Return the query parameters of a URL.

    Raises:
        ApiError: If a parameter is unknown or given twice.
    """
    pairs = request.query_params.multi_items()
    for name, _ in pairs:
        if name not in known:
            raise ApiError(400, unknown_name_message("parameter", name, known), param=name, code="unknown_parameter")
    if len(dict(pairs)) < len(pairs):
        raise ApiError(400, "The URL contains a parameter twice.", code="invalid_value")
    return dict(pairs)
