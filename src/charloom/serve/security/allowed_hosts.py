"""Allowed host names, against DNS rebinding and cross-site requests."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

_HTTP_PORT = 80  # browsers omit it


@dataclass(frozen=True)
class AllowedHosts:
    """The accepted values of the Host header.

    A malicious site can point its own name to this machine (DNS rebinding), so that its pages may talk to this server
    as to their own. Their requests still have the site's name as Host. A numeric address cannot belong to another site.

    Attributes:
        exact: Names and addresses, with their port.
        names: Names that are accepted with any port, or none: those of a proxy in front of this server.
        any_address: Whether any numeric address is accepted, on any port: the server listens on all interfaces.
    """

    exact: frozenset[str]
    names: frozenset[str] = frozenset()
    any_address: bool = False

    def __contains__(self, host: object) -> bool:
        """Return whether a Host header, in lower case, is accepted."""
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
        host: The address to listen on, as given by the user.
        address: The same, as a numeric address.
        port: The port it listens on.
        names: Further names, which a proxy in front of the server has.
    """
    ip = ip_address(address)
    further = frozenset(name.lower() for name in names)
    if ip.is_unspecified:
        return AllowedHosts(frozenset(), further, any_address=True)
    own = {"127.0.0.1", "localhost", "[::1]"} if ip.is_loopback else set()
    own |= {bracketed(address), bracketed(host.strip("[]").lower())}
    exact = {f"{name}:{port}" for name in own} | (own if port == _HTTP_PORT else set())
    return AllowedHosts(frozenset(exact), further)


def bracketed(address: str) -> str:
    """Return an address as written in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def is_address(text: str) -> bool:
    """Return whether a text is a numeric address as written in a URL."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return (ip_address(inner).version == 6) == (inner != text)
    except ValueError:
        return False


def _split_port(host: str) -> tuple[str, str]:
    """Split a host into name and port; the port is "" if there is none."""
    if host.endswith("]"):
        return host, ""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port else (host, "")
