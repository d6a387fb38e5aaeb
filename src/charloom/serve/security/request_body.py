"""Read, limit and validate request bodies."""

import asyncio
import contextlib
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Receive

from charloom.serve.errors import ApiError, quoted, unknown_name_message
from charloom.serve.security.limits import Limits

RequestModel = TypeVar("RequestModel", bound=BaseModel)

_PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Limits) -> bytes:
    """Read the body of a request.

    Args:
        receive: The ASGI receive function.
        headers: Request headers, names in lower case.
        limits: The request limits.

    Raises:
        ApiError: If the body is too large or does not arrive in time.
        ClientDisconnected: If the client disconnects first.
    """
    content_length = headers.get(b"content-length", b"0")
    if not content_length.isdigit() or len(content_length) > 18 or int(content_length) > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.max_body_seconds):
            return await _read(receive, limits)
    except TimeoutError:
        seconds = f"{limits.max_body_seconds:g} seconds"
        raise ApiError(408, f"The request body did not arrive within {seconds}.", code="too_slow") from None


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.max_body_bytes:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return b"".join(parts)


def has_body(headers: dict[bytes, bytes]) -> bool:
    """Return whether a request with these headers has a body."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def discard_body(receive: Receive, limits: Limits) -> None:
    """Read and discard the rest of a body, up to the limits."""
    remaining = limits.max_discarded_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.max_discarded_seconds):
            while remaining > 0:
                message = await receive()
                remaining -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _too_large(limits: Limits) -> ApiError:
    message = f"The request body is too large. The maximum is {limits.max_body_bytes:,} bytes."
    return ApiError(413, message, code="too_large")


def check_json_shape(body: bytes, limits: Limits) -> None:
    """Limit the nesting depth and the size of JSON before it is parsed. Does not check the syntax.

    Stops at the first exceeded limit, so that the time is bounded for any body.

    Raises:
        ApiError: If a limit is exceeded.
    """
    depth = 0
    for number, part in enumerate(_PARTS.finditer(body), 1):
        kind = body[part.start()]
        depth += (kind in b"[{") - (kind in b"]}")
        if depth > limits.max_json_depth:
            message = f"The JSON is nested too deeply. The maximum is {limits.max_json_depth} levels."
            raise ApiError(400, message, code="invalid_json")
        if number > limits.max_json_parts:
            message = f"The JSON is too large. The maximum is {limits.max_json_parts:,} strings, arrays and objects."
            raise ApiError(400, message, code="invalid_json")


async def parse_request(request: Request, kind: type[RequestModel]) -> RequestModel:
    """Parse and validate the JSON body of a request. A null field counts as missing, even if it is unknown.

    Args:
        request: The request, whose body has passed ``check_json_shape``.
        kind: The pydantic model of the body.

    Raises:
        ApiError: If the body is not a JSON object or has an unknown field.
        ValidationError: If a field is invalid.
    """
    value = _parse_json(await request.body())
    if not isinstance(value, dict):
        raise ApiError(400, f"The body must be a JSON object, got {quoted(value)}.", code="invalid_json")
    value = {name: field for name, field in value.items() if field is not None}
    for name in value:
        if name not in kind.model_fields:
            message = unknown_name_message("parameter", name, kind.model_fields)
            raise ApiError(400, message, param=name, code="unknown_parameter")
    return kind.model_validate(value)


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_reject_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("an object contains a key twice")
    return result
