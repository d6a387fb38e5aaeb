"""What a request carries: read within limits, and checked before anything costly is done with it."""

import asyncio
import contextlib
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Receive

from charloom.serve.errors import ApiError, unknown_name
from charloom.serve.security.limits import Limits

RequestModel = TypeVar("RequestModel", bound=BaseModel)

_PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class ClientDisconnected(Exception):
    """The client has left."""


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Limits) -> bytes:
    """Return a request's body.

    Args:
        receive: Of the request.
        headers: Of the request, their names in lower case.
        limits: What is accepted.

    Raises:
        ApiError: If it is too large, or does not arrive in time.
        Gone: If the client leaves before that.
    """
    said = headers.get(b"content-length", b"0")
    if not said.isdigit() or len(said) > 18 or int(said) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _read(receive, limits)
    except TimeoutError:
        seconds = f"{limits.body_seconds:g} seconds"
        raise ApiError(408, f"The body has not arrived within {seconds}.", code="too_slow") from None


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return b"".join(parts)


def has_body(headers: dict[bytes, bytes]) -> bool:
    """Return whether a request with these headers carries something."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def discard_body(receive: Receive, limits: Limits) -> None:
    """Take some of a body that is not wanted: to its end, but not for long."""
    left = limits.discarded_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.discarded_seconds):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"The body is too large: at most {limits.body_bytes:,} bytes are read.", code="too_large")


def check_json_shape(body: bytes, limits: Limits) -> None:
    """Raise ``ApiError`` if JSON lies too deep or has too many parts; whether it is JSON at all is not looked at.

    It stops where a limit is passed, so that no body costs much.
    """
    depth = 0
    for number, part in enumerate(_PARTS.finditer(body), 1):
        kind = body[part.start()]
        depth += (kind in b"[{") - (kind in b"]}")
        if depth > limits.json_depth:
            raise ApiError(
                400, f"The JSON is nested too deep: at most {limits.json_depth} levels.", code="invalid_json"
            )
        if number > limits.json_parts:
            message = f"The JSON has too many parts: at most {limits.json_parts:,} strings, lists and objects."
            raise ApiError(400, message, code="invalid_json")


async def parse_request(request: Request, kind: type[RequestModel]) -> RequestModel:
    """Return what a request's body asks for; a field that is null is one that is not there.

    Args:
        request: Its body has been read, and its shape checked.
        kind: What it must be.

    Raises:
        ApiError: If it is no JSON object, or has a field that is not known.
        ValidationError: If a field is wrong.
    """
    value = _parsed(await request.body())
    if not isinstance(value, dict):
        raise ApiError(400, f"The body must be a JSON object; got {type(value).__name__}.", code="invalid_json")
    for name in value:
        if name not in kind.model_fields:
            message = unknown_name("parameter", name, kind.model_fields)
            raise ApiError(400, message, param=name, code="unknown_parameter")
    return kind.model_validate({name: one for name, one in value.items() if one is not None})


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is no JSON: {error}.", code="invalid_json") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in an object twice")
    return found
