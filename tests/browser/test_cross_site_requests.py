"""Cross-site requests in a browser: a page of another site tries every kind of request and gets no generated text."""

import http.server
import threading

import pytest

import charloom
from support.server import serve_models

SEND_REQUESTS = """async (server) => {
    const results = [];
    const body = JSON.stringify({prompt: "ROMEO:", max_tokens: 100});
    const send = async (method, options) => {
        try {
            const response = await fetch(server + "/v1/completions", options);
            results.push([method, response.type === "opaque" ? "opaque" : response.status]);
        } catch (error) { results.push([method, "refused"]); }
    };
    await send("fetch", {method: "POST", body, headers: {"Content-Type": "application/json"}});
    await send("fetch with plain text", {method: "POST", body, headers: {"Content-Type": "text/plain"}});
    await send("fetch without CORS", {method: "POST", body, mode: "no-cors"});
    await send("fetch with cookies", {method: "POST", body, credentials: "include"});
    results.push(["beacon", navigator.sendBeacon(server + "/v1/completions", body)]);
    const loads = (element, address) => new Promise((done) => {
        element.onload = () => done("loaded");
        element.onerror = () => done("refused");
        element.src = address;
        document.body.append(element);
    });
    const legacy = server + "/generate?start_text=The&n=3";
    results.push(["image", await loads(document.createElement("img"), legacy)]);
    results.push(["script", await loads(document.createElement("script"), legacy)]);
    results.push(["events", await new Promise((done) => {
        const source = new EventSource(legacy);
        source.onopen = () => done("loaded");
        source.onerror = () => { source.close(); done("refused"); };
    })]);
    const frame = document.createElement("iframe");
    frame.name = "response";
    document.body.append(frame);
    const form = document.createElement("form");
    const action = server + "/v1/completions";
    Object.assign(form, {action, method: "post", enctype: "text/plain", target: "response"});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"prompt": "ROMEO:", "max_tokens": 100, "user": "', value: '"}'});
    form.append(field);
    document.body.append(form);
    await new Promise((done) => { frame.onload = done; form.submit(); });
    return results;
}"""


@pytest.fixture
def other_site():
    """URL of a page of another origin: the port differs."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title><body></body>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_requests_of_other_sites_are_refused(browser, other_site, report_trials):
    with serve_models({"shakespeare": charloom.load("shakespeare")}) as server:
        page = browser.new_page()
        page.goto(other_site)
        results = dict(page.evaluate(SEND_REQUESTS, f"http://{server.host}"))
        methods = len(results) + 1  # and the form, whose response is in the frame
        assert results.pop("fetch without CORS") in ("opaque", "refused")  # the page cannot read an opaque response
        results.pop("beacon")  # only tells that it was queued
        assert set(results.values()) == {"refused"}
        framed = page.frame("response").evaluate("document.body ? document.body.innerText : ''")
        assert "choices" not in framed
        assert server.stats.characters == server.stats.requests == 0
        assert server.get("/healthz").status == 200
    report_trials(
        "local_server",
        "kinds of request that a page of another site can send, in Chromium",
        methods,
        "all refused; 0 characters generated",
    )


def test_an_allowed_page_reads_what_fetch_requests_and_nothing_else(browser, other_site):
    """The browser's own CORS checks pass, preflight requests included; images, scripts and forms stay refused."""
    models = {"shakespeare": charloom.load("shakespeare")}
    with serve_models(models, origins=[other_site.rstrip("/")]) as server:
        page = browser.new_page()
        page.goto(other_site)
        results = dict(page.evaluate(SEND_REQUESTS, f"http://{server.host}"))
        assert results["fetch"] == 200 and results["fetch with plain text"] == 415
        assert {results[kind] for kind in ("fetch with cookies", "image", "script", "events")} == {"refused"}
        text = page.evaluate(
            """async (server) => {
                const body = JSON.stringify({prompt: "ROMEO:", max_tokens: 20, stream: true, seed: 1});
                const headers = {"Content-Type": "application/json", "X-Client": "mine"};
                return (await fetch(server + "/v1/completions", {method: "POST", headers, body})).text();
            }""",
            f"http://{server.host}",
        )
        assert text.endswith("data: [DONE]\n\n")
