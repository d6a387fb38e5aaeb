"""Allowed host names: protection against DNS rebinding."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

_HTTP_PORT = 80  # browsers omit it


@dataclass(frozen=True)
class AllowedHosts:
    """The accepted values of the Host header.

    With DNS rebinding, a malicious site makes its own name resolve to this machine, so that the browser lets its pages
    send requests to this server. Such requests have the name of the site in the Host header. Numeric addresses are
    safe, because they cannot be rebound.

    Attributes:
        exact: Names and addresses with their port.
        names: Names that are accepted with any port or none, such as those of a reverse proxy.
        any_address: Whether to accept any numeric address on any port, because the server listens on all interfaces.
    """

    exact: frozenset[str]
    names: frozenset[str] = frozenset()
    any_address: bool = False

    def __contains__(self, host: object) -> bool:
        """Return whether a lower-case Host header is accepted."""
        if not isinstance(host, str):
            return False
        if host in self.exact:
            return True
        name, port = _split_port(host)
        if port and not (port.isascii() and port.isdigit()):
            return False
        return name in self.names or (self.any_address and (name == "localhost" or is_address(name)))


def allowed_hosts(host: str, address: str, port: int, names: Iterable[str] = ()) -> AllowedHosts:
    """Return the accepted hosts of a server.

    Args:
        host: Listening address as given by the user: a name or an address.
        address: Listening address in numeric form.
        port: Listening port.
        names: Additional names, such as those of a reverse proxy.
    """
    ip = ip_address(address)
    additional = frozenset(name.lower() for name in names)
    if ip.is_unspecified:
        return AllowedHosts(frozenset(), additional, any_address=True)
    own = {"127.0.0.1", "localhost", "[::1]"} if ip.is_loopback else set()
    own |= {bracket_ipv6(address), bracket_ipv6(host.strip("[]").lower())}
    exact = {f"{name}:{port}" for name in own} | (own if port == _HTTP_PORT else set())
    return AllowedHosts(frozenset(exact), additional)


def bracket_ipv6(address: str) -> str:
    """Return an address in URL syntax, with IPv6 addresses in brackets."""
    return f"[{address}]" if ":" in address else address


def is_address(text: str) -> bool:
    """Return whether a text is a numeric address in URL syntax."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return (ip_address(inner).version == 6) == (inner != text)
    except ValueError:
        return False


def _split_port(host: str) -> tuple[str, str]:
    """Split a host into name and port. The port is "" if there is none."""
    if host.endswith("]"):
        return host, ""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port else (host, "")
