"""The OpenAPI document of the server, generated from the pydantic models in ``schema``."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from charloom.serve import schema
from charloom.serve.security.limits import Limits

_REF = "#/components/schemas/{model}"
_JSON = "application/json"

_Kind = type[BaseModel]

_POSTS: tuple[tuple[str, str, _Kind, _Kind], ...] = (
    ("/v1/completions", "Create a completion", schema.CompletionRequest, schema.Completion),
    ("/tokenize", "Encode a text to token ids", schema.TokenizeRequest, schema.Tokens),
    ("/detokenize", "Decode token ids to a text", schema.DetokenizeRequest, schema.Detokenized),
    ("/score", "Score a text", schema.ScoreRequest, schema.Scored),
    ("/guesses", "Predict the next character", schema.GuessesRequest, schema.Guesses),
)
_GETS: tuple[tuple[str, str, _Kind], ...] = (
    ("/v1/models", "List models", schema.ModelList),
    ("/v1/models/{id}", "Retrieve a model", schema.ModelEntry),
    ("/tokenizer_info", "Describe the tokenizer", schema.TokenizerInfo),
    ("/generate", "Complete a sentence (compatible with torch-rnn-server)", schema.Sentences),
    ("/healthz", "Check the health of the server", schema.Health),
)


def openapi_document(version: str, with_token: bool) -> dict[str, Any]:
    """Return the OpenAPI document of a server.

    Args:
        version: The version of charloom.
        with_token: Whether requests require a token.
    """
    kinds: list[tuple[_Kind, JsonSchemaMode]] = [(kind, "validation") for _, _, kind, _ in _POSTS]
    kinds += [(response, "serialization") for *_, response in _POSTS]
    kinds += [(kind, "serialization") for _, _, kind in _GETS]
    kinds.append((schema.Failure, "serialization"))
    _, definitions = models_json_schema(kinds, ref_template=_REF)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "charloom", "version": version},
        "paths": _paths(),
        "components": {"schemas": definitions["$defs"]},
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, summary, request, response in _POSTS:
        body = {"required": True, "content": {_JSON: {"schema": _ref(request)}}}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": _responses(response)}}
    for path, summary, response in _GETS:
        paths[path] = {"get": {"summary": summary, "responses": _responses(response)}}
    events = {"schema": {"type": "string"}}
    paths["/v1/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"] = events
    paths["/v1/models/{id}"]["get"]["parameters"] = [_parameter("id", "path", {"type": "string"})]
    paths["/tokenizer_info"]["get"]["parameters"] = [_parameter("model", "query", {"type": "string"})]
    paths["/generate"]["get"]["parameters"] = [
        _parameter("start_text", "query", {"type": "string", "maxLength": Limits.max_prompt_characters}),
        _parameter("n", "query", {"type": "integer", "minimum": 1, "maximum": Limits.max_choices}),
        _parameter("model", "query", {"type": "string"}),
    ]
    paths["/metrics"] = {"get": {"summary": "Metrics in the Prometheus text format", "responses": _plain("text/plain")}}
    return paths


def _parameter(name: str, location: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": location, "required": location == "path", "schema": kind}


def _responses(kind: _Kind) -> dict[str, Any]:
    ok = {"description": "OK", "content": {_JSON: {"schema": _ref(kind)}}}
    return {"200": ok, "default": _failure()}


def _plain(media_type: str) -> dict[str, Any]:
    ok = {"description": "OK", "content": {media_type: {"schema": {"type": "string"}}}}
    return {"200": ok, "default": _failure()}


def _failure() -> dict[str, Any]:
    return {"description": "Error", "content": {_JSON: {"schema": _ref(schema.Failure)}}}


def _ref(kind: _Kind) -> dict[str, str]:
    return {"$ref": _REF.format(model=kind.__name__)}
