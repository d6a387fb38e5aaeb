"""Errors in the shape of OpenAI's API."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from charloom._util.suggest import did_you_mean
from charloom.errors import CharloomError, InputError, UnknownCharacterError
from charloom.serve.responses import JsonResponse
from charloom.serve.scheduler import Overloaded, ShuttingDown

_MAX_QUOTED = 60  # characters of a wrong value that a message quotes


class ApiError(Exception):
    """An error response.

    Args:
        status: The HTTP status.
        message: What is wrong, the value, what is accepted, and what to do.
        param: The field that is wrong, if any.
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
    """Convert an exception to an error response. An unexpected exception reveals no details.

    Args:
        error: The exception.
        param: The field whose value caused it, if known.
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
    return ApiError(500, "The server has failed at this request. Its log says more.", code="failed")


async def error_response(request: Request, error: Exception) -> JsonResponse:
    """Return the response for a request that raised one of ``ERRORS``."""
    return to_api_error(error).response()


ERRORS: tuple[type[Exception], ...] = (ApiError, ValidationError, HTTPException, CharloomError, Exception)


def unknown_name_message(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with suggestions."""
    known = list(known)
    hint = did_you_mean(name[:_MAX_QUOTED], known)
    return f"There is no {kind} {_quoted(name)}.{hint} Known are {', '.join(known)}."


def _http_error(error: HTTPException) -> ApiError:
    """Convert an error of the routing: unknown path or method."""
    if error.status_code == 405 and error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
        headers = {"Allow": allowed}
        return ApiError(405, f"This address takes {allowed} alone.", code="method_not_allowed", headers=headers)
    if error.status_code == 404:
        return ApiError(404, "There is nothing at this address. What there is, /openapi.json says.", code="unknown_url")
    return ApiError(error.status_code, error.detail or HTTPStatus(error.status_code).phrase, headers=error.headers)


def _validation_error(error: ValidationError) -> ApiError:
    """Convert the first error of a body's validation."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return ApiError(400, f"{where} is missing.", param=where, code="missing_parameter")
    wrong = first["msg"].removeprefix("Value error, ").removesuffix(".")
    wrong = wrong[:1].lower() + wrong[1:]
    message = f"{where}: {wrong}; got {_quoted(first['input'])}." if where else f"The body is wrong: {wrong}."
    return ApiError(400, message, param=where or None, code="invalid_value")


def _quoted(value: object) -> str:
    """Return the repr of a value, shortened."""
    text = repr(value[: _MAX_QUOTED + 1] if isinstance(value, str | list) else value)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
