"""Front ends of other origins (``serve --allow-origin``): which are allowed, and the CORS headers they get."""

import pytest

from charloom.inference.model import Model
from charloom.serve.security.allowed_origins import parse_origin
from support.errors import raises_code
from support.models import tiny_saved
from support.server import serve_models

FRONT_END = "http://localhost:5173"
TOKEN = "a-long-token-drawn-at-random"
FOREIGN = [
    "http://localhost:5174",
    "https://localhost:5173",
    "http://localhost",
    "http://localhost:5173.evil.example",
    "http://evil.localhost:5173",
    "http://localhost:5173/",
    "HTTP://LOCALHOST:5173",  # browsers send lower case
    "null",
    "*",
    "",
]


@pytest.fixture(scope="module")
def server():
    with serve_models({"tiny": Model(tiny_saved())}, origins=[FRONT_END, "https://text.example"]) as running:
        yield running


@pytest.fixture(scope="module")
def closed():
    with serve_models({"tiny": Model(tiny_saved())}, origins=[FRONT_END], token=TOKEN) as running:
        yield running


def cors(response):
    return {name.lower(): value for name, value in response.headers.items() if name.lower().startswith("access-")}


def preflight(server, origin, **headers):
    names = {"Origin": origin, "Access-Control-Request-Method": "POST", **headers}
    return server.request("OPTIONS", "/v1/completions", headers=names)


@pytest.mark.parametrize("url, origin", [
    ("http://localhost:5173", "http://localhost:5173"),
    ("http://localhost:5173/", "http://localhost:5173"),
    ("HTTPS://Text.Example.org", "https://text.example.org"),
    ("https://text.example.org:443", "https://text.example.org"),
    ("http://text.example.org:80/", "http://text.example.org"),
    ("https://text.example.org:80", "https://text.example.org:80"),
    ("http://[::1]:3000", "http://[::1]:3000"),
    ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
])  # fmt: skip
def test_origins_are_normalized_as_browsers_send_them(url, origin):
    assert parse_origin(url) == origin


@pytest.mark.parametrize("url", [
    "*", "", "null", "localhost:5173", "localhost", "//localhost", "http://", "http://*.example.org", "http://a b",
    "http://localhost:5173/app", "http://localhost?x", "http://localhost#x", "http://me@localhost", "file:///x",
    "ftp://localhost", "http://localhost:99999", "http://localhost:x", "http://localhost:", "http://b\u00fccher.example",
    "http://localhost\n", "http://localhost\r\nX: y", "http://[::1", "http://a,http://b",
])  # fmt: skip
def test_everything_else_is_rejected(url):
    with raises_code("invalid_origin") as caught:
        parse_origin(url)
    assert caught.value.data["origin"] == url


def test_the_command_rejects_an_invalid_origin(cli):
    result = cli("serve", "--allow-origin", "*")
    assert result.code == 2 and "--allow-origin" in result.err


def test_an_allowed_page_reads_every_response(server):
    for origin in (FRONT_END, "https://text.example"):
        for site in ("cross-site", "same-site"):
            headers = {"Origin": origin, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
            for method, path, body, status in (
                ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2}, 200),
                ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2, "stream": True}, 200),
                ("POST", "/v1/completions", {"nothing": 1}, 400),
                ("GET", "/v1/models", None, 200),
                ("GET", "/nothing", None, 404),
                ("PUT", "/v1/completions", None, 405),
            ):
                response = server.request(method, path, body, headers)
                assert response.status == status
                assert response.headers["Access-Control-Allow-Origin"] == origin
                assert response.headers["Vary"] == "Origin"
                assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", FOREIGN)
def test_other_origins_stay_refused(server, origin):
    generated = server.stats.characters
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    for response in (
        server.request("POST", "/v1/completions", {"prompt": "a"}, headers),
        server.get("/generate?start_text=a", **headers),
        preflight(server, origin),
    ):
        assert response.status == 403 and response.error["code"] == "foreign_origin"
        assert not cors(response) and response.headers["Vary"] == "Origin"
    assert server.stats.characters == generated


def test_local_protections_stay(server):
    """The host is checked, subresources without Origin are refused, and the page itself needs no CORS headers."""
    assert server.get("/v1/models", Origin=FRONT_END, Host="evil.example").status == 421
    assert preflight(server, FRONT_END, Host="evil.example").status == 421
    assert server.get("/generate?start_text=a", **{"Sec-Fetch-Site": "cross-site"}).status == 403
    plain = {"Origin": FRONT_END, "Content-Type": "text/plain"}
    assert server.request("POST", "/v1/completions", {"prompt": "a"}, plain).status == 415
    response = server.get("/", Origin=f"http://{server.host}")
    assert response.status == 200 and not cors(response) and response.headers["Vary"] == "Origin"
    two = server.connection()
    two.putrequest("GET", "/v1/models")
    two.putheader("Origin", FRONT_END)
    two.putheader("Origin", "http://evil.example")
    two.endheaders()
    assert two.getresponse().status == 403
    two.close()


def test_preflight(server):
    response = preflight(server, FRONT_END, **{"Access-Control-Request-Headers": "content-type,x-stainless-os"})
    assert response.status == 204 and response.body == b"" and response.headers["Vary"] == "Origin"
    assert cors(response) == {
        "access-control-allow-origin": FRONT_END,
        "access-control-expose-headers": "Retry-After",
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "content-type,x-stainless-os",
        "access-control-max-age": "600",
    }
    private = preflight(server, FRONT_END, **{"Access-Control-Request-Private-Network": "true"})
    assert private.headers["Access-Control-Allow-Private-Network"] == "true"


def test_the_token_is_required_of_allowed_pages_too(closed):
    assert preflight(closed, FRONT_END).status == 204  # browsers send no token with it
    headers = {"Origin": FRONT_END}
    refused = closed.request("POST", "/v1/completions", {"prompt": "a"}, headers)
    assert refused.status == 401 and refused.headers["Access-Control-Allow-Origin"] == FRONT_END
    headers["Authorization"] = f"Bearer {TOKEN}"
    assert closed.request("POST", "/v1/completions", {"prompt": "a"}, headers).status == 200


def test_the_refusal_names_the_option_for_a_valid_origin():
    with serve_models({"tiny": Model(tiny_saved())}) as running:
        message = running.get("/v1/models", Origin=FRONT_END).error["message"]
        assert f"--allow-origin {FRONT_END}" in message
        for origin in ("null", "http://x y", "javascript:alert(1)"):
            assert "--allow-origin" not in running.get("/v1/models", Origin=origin).error["message"]
