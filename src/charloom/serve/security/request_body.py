"""Read and validate request bodies within limits."""

import asyncio
import contextlib
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Receive

from charloom.serve.errors import ApiError, unknown_name_message
from charloom.serve.security.limits import Limits

RequestModel = TypeVar("RequestModel", bound=BaseModel)

_PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class ClientDisconnected(Exception):
    """The client has disconnected."""


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Limits) -> bytes:
    """Return a request's body.

    Args:
        receive: The ASGI receive function.
        headers: Request headers, names in lower case.
        limits: The request limits.

    Raises:
        ApiError: If it is too large, or does not arrive in time.
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
        raise ApiError(408, f"The body has not arrived within {seconds}.", code="too_slow") from None


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
    """Read and discard the rest of a body, within limits."""
    remaining = limits.max_discarded_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.max_discarded_seconds):
            while remaining > 0:
                message = await receive()
                remaining -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"The body is too large: at most {limits.max_body_bytes:,} bytes are read.", code="too_large")


def check_json_shape(body: bytes, limits: Limits) -> None:
    """Raise ``ApiError`` if JSON is nested too deep or has too many parts. Does not check that it is valid JSON.

    It stops as soon as a limit is exceeded, so that no body takes long.
    """
    depth = 0
    for number, part in enumerate(_PARTS.finditer(body), 1):
        kind = body[part.start()]
        depth += (kind in b"[{") - (kind in b"]}")
        if depth > limits.max_json_depth:
            raise ApiError(
                400, f"The JSON is nested too deep: at most {limits.max_json_depth} levels.", code="invalid_json"
            )
        if number > limits.max_json_parts:
            message = f"The JSON has too many parts: at most {limits.max_json_parts:,} strings, lists and objects."
            raise ApiError(400, message, code="invalid_json")


async def parse_request(request: Request, kind: type[RequestModel]) -> RequestModel:
    """Parse and validate a request's JSON body. A null field counts as missing.

    Args:
        request: The request; its body passed ``check_json_shape``.
        kind: The pydantic model of the body.

    Raises:
        ApiError: If the body is not a JSON object, or has an unknown field.
        ValidationError: If a field is invalid.
    """
    value = _parse_json(await request.body())
    if not isinstance(value, dict):
        raise ApiError(400, f"The body must be a JSON object; got {type(value).__name__}.", code="invalid_json")
    for name in value:
        if name not in kind.model_fields:
            message = unknown_name_message("parameter", name, kind.model_fields)
            raise ApiError(400, message, param=name, code="unknown_parameter")
    return kind.model_validate({name: one for name, one in value.items() if one is not None})


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is no JSON: {error}.", code="invalid_json") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key stands in an object twice")
    return result
