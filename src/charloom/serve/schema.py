"""Request and response bodies as pydantic models."""

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from charloom.inference.generation_options import MAX_SEED, MAX_TEMPERATURE, MAX_TOP_K
from charloom.serve.security.limits import Limits

_LIMITS = Limits()

Prompts: TypeAlias = list[str | list[int]]


def _parse_prompts(value: Any) -> Prompts:
    """Normalize a text, a list of texts, a list of ids or a list of lists of ids to a list of prompts."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError("must be a text, a list of texts, a list of ids, or a list of lists of ids, not empty")
    if all(type(one) is int for one in value):
        value = [value]
    if len(value) > _LIMITS.max_prompts:
        raise ValueError(f"may hold at most {_LIMITS.max_prompts} prompts")
    if not all(isinstance(one, str) for one in value) and not all(_are_ids(one) for one in value):
        raise ValueError("must be a text, a list of texts, a list of ids, or a list of lists of ids, unmixed")
    if any(len(one) > _LIMITS.max_prompt_characters for one in value):
        raise ValueError(f"may have at most {_LIMITS.max_prompt_characters:,} characters")
    return list(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


def _parse_stops(value: Any) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(one, str) and one for one in strings):
        raise ValueError("must be a string or a list of strings, none of them empty")
    if len(strings) > _LIMITS.max_stop_strings or any(len(one) > _LIMITS.max_stop_characters for one in strings):
        raise ValueError(
            f"may hold {_LIMITS.max_stop_strings} strings of {_LIMITS.max_stop_characters} characters at most"
        )
    return tuple(strings)


def _parse_biases(value: Any) -> dict[int, float]:
    if not isinstance(value, dict) or len(value) > _LIMITS.max_biases:
        raise ValueError(f"must be an object of at most {_LIMITS.max_biases:,} numbers, each by the id of a character")
    if not all(key.isascii() and key.isdigit() and len(key) < 8 for key in value):
        raise ValueError('must name characters by their ids, such as "42"')
    if not all(type(one) in (int, float) and -100 <= one <= 100 and math.isfinite(one) for one in value.values()):
        raise ValueError("must add a number from -100 to 100 to each")
    return {int(key): float(one) for key, one in value.items()}


def _reject_suffix(value: Any) -> None:
    raise ValueError("is not supported, as the model reads what is before a text alone; leave it out")


_TEXT = {"type": "string", "maxLength": _LIMITS.max_prompt_characters}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": _LIMITS.max_prompt_characters}
_PROMPTS_JSON = {
    "anyOf": [
        _TEXT,
        {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": _LIMITS.max_prompts},
        {**_IDS, "minItems": 1},
        {"type": "array", "items": _IDS, "minItems": 1, "maxItems": _LIMITS.max_prompts},
    ]
}
_STOP = {"type": "string", "minLength": 1, "maxLength": _LIMITS.max_stop_characters}
_STOPS_JSON = {"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": _LIMITS.max_stop_strings}]}
_BIASES_JSON = {
    "type": "object",
    "maxProperties": _LIMITS.max_biases,
    "propertyNames": {"pattern": "^[0-9]{1,7}$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
}

ModelName = Annotated[
    str | None, Field(max_length=_LIMITS.max_label_characters, description="The first one, if not named.")
]
Text = Annotated[str, Field(max_length=_LIMITS.max_prompt_characters)]


class _RequestBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class StreamOptions(_RequestBody):
    """How a stream is written."""

    include_usage: bool = False


class CompletionRequest(_RequestBody):
    """A text to go on from, and how; what OpenAI's API calls a token is a character, or a byte in a model of bytes."""

    model: ModelName = None
    prompt: Annotated[Prompts, PlainValidator(_parse_prompts), WithJsonSchema(_PROMPTS_JSON)] = [""]
    max_tokens: Annotated[int, Field(ge=0, le=_LIMITS.max_characters)] = 16
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int | None, Field(ge=1, le=MAX_TOP_K)] = None
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    logit_bias: Annotated[dict[int, float], PlainValidator(_parse_biases), WithJsonSchema(_BIASES_JSON)] = {}
    stop: Annotated[tuple[str, ...], PlainValidator(_parse_stops), WithJsonSchema(_STOPS_JSON)] = ()
    n: Annotated[int, Field(ge=1, le=_LIMITS.max_choices)] = 1
    best_of: Annotated[int | None, Field(ge=1, le=_LIMITS.max_choices, description="The n likeliest of so many.")] = (
        None
    )
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED, description="Drawn and told, if not given.")] = None
    logprobs: Annotated[int | None, Field(ge=0, le=_LIMITS.max_logprobs)] = None
    echo: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Annotated[str | None, Field(max_length=_LIMITS.max_label_characters, description="A label of yours.")] = None
    suffix: Annotated[None, PlainValidator(_reject_suffix), WithJsonSchema({"type": "null"})] = None


class TokenizeRequest(_RequestBody):
    """A text whose ids are wanted; there are no special ones that could be added."""

    model: ModelName = None
    prompt: Text
    add_special_tokens: bool = False


class DetokenizeRequest(_RequestBody):
    """Ids whose text is wanted."""

    model: ModelName = None
    tokens: Annotated[list[int], Field(max_length=_LIMITS.max_prompt_characters)]


class ScoreRequest(_RequestBody):
    """A text whose cost is wanted, of 2 characters at least."""

    model: ModelName = None
    text: Text


class GuessesRequest(_RequestBody):
    """A text of which the next character is wanted, and how many guesses."""

    model: ModelName = None
    text: Text
    k: Annotated[int, Field(ge=1, le=_LIMITS.max_next_guesses)] = 5


class LogProbs(BaseModel):
    """What each character of a choice cost, as natural logarithms; null for the first of all."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: LogProbs | None
    finish_reason: Literal["stop", "length"] | None


class Usage(BaseModel):
    """How much was read and written, in ids."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """Continuations; in a stream, what was written of them since the last event."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    seed: int
    choices: list[Choice]
    usage: Usage | None = None


class ModelFacts(BaseModel):
    """What charloom tells of a model besides."""

    characters: int
    unit: Literal["char", "byte"]
    parameters: int
    bits_per_char: float | None
    vocabulary: str
    corpus: str | None


class ModelEntry(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    charloom: ModelFacts


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[ModelEntry]


class TokenizerInfo(BaseModel):
    """What a client needs to know of the ids; ``eos_token`` stands for the beginning of a text."""

    tokenizer_class: str
    vocab_size: int
    eos_token: str
    bos_token: None
    pad_token: None
    chat_template: None


class Tokens(BaseModel):
    """The ids of a text."""

    count: int
    max_model_len: int
    tokens: list[int]


class Detokenized(BaseModel):
    """The text of ids."""

    prompt: str


class Scored(BaseModel):
    """What a text costs; ``surprisals`` in bits, one for each character, null for the first."""

    characters: int
    total_nats: float
    nats_per_char: float
    bits_per_char: float
    perplexity: float | None
    surprisals: list[float | None]


class Guess(BaseModel):
    """A character that may come next."""

    text: str
    probability: float


class Guesses(BaseModel):
    """The likeliest of them, the likeliest first."""

    guesses: list[Guess]


class Sentences(BaseModel):
    """What torch-rnn-server answered: beginnings gone on with to the end of a sentence."""

    start_text: str
    completions: list[str]
    time: str


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"]


class Wrong(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    """Every answer that is not a success."""

    error: Wrong
