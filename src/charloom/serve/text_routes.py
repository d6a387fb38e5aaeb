"""What a model makes of texts besides going on with them: ids, costs, guesses; and torch-rnn-server's sentences."""

import math
import re
import time

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from charloom.errors import CorpusError
from charloom.inference.batching import SequenceRequest
from charloom.inference.generation import random_seed, start_character
from charloom.inference.generation_options import Sampling
from charloom.inference.log_probs import nats_to_bits
from charloom.inference.sampling import sample_seeds
from charloom.inference.scoring import Score, bits_of_characters, too_short
from charloom.serve.errors import ApiError, to_api_error, unknown_name
from charloom.serve.models import ModelRegistry, ServedModel
from charloom.serve.responses import JsonResponse
from charloom.serve.schema import DetokenizeRequest, GuessesRequest, ScoreRequest, TokenizeRequest
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import parse_request

_SENTENCE = re.compile(r"[^.!?]*\S[^.!?]*[.!?]+", re.DOTALL)
_LONGEST_SENTENCE = 400  # characters


async def tokenizer_info(models: ModelRegistry, request: Request) -> JsonResponse:
    """Tell what clients ask of a tokenizer; a text begins as after ``eos_token``."""
    served = models.find(_query(request, ("model",)).get("model"))
    vocabulary = served.model.vocabulary
    return JsonResponse(
        {
            "tokenizer_class": "Characters" if vocabulary.unit == "char" else "Bytes",
            "vocab_size": len(vocabulary),
            "eos_token": start_character(vocabulary),
            "bos_token": None,
            "pad_token": None,
            "chat_template": None,
        }
    )


async def tokenize(models: ModelRegistry, limits: Limits, request: Request) -> JsonResponse:
    """Tell the ids of a text."""
    asked = await parse_request(request, TokenizeRequest)
    served = models.find(asked.model)
    ids = served.ids(asked.prompt, "prompt").tolist() if asked.prompt else []
    return JsonResponse({"count": len(ids), "max_model_len": limits.prompt_characters, "tokens": ids})


async def detokenize(models: ModelRegistry, request: Request) -> JsonResponse:
    """Tell the text of ids."""
    asked = await parse_request(request, DetokenizeRequest)
    served = models.find(asked.model)
    return JsonResponse({"prompt": served.model.vocabulary.decode(served.check_ids(asked.tokens, "tokens"))})


async def score(models: ModelRegistry, request: Request) -> JsonResponse:
    """Tell what a text costs, as ``charloom score`` does."""
    asked = await parse_request(request, ScoreRequest)
    served = models.find(asked.model)
    try:
        found, shown = await _scored(served, asked.text)
    except CorpusError as error:
        raise to_api_error(error, "text") from None
    return JsonResponse(
        {
            "characters": found.characters,
            "total_nats": found.total_nats,
            "nats_per_char": found.nats_per_char,
            "bits_per_char": found.bits_per_char,
            "perplexity": found.perplexity if math.isfinite(found.perplexity) else None,
            "surprisals": shown,
        }
    )


async def _scored(served: ServedModel, text: str) -> tuple[Score, list[float | None]]:
    """Return the score of a text, and what each of its characters costs."""
    whole, lines = served.model.as_scored(text), served.model.saved.lines
    ids = served.ids(whole, "text")
    if len(whole) < 2:
        raise too_short(len(whole))
    reading = await served.scheduler.read(ids, 0)
    bits = bits_of_characters(served.model.vocabulary, whole[1:], nats_to_bits(reading.log_probs))
    shown = [None, *bits.tolist()]
    return Score(bits, whole), shown[lines : lines + len(text)]  # the line feed before it is not the text's


async def guesses(models: ModelRegistry, request: Request) -> JsonResponse:
    """Tell what comes next after a text, the likeliest first."""
    asked = await parse_request(request, GuessesRequest)
    served = models.find(asked.model)
    count = min(asked.k, len(served.model.vocabulary))
    reading = await served.scheduler.read(served.ids(asked.text, "text"), count)
    names = served.model.vocabulary.names()
    pairs = zip(reading.likeliest_ids[-1].tolist(), reading.likeliest_log_probs[-1].tolist(), strict=True)
    return JsonResponse({"guesses": [{"text": names[id_], "probability": math.exp(cost)} for id_, cost in pairs]})


async def sentences(models: ModelRegistry, limits: Limits, request: Request) -> JsonResponse:
    """Go on from a beginning to the end of a sentence, as torch-rnn-server did."""
    given = _query(request, ("start_text", "n", "model"))
    served = models.find(given.get("model"))
    start_text = given.get("start_text", "")
    if len(start_text) > limits.prompt_characters:
        message = f"start_text may have at most {limits.prompt_characters:,} characters; got {len(start_text):,}."
        raise ApiError(400, message, param="start_text", code="invalid_value")
    started = time.perf_counter()
    seeds = sample_seeds(random_seed(), _count(given.get("n", "1"), limits))
    texts = await _until_sentence(served, served.ids(start_text, "start_text"), seeds)
    seconds = f"{time.perf_counter() - started:.2f}"
    return JsonResponse({"start_text": start_text, "completions": texts, "time": seconds})


async def _until_sentence(served: ServedModel, ids: NDArray[np.integer], seeds: list[int]) -> list[str]:
    """Write texts until each has a sentence, or is very long."""
    texts = [""] * len(seeds)
    job = served.scheduler.submit([SequenceRequest(ids, _LONGEST_SENTENCE, Sampling(1.0), seed=seed) for seed in seeds])
    try:
        while not all(map(_SENTENCE.match, texts)):
            for part in await job.next():
                texts[part.key] += part.text
    except StopAsyncIteration:
        pass
    finally:
        job.cancel()
    return [found[0] if (found := _SENTENCE.match(text)) else text for text in texts]


def _count(text: str, limits: Limits) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= limits.choices):
        message = f"n must be a whole number from 1 to {limits.choices}; got {text!r:.40}."
        raise ApiError(400, message, param="n", code="invalid_value")
    return int(text)


def _query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of an address.

    Raises:
        ApiError: If there is one that is not known, or one stands there twice.
    """
    pairs = request.query_params.multi_items()
    for name, _ in pairs:
        if name not in known:
            raise ApiError(400, unknown_name("parameter", name, known), param=name, code="unknown_parameter")
    if len(dict(pairs)) < len(pairs):
        raise ApiError(400, "A parameter stands in the address twice.", code="invalid_value")
    return dict(pairs)
