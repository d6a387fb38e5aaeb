"""Origins of other sites whose pages may call the server (``--allow-origin``), and the CORS headers for them."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from charloom._util.printable import quoted
from charloom.errors import InputError
from charloom.serve.security.allowed_hosts import bracket_ipv6

METHODS = "GET, POST"
_MAX_AGE = "600"  # seconds for which a browser may keep the answer to a preflight request
_DEFAULT_PORTS = {"http": 80, "https": 443}  # browsers omit them
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")


def parse_origin(url: str) -> str:
    """Return an origin in the form in which browsers send it: lower case, without default port and final slash.

    Args:
        url: Scheme, host and optional port, such as ``http://localhost:5173``.

    Raises:
        InputError: If the URL is not exactly one origin: ``*`` and ``null``, a path or another scheme.
    """
    origin = _origin(url)
    if origin is None:
        raise InputError(
            f"Invalid --allow-origin {quoted(url)}. Pass the scheme, host and port of one site, without a path, such "
            "as http://localhost:5173 or https://text.example.org. Repeat the option for several sites. A page opened "
            "as a file has no origin: serve its folder, such as with python -m http.server.",
            code="invalid_origin",
            origin=url,
        )
    return origin


def _origin(url: str) -> str | None:
    """Return the normalized origin; None if the URL is not an origin."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:  # an invalid port or IPv6 address
        return None
    if scheme not in _DEFAULT_PORTS or not host or not _HOST_CHARACTERS.issuperset(host):
        return None
    origin = f"{scheme}://{bracket_ipv6(host)}"
    given = origin if port is None else f"{origin}:{port}"
    if url.lower() not in (given, f"{given}/"):  # a path, a query, a user name, leading zeros of the port
        return None
    return origin if port in (None, _DEFAULT_PORTS[scheme]) else given


def foreign_origin_message(origins: Sequence[bytes]) -> str:
    """Return the message for a request from a page of another site.

    Args:
        origins: The Origin headers; browsers send none with some requests, such as those for images.
    """
    origin = _origin(origins[0].decode("latin-1")) if len(origins) == 1 else None
    if origin is None:
        return "Requests from pages of other sites are not allowed."
    return (
        f"Requests from pages of {origin} are not allowed. If this is your own front end, start the server with "
        f"--allow-origin {origin}."
    )


def cors_headers(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of every response of a server that allows some origin.

    Args:
        origin: The allowed origin that sent the request; None if it was sent by none of them.
    """
    vary = (b"vary", b"Origin")
    if origin is None:
        return [vary]
    return [vary, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"Retry-After")]


def preflight_headers(headers: Mapping[bytes, Sequence[bytes]]) -> dict[str, str]:
    """Return the headers that answer a preflight request of an allowed origin.

    Every request header is allowed, since clients send their own and the server ignores those that it does not know.
    """
    requested = b", ".join(headers.get(b"access-control-request-headers", [])).decode("latin-1")
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": requested or "Authorization, Content-Type",
        "Access-Control-Max-Age": _MAX_AGE,
    }
    if headers.get(b"access-control-request-private-network") == [b"true"]:
        # a browser asks before a public site may call a server in the local network
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return allowed
