"""Under which names a server may be asked for: what keeps other sites' pages away from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

_PLAIN = 80  # the port that browsers leave out


@dataclass(frozen=True)
class AllowedHosts:
    """The values of ``Host`` that are answered.

    A site may have its own name point to this machine, and then its pages talk to this server as if it were theirs; but
    their requests bear that site's name. A number is no name that anyone else can have.

    Attributes:
        exact: Names or addresses with their port.
        names: Those that may come with any port, or none: of a proxy before this server.
        any_address: Whether any address is answered, on any port, as the server listens at all of this machine's.
    """

    exact: frozenset[str]
    names: frozenset[str] = frozenset()
    any_address: bool = False

    def __contains__(self, host: object) -> bool:
        """Return whether a value of ``Host``, in lower case, is one of ours."""
        if not isinstance(host, str):
            return False
        if host in self.exact:
            return True
        name, port = _parts(host)
        if port and not (port.isascii() and port.isdigit()):
            return False
        return name in self.names or (self.any_address and (name == "localhost" or is_address(name)))


def allowed_hosts(host: str, address: str, port: int, names: Iterable[str] = ()) -> AllowedHosts:
    """Return the names of a server.

    Args:
        host: Where it listens, as it was asked for.
        address: Likewise, as a number.
        port: Likewise.
        names: Further names, under which a proxy passes requests on.
    """
    found = ip_address(address)
    known = frozenset(name.lower() for name in names)
    if found.is_unspecified:
        return AllowedHosts(frozenset(), known, any_address=True)
    own = {"127.0.0.1", "localhost", "[::1]"} if found.is_loopback else set()
    own |= {bracketed(address), bracketed(host.strip("[]").lower())}
    exact = {f"{name}:{port}" for name in own} | (own if port == _PLAIN else set())
    return AllowedHosts(frozenset(exact), known)


def bracketed(address: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def is_address(text: str) -> bool:
    """Return whether this is an address as it stands in a URL: numbers, those of IPv6 in brackets."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return (ip_address(inner).version == 6) == (inner != text)
    except ValueError:
        return False


def _parts(host: str) -> tuple[str, str]:
    """Return a host's name and port; "" for a port that is not there."""
    if host.endswith("]"):
        return host, ""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port else (host, "")
