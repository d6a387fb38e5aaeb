"""Request and response bodies as pydantic models."""

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from charloom.inference.generation_options import MAX_SEED, MAX_TEMPERATURE, MAX_TOP_K
from charloom.serve.errors import NOT_SUPPORTED
from charloom.serve.security.limits import Limits

_LIMITS = Limits()

Prompts: TypeAlias = list[str | list[int]]

_ACCEPTED_PROMPTS = "must be a string, or a non-empty list of strings, of ids, or of lists of ids"


def _parse_prompts(value: Any) -> Prompts:
    """Convert a string, a list of strings, a list of ids or a list of lists of ids to a list of prompts."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(_ACCEPTED_PROMPTS)
    if all(type(item) is int for item in value):
        value = [value]
    if len(value) > _LIMITS.max_prompts:
        raise ValueError(f"must have at most {_LIMITS.max_prompts} prompts")
    if not all(isinstance(prompt, str) for prompt in value) and not all(_are_ids(prompt) for prompt in value):
        raise ValueError(_ACCEPTED_PROMPTS)
    if any(len(prompt) > _LIMITS.max_prompt_characters for prompt in value):
        raise ValueError(f"must have at most {_LIMITS.max_prompt_characters:,} characters")
    return list(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _parse_stops(value: Any) -> tuple[str, ...]:
    stops = ([value] if value else []) if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError("must be a string or a list of non-empty strings")
    if len(stops) > _LIMITS.max_stop_strings or any(len(stop) > _LIMITS.max_stop_characters for stop in stops):
        raise ValueError(
            f"must have at most {_LIMITS.max_stop_strings} strings with at most {_LIMITS.max_stop_characters} "
            "characters each"
        )
    return tuple(stops)


def _parse_biases(value: Any) -> dict[int, float]:
    if not isinstance(value, dict) or len(value) > _LIMITS.max_biases:
        raise ValueError(f"must be an object with at most {_LIMITS.max_biases:,} entries")
    if not all(key.isascii() and key.isdigit() and len(key) < 8 for key in value):
        raise ValueError('keys must be token ids, such as "42"')
    if not all(type(bias) in (int, float) and -100 <= bias <= 100 and math.isfinite(bias) for bias in value.values()):
        raise ValueError("values must be numbers from -100 to 100")
    return {int(key): float(bias) for key, bias in value.items()}


def _reject_suffix(value: Any) -> None:
    if value == "":
        return
    raise PydanticCustomError(
        NOT_SUPPORTED, "suffix is not supported, because the models generate text from left to right. Omit it."
    )


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
_STOP = {"type": "string", "maxLength": _LIMITS.max_stop_characters}
_STOPS_JSON = {"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": _LIMITS.max_stop_strings}]}
_BIASES_JSON = {
    "type": "object",
    "maxProperties": _LIMITS.max_biases,
    "propertyNames": {"pattern": "^[0-9]{1,7}$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
}

ModelName = Annotated[
    str | None,
    Field(
        max_length=_LIMITS.max_label_characters,
        description="ID of the model to use; see `/v1/models`. Defaults to the first model.",
    ),
]
Label = Annotated[
    str | None,
    Field(
        max_length=1_000,
        description="Label of the text, for a model of labeled records. Defaults to one drawn by its frequency.",
    ),
]
Text = Annotated[str, Field(max_length=_LIMITS.max_prompt_characters, description="The text to process.")]


class _RequestBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _replace_neutral_values(cls, value: Any) -> Any:
        """Accept what some clients send for an integer (16.0), and values that mean "default" or "off"."""
        if not isinstance(value, dict):
            return value
        value = {
            name: int(item) if isinstance(item, float) and name in _INTEGERS and item.is_integer() else item
            for name, item in value.items()
        }
        return {name: item for name, item in value.items() if not _is_neutral(name, item)}


_INTEGERS = ("max_tokens", "top_k", "n", "best_of", "seed", "logprobs", "k")
_NEUTRAL: dict[str, tuple[Any, ...]] = {"top_k": (0, -1), "seed": (-1,), "logprobs": (False,)}


def _is_neutral(name: str, value: Any) -> bool:
    return any(type(value) is type(neutral) and value == neutral for neutral in _NEUTRAL.get(name, ()))


class StreamOptions(_RequestBody):
    """Options of a streamed response."""

    include_obfuscation: Annotated[
        bool, Field(description="Accepted and ignored: events are not padded with random characters.")
    ] = False

    include_usage: Annotated[
        bool, Field(description="Whether to send the token usage in a final event, before `data: [DONE]`.")
    ] = False


class CompletionRequest(_RequestBody):
    """A request for completions of one or more prompts.

    A token is a character, or a byte if the model works on bytes.
    """

    model: ModelName = None
    prompt: Annotated[
        Prompts,
        PlainValidator(_parse_prompts),
        WithJsonSchema(_PROMPTS_JSON),
        Field(description="The prompt or prompts to complete: a string, strings, an array of token ids, or arrays."),
    ] = [""]
    max_tokens: Annotated[
        int, Field(ge=0, le=_LIMITS.max_characters, description="Maximum number of tokens to generate.")
    ] = 16
    temperature: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_TEMPERATURE,
            description="Sampling temperature. Higher values give more random text; 0 always picks the most likely "
            "token.",
        ),
    ] = 1.0
    top_p: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Nucleus sampling: only the most likely tokens with a total probability of `top_p` are used.",
        ),
    ] = 1.0
    top_k: Annotated[
        int | None, Field(ge=1, le=MAX_TOP_K, description="Sample only from the `top_k` most likely tokens.")
    ] = None
    min_p: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Sample only from tokens with at least `min_p` times the probability of the most likely token.",
        ),
    ] = 0.0
    repetition_penalty: Annotated[
        float,
        Field(
            ge=0.01,
            le=100,
            description="Values above 1 make recently used tokens less likely; values below 1 make them more likely.",
        ),
    ] = 1.0
    presence_penalty: Annotated[
        float,
        Field(ge=-2, le=2, description="Positive values make tokens less likely if they occur in the text so far."),
    ] = 0.0
    frequency_penalty: Annotated[
        float,
        Field(
            ge=-2, le=2, description="Positive values make tokens less likely the more often they occur in the text."
        ),
    ] = 0.0
    logit_bias: Annotated[
        dict[int, float],
        PlainValidator(_parse_biases),
        WithJsonSchema(_BIASES_JSON),
        Field(description="Map from token ids to biases from -100 to 100, which are added to the logits."),
    ] = {}
    stop: Annotated[
        tuple[str, ...],
        PlainValidator(_parse_stops),
        WithJsonSchema(_STOPS_JSON),
        Field(description="Sequences at which generation stops. The text does not contain the stop sequence."),
    ] = ()
    n: Annotated[
        int, Field(ge=1, le=_LIMITS.max_choices, description="Number of completions to generate for each prompt.")
    ] = 1
    best_of: Annotated[
        int | None,
        Field(
            ge=1,
            le=_LIMITS.max_choices,
            description="Generate `best_of` completions per prompt, and return the `n` with the highest mean log "
            "probability per token.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_SEED,
            description="Random seed. The same seed and parameters give the same text. Defaults to a random seed, "
            "which the response contains.",
        ),
    ] = None
    logprobs: Annotated[
        int | None,
        Field(
            ge=0,
            le=_LIMITS.max_logprobs,
            description="Return the log probabilities of the tokens and of the `logprobs` most likely alternatives.",
        ),
    ] = None
    echo: Annotated[bool, Field(description="Whether to return the prompt in addition to the completion.")] = False
    stream: Annotated[bool, Field(description="Whether to stream the completion as server-sent events.")] = False
    stream_options: StreamOptions | None = None
    user: Annotated[
        str | None,
        Field(max_length=_LIMITS.max_label_characters, description="A label for the end user. Accepted and ignored."),
    ] = None
    label: Label = None
    unknown: Annotated[
        Literal["error", "skip", "replace"],
        Field(
            description="What to do with characters of a prompt that are not in the model's vocabulary: `error` "
            "refuses the request, `skip` omits them, `replace` reads U+FFFD or a space instead. With `echo`, the "
            "prompt is returned as the model reads it."
        ),
    ] = "error"
    suffix: Annotated[
        None,
        PlainValidator(_reject_suffix),
        WithJsonSchema({"type": "null"}),
        Field(description="Not supported."),
    ] = None


class TokenizeRequest(_RequestBody):
    """A request to encode a text to token ids."""

    model: ModelName = None
    prompt: Text
    add_special_tokens: Annotated[
        bool, Field(description="Accepted for compatibility. There are no special tokens.")
    ] = False


class DetokenizeRequest(_RequestBody):
    """A request to decode token ids to a text."""

    model: ModelName = None
    tokens: Annotated[
        list[int], Field(max_length=_LIMITS.max_prompt_characters, description="The token ids to decode.")
    ]


class ScoreRequest(_RequestBody):
    """A request to measure how well a model predicts a text of at least 2 characters."""

    model: ModelName = None
    text: Text
    label: Label = None


class GuessesRequest(_RequestBody):
    """A request for the top-k predictions of the character that follows a text."""

    model: ModelName = None
    text: Text
    label: Label = None
    k: Annotated[int, Field(ge=1, le=_LIMITS.max_next_guesses, description="Number of predictions to return.")] = 5


class LogProbs(BaseModel):
    """Log probabilities of the tokens of a choice; null for the first token of a text."""

    tokens: Annotated[list[str], Field(description="The tokens.")]
    token_logprobs: Annotated[list[float | None], Field(description="Natural log probability of each token.")]
    top_logprobs: Annotated[
        list[dict[str, float] | None],
        Field(description="Log probabilities of the most likely tokens at each position, and of the actual one."),
    ]
    text_offset: Annotated[list[int], Field(description="Character offset of each token in the text of the choice.")]


class Choice(BaseModel):
    """A completion of one prompt."""

    index: Annotated[int, Field(description="Index of the choice in the list of choices.")]
    text: Annotated[str, Field(description="The generated text.")]
    logprobs: LogProbs | None
    finish_reason: Annotated[
        Literal["stop", "length"] | None,
        Field(
            description="`stop` for a stop condition, `length` if `max_tokens` was reached, null in a stream until "
            "the choice is finished."
        ),
    ]


class Usage(BaseModel):
    """Token usage of a request."""

    prompt_tokens: Annotated[int, Field(description="Number of tokens in the prompts.")]
    completion_tokens: Annotated[int, Field(description="Number of tokens in the generated completions.")]
    total_tokens: Annotated[int, Field(description="Sum of prompt and completion tokens.")]


class Completion(BaseModel):
    """The response to a completion request. In a stream, each event contains the new part of some choices."""

    id: Annotated[str, Field(description="Unique ID of the completion.")]
    object: Literal["text_completion"]
    created: Annotated[int, Field(description="Unix timestamp in seconds of the creation of the completion.")]
    model: Annotated[str, Field(description="ID of the model.")]
    system_fingerprint: Annotated[
        str, Field(description="Fingerprint of the model and its precision. It changes if the output may change.")
    ]
    seed: Annotated[int, Field(description="The random seed that was used.")]
    choices: list[Choice]
    usage: Usage | None = None


class ModelFacts(BaseModel):
    """Facts about a model that the OpenAI API does not define."""

    characters: Annotated[int, Field(description="Size of the vocabulary.")]
    unit: Annotated[Literal["char", "byte"], Field(description="Whether a token is a character or a byte.")]
    parameters: Annotated[int, Field(description="Number of parameters.")]
    bits_per_char: Annotated[float | None, Field(description="Held-out loss in bits per character, if known.")]
    vocabulary: Annotated[str, Field(description="All characters of the vocabulary, in the order of their ids.")]
    corpus: Annotated[str | None, Field(description="Name of the training corpus, if known.")]


class ModelEntry(BaseModel):
    """A model of the server."""

    id: Annotated[str, Field(description="ID of the model, for use in requests.")]
    object: Literal["model"]
    created: Annotated[int, Field(description="Unix timestamp in seconds at which the model was loaded.")]
    owned_by: str
    charloom: ModelFacts


class ModelList(BaseModel):
    """The models of the server. The first one is the default."""

    object: Literal["list"]
    data: list[ModelEntry]


class TokenizerInfo(BaseModel):
    """The tokenizer of a model. ``eos_token`` is the implicit token before every text."""

    tokenizer_class: str
    vocab_size: int
    eos_token: str
    bos_token: None
    pad_token: None
    chat_template: None


class Tokens(BaseModel):
    """The token ids of a text."""

    count: Annotated[int, Field(description="Number of tokens.")]
    max_model_len: Annotated[int, Field(description="Maximum number of tokens in a prompt.")]
    tokens: Annotated[list[int], Field(description="The token ids.")]


class Detokenized(BaseModel):
    """The text that corresponds to token ids."""

    prompt: str


class Scored(BaseModel):
    """How well a model predicts a text."""

    characters: Annotated[int, Field(description="Number of scored characters: all except the first.")]
    total_nats: Annotated[float, Field(description="Sum of the negative natural log probabilities.")]
    nats_per_char: Annotated[float, Field(description="Loss in nats per character.")]
    bits_per_char: Annotated[float, Field(description="Loss in bits per character.")]
    perplexity: Annotated[float | None, Field(description="Perplexity per character; null if it overflows.")]
    surprisals: Annotated[
        list[float | None], Field(description="Surprisal of each character in bits; null for the first one.")
    ]


class Guess(BaseModel):
    """A prediction of the next character."""

    text: Annotated[str, Field(description="The character, or the name of the byte.")]
    probability: Annotated[float, Field(description="Its probability.")]


class Guesses(BaseModel):
    """The top-k predictions of the next character, the most likely first."""

    guesses: list[Guess]


class Sentences(BaseModel):
    """Completions to the end of a sentence, in the format of torch-rnn-server."""

    start_text: Annotated[str, Field(description="The prompt.")]
    completions: Annotated[list[str], Field(description="The generated texts, without the prompt.")]
    time: Annotated[str, Field(description="Time of the generation in seconds.")]


class Health(BaseModel):
    """The state of the server."""

    status: Literal["ok"]


class Wrong(BaseModel):
    """An error."""

    message: Annotated[str, Field(description="A description of the error for people.")]
    type: Annotated[str, Field(description="The kind of error, such as `invalid_request_error`.")]
    param: Annotated[str | None, Field(description="The request field that caused the error, if known.")]
    code: Annotated[str | None, Field(description="A stable code of the error for programs.")]


class Failure(BaseModel):
    """The body of every error response."""

    error: Wrong
