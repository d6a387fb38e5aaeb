"""Error responses in the format of the OpenAI API."""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from charloom._util.suggest import did_you_mean
from charloom.errors import CharloomError, InputError, UnknownCharacterError
from charloom.serve.responses import JsonResponse
from charloom.serve.scheduler import Overloaded, ShuttingDown

NOT_SUPPORTED = "not_supported"
"""Type of a validation error whose message is complete and is sent unchanged."""

_MAX_QUOTED = 60  # maximum characters of an invalid value in a message
_OTHER_NAMES = {
    "length": "max_tokens",
    "max_length": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "text": "prompt",
    "input": "prompt",
    "inputs": "prompt",
    "prompt": "text",
}
"""What other APIs, and charloom in Python, call the fields of a request."""


class ApiError(Exception):
    """An error response.

    Args:
        status: The HTTP status.
        message: A sentence for people: the problem, the value, what is accepted, and what to do.
        param: Name of the invalid field, if any.
        code: A stable code for programs.
        headers: Additional response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """Return the response body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JsonResponse:
        """Return the response."""
        return JsonResponse(self.to_dict(), self.status, self.headers)


def to_api_error(error: Exception, param: str | None = None) -> ApiError:
    """Convert an exception to an error response. The response to an unexpected exception contains no details.

    Args:
        error: The exception.
        param: Name of the field that caused it, if known.
    """
    match error:
        case ApiError():
            return error
        case ValidationError():
            return _validation_error(error)
        case HTTPException():
            return _http_error(error)
        case Overloaded():
            return ApiError(429, str(error), code="too_many_requests", headers={"Retry-After": "1"})
        case ShuttingDown():
            return ApiError(503, str(error), code="closing", headers={"Retry-After": "5"})
        case UnknownCharacterError():
            return ApiError(400, str(error), param=param, code="unknown_character")
        case InputError():
            return ApiError(400, str(error), param=param, code="invalid_value")
        case CharloomError():
            return ApiError(500, str(error), code="failed")
    return ApiError(500, "The server failed to process the request. See its log for details.", code="failed")


async def error_response(request: Request, error: Exception) -> JsonResponse:
    """Return the response for a request that raised one of ``ERRORS``."""
    if isinstance(error, HTTPException) and error.status_code == 404:
        return _unknown_url(request.scope["path"], _documented_paths(request)).response()
    return to_api_error(error).response()


ERRORS: tuple[type[Exception], ...] = (ApiError, ValidationError, HTTPException, CharloomError, Exception)


def unknown_name_message(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with suggestions."""
    known = list(known)
    hint = did_you_mean(name[:_MAX_QUOTED], known, other_names=_OTHER_NAMES if kind == "parameter" else None)
    if kind == "parameter" and name == "messages":
        hint = " Chat is not supported: the models continue a text; pass it as prompt to /v1/completions."
    return f"Unknown {kind} {quoted(name)}.{hint} Available {kind}s: {', '.join(known)}."


def _documented_paths(request: Request) -> list[str]:
    """Return the paths of the application's endpoints that have no parameters."""
    routes = [route for route in request.app.routes if isinstance(route, Route) and route.include_in_schema]
    return [route.path for route in routes if "{" not in route.path]


def _unknown_url(path: str, known: Sequence[str]) -> ApiError:
    """Return the error for an unknown path, with the endpoint that it resembles, if any.

    Paths are compared without a prefix such as /v1, and only with endpoints of the same first letter, because two short
    words can share many letters without one being a typo of the other.
    """
    base = path.rstrip("/")
    name = base.lower().removeprefix("/api").removeprefix("/v1").strip("/")[:_MAX_QUOTED]
    names = {known_path.removeprefix("/v1").strip("/"): known_path for known_path in known}
    if f"{base}/completions" in known:
        hint = f" Did you mean {base}/completions?"
    else:
        hint = did_you_mean(name, [other for other in names if other[:1] == name[:1]], names.__getitem__)
    return ApiError(404, f"Unknown URL {quoted(path)}.{hint} /openapi.json lists all endpoints.", code="unknown_url")


def _http_error(error: HTTPException) -> ApiError:
    """Convert a routing error: an unknown path or an unsupported method."""
    if error.status_code == 405 and error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
        headers = {"Allow": allowed}
        return ApiError(
            405, f"Method not allowed. This URL accepts {allowed} requests.", code="method_not_allowed", headers=headers
        )
    return ApiError(error.status_code, error.detail or HTTPStatus(error.status_code).phrase, headers=error.headers)


def _validation_error(error: ValidationError) -> ApiError:
    """Convert the first error of a body's validation."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return ApiError(400, f"Missing required parameter: {field}.", param=field, code="missing_parameter")
    if first["type"] == NOT_SUPPORTED:
        return ApiError(400, first["msg"], param=field, code="invalid_value")
    problem = first["msg"].removeprefix("Value error, ").removesuffix(".")
    problem = problem[:1].lower() + problem[1:]
    message = f"Invalid {field}: {problem}, got {quoted(first['input'])}." if field else f"Invalid body: {problem}."
    return ApiError(400, message, param=field or None, code="invalid_value")


def quoted(value: object) -> str:
    """Return a value as JSON, truncated, with unprintable characters as escapes."""
    shown = value[: _MAX_QUOTED + 1] if isinstance(value, str | list) else value
    whole = json.dumps(shown, ensure_ascii=False, default=repr)[: _MAX_QUOTED + 1]
    text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in whole)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
