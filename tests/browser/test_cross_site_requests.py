"""Cross-site requests in a browser: a page of another site tries every kind of request and gets no generated text."""

import http.server
import threading

import pytest

import charloom
from support.server import serve_models

ASKING = """async (there) => {
    const found = [];
    const body = JSON.stringify({prompt: "ROMEO:", max_tokens: 100});
    const ask = async (way, options) => {
        try {
            const answer = await fetch(there + "/v1/completions", options);
            found.push([way, answer.type === "opaque" ? "opaque" : answer.status]);
        } catch (error) { found.push([way, "refused"]); }
    };
    await ask("fetch", {method: "POST", body, headers: {"Content-Type": "application/json"}});
    await ask("fetch of plain text", {method: "POST", body, headers: {"Content-Type": "text/plain"}});
    await ask("fetch without looking", {method: "POST", body, mode: "no-cors"});
    await ask("fetch with cookies", {method: "POST", body, credentials: "include"});
    found.push(["beacon", navigator.sendBeacon(there + "/v1/completions", body)]);
    const loads = (element, address) => new Promise((done) => {
        element.onload = () => done("loaded");
        element.onerror = () => done("refused");
        element.src = address;
        document.body.append(element);
    });
    const old = there + "/generate?start_text=The&n=3";
    found.push(["image", await loads(document.createElement("img"), old)]);
    found.push(["script", await loads(document.createElement("script"), old)]);
    found.push(["events", await new Promise((done) => {
        const source = new EventSource(old);
        source.onopen = () => done("loaded");
        source.onerror = () => { source.close(); done("refused"); };
    })]);
    const frame = document.createElement("iframe");
    frame.name = "there";
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {action: there + "/v1/completions", method: "post", enctype: "text/plain", target: "there"});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"prompt": "ROMEO:", "max_tokens": 100, "user": "', value: '"}'});
    form.append(field);
    document.body.append(form);
    await new Promise((done) => { frame.onload = done; form.submit(); });
    return found;
}"""


@pytest.fixture
def elsewhere():
    """Another site's page: another port is another origin."""

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


def test_a_page_of_another_site_gets_nothing(browser, elsewhere, report_trials):
    with serve_models({"shakespeare": charloom.load("shakespeare")}) as server:
        page = browser.new_page()
        page.goto(elsewhere)
        found = dict(page.evaluate(ASKING, f"http://{server.host}"))
        ways = len(found) + 1  # and the form, which is seen in the frame
        assert found.pop("fetch without looking") in ("opaque", "refused")  # an answer that no page can read
        found.pop("beacon")  # says only that it was sent
        assert set(found.values()) == {"refused"}
        framed = page.frame("there").evaluate("document.body ? document.body.innerText : ''")
        assert "choices" not in framed
        assert server.stats.characters == server.stats.requests == 0
        assert server.get("/healthz").status == 200
    report_trials(
        "local_server",
        "kinds of request that a page of another site can send, in Chromium",
        ways,
        "all refused; 0 characters generated",
    )
