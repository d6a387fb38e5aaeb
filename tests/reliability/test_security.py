"""The server is local: which hosts, origins and tokens are answered, and how all others are refused."""

import itertools
import socket

import pytest

from charloom.inference.model import Model
from charloom.serve.security.allowed_hosts import AllowedHosts, allowed_hosts
from charloom.serve.security.limits import Limits
from support.models import tiny_saved
from support.server import serve_models

TOKEN = "a-long-token-drawn-at-random"

HOSTS = {  # and whether each is accepted
    "127.0.0.1:{port}": True,
    "localhost:{port}": True,
    "LOCALHOST:{port}": True,
    "[::1]:{port}": True,
    "127.0.0.1": False,
    "127.0.0.1:1": False,
    "evil.example": False,
    "evil.example:{port}": False,
    "127.0.0.1.evil.example:{port}": False,
    "localhost.evil.example:{port}": False,
    "localhost.:{port}": False,
    "0.0.0.0:{port}": False,
    "somebody@127.0.0.1:{port}": False,
    "": False,
}
ORIGINS = {  # and whether each is accepted
    None: True,
    "http://{host}": True,
    "https://{host}": True,
    "null": False,
    "http://evil.example": False,
    "http://127.0.0.1:1": False,
    "http://{host}.evil.example": False,
    "": False,
}
ROUTES = [  # method, path, body, and status if the request is accepted
    ("GET", "/", None, 200),
    ("GET", "/v1/models", None, 200),
    ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2}, 200),
    ("POST", "/score", {"text": "abc"}, 200),
    ("GET", "/generate?start_text=a", None, 200),
    ("GET", "/metrics", None, 200),
    ("GET", "/nothing", None, 404),
    ("DELETE", "/v1/models", None, 405),
]


@pytest.fixture(scope="module")
def server():
    with serve_models({"tiny": Model(tiny_saved())}) as running:
        yield running


@pytest.fixture(scope="module")
def closed():
    with serve_models({"tiny": Model(tiny_saved())}, token=TOKEN) as running:
        yield running


def test_hosts_and_origins_on_every_route(server, report_trials):
    tried = 0
    for (host, host_ok), (origin, origin_ok), route in itertools.product(HOSTS.items(), ORIGINS.items(), ROUTES):
        method, path, body, status = route
        host = host.format(port=server.port)
        headers = {"Host": host}
        if origin is not None:
            headers["Origin"] = origin.format(host=host)
        generated = server.stats.characters
        response = server.request(method, path, body, headers)
        expected = status if host_ok and origin_ok else 403 if host_ok else 421
        assert response.status == expected, (host, origin, route, response.body)
        assert not any(name.lower().startswith("access-control-") for name in response.headers)
        if expected in (403, 421):
            assert server.stats.characters == generated and response.error["message"]
        tried += 1
    assert tried == 896
    report_trials(
        "local_server",
        "requests from 14 hosts and 8 origins to 8 routes",
        tried,
        "each answered or refused as specified; 0 characters generated for refused ones",
    )


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_cross_site_subresource_requests_are_rejected(server, site):
    """Requests for images have no Origin header, but browsers send Sec-Fetch-Site."""
    for mode, path in (("no-cors", "/generate?start_text=a"), ("no-cors", "/"), ("navigate", "/generate?start_text=a")):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert server.request("GET", path, headers=headers).status == 403
    assert server.request("GET", "/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}).status == 200
    assert server.request("GET", "/healthz", headers={"Sec-Fetch-Site": "none"}).status == 200
    assert server.request("GET", "/healthz", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


def test_duplicate_host_header_is_rejected(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {server.host}\r\nHost: evil.example\r\n\r\n".encode())
        assert b" 400 " in connection.recv(1000)


def test_token_protects_everything_except_the_page(closed, report_trials):
    page = {"/", "/playground/server.js"}
    paths = [path for _, path, _, _ in ROUTES] + ["/v1/chat/completions", "/openapi.json", "/healthz", "/tokenize"]
    paths += ["/playground/", "/playground/../v1/models", "/playground/%2e%2e/metrics", "//", "/v1/models#/"]
    wrong = [None, "", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Basic {TOKEN}", "Bearer ü"]
    for path in paths:
        for given in wrong:
            headers = {} if given is None else {"Authorization": given.encode("utf-8")}
            response = closed.request("GET", path, headers=headers)
            if path in page:
                assert response.status == 200
            else:
                assert response.status == 401 and response.headers["WWW-Authenticate"] == "Bearer", path
                assert response.error["code"] == "invalid_api_key" and TOKEN not in response.body.decode()
    for path in page:
        assert closed.get(path).status == 200
    for given in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
        assert closed.request("GET", "/v1/models", headers={"Authorization": given}).status == 200
    response = closed.request("POST", "/v1/completions", {"prompt": "a"}, {"Authorization": f"Bearer {TOKEN}"})
    assert response.status == 200
    report_trials(
        "local_server",
        "requests with a wrong token, to all routes",
        len(paths) * len(wrong),
        "0 answered, except for the page's static files",
    )


def test_host_is_checked_before_the_token(closed):
    headers = {"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}
    assert closed.request("GET", "/v1/models", headers=headers).status == 421


def test_a_token_is_ignored_if_none_is_required(server):
    assert server.request("GET", "/v1/models", headers={"Authorization": "Bearer DUMMY_KEY"}).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None, ""])
def test_content_type_must_be_json(server, kind):
    connection = server.connection()
    connection.putrequest("POST", "/v1/completions")
    if kind is not None:
        connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    assert connection.getresponse().status == 415
    connection.close()


def test_charset_is_accepted_and_compression_is_rejected(server):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert server.request("POST", "/v1/completions", {}, headers).status == 200
    assert server.request("POST", "/v1/completions", {}, {**headers, "Content-Encoding": "gzip"}).status == 415


def test_every_response_has_security_headers(server):
    for path in ("/", "/v1/models", "/nothing"):
        headers = server.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "frame-ancestors 'none'" in policy
        assert "Server" not in headers
    assert server.request("GET", "/", headers={"Host": "evil.example"}).headers["Content-Security-Policy"]


def test_allowed_hosts_of_public_addresses():
    everywhere = allowed_hosts("0.0.0.0", "0.0.0.0", 8000, ["books.example"])
    for host in (
        "192.168.1.5:8000",
        "[fe80::1]:8000",
        "localhost:9000",
        "10.0.0.1",
        "books.example",
        "books.example:8443",
    ):
        assert host in everywhere
    for host in (
        "evil.example:8000",
        "192.168.1.5.evil.example:8000",
        "::1",
        "[1.2.3.4]:8000",
        "localhost:",
        "1.2.3.4:x",
    ):
        assert host not in everywhere
    one = allowed_hosts("mine.lan", "192.168.1.5", 8000)
    assert one == AllowedHosts(frozenset({"192.168.1.5:8000", "mine.lan:8000"}))
    assert "localhost" in allowed_hosts("127.0.0.1", "127.0.0.1", 80) and "[::1]:80" in allowed_hosts("::1", "::1", 80)


def test_ipv6():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with (
        serve_models({"tiny": Model(tiny_saved())}, host="::1") as running,
        socket.socket(socket.AF_INET6) as connection,
    ):
        connection.connect(("::1", running.port))
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{running.port}\r\n\r\n".encode())
        assert b" 200 " in connection.recv(1000)


def test_timeouts():
    limits = Limits(max_body_seconds=0.3, max_header_seconds=0.3, max_idle_seconds=1, max_request_seconds=0.5)
    with serve_models({"tiny": Model(tiny_saved())}, limits=limits) as running:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {running.host}\r\nContent-Type: application/json\r\n"
        for sent, ends in ((head, b""), (f"{head}Content-Length: 9\r\n\r\n{{", b" 408 ")):
            with socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection:
                connection.sendall(sent.encode())
                assert ends in connection.recv(1000)
        response = running.complete("a", max_tokens=200_000)
        assert response.status in (200, 503)  # a tiny model may finish in time
